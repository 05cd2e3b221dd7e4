"""Try promises that are hard to keep and print one table.

The exit status is 1 if one was broken, and 77 if none was but one could not be tried.

All of them at full size take more than an hour on two cores.
"""

import argparse
import importlib
import subprocess
import sys
import time

from pipeline.stage.terminal import run_script
from prove import PROOFS, Missing, Result

MOST_SHOWN = 20  # violations of one promise
HEADER = "| promise | tried | held | figure | seconds |\n| --- | ---: | ---: | --- | ---: |"
NOT_TRIED = 77  # as other test programs end where something is missing
ROW = "| {}: {} | {:,} | {:,} | {} | {:.0f} |"


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if len(options.names) == 1:
        return status_of(options.names[0], not options.few)
    print(HEADER, flush=True)
    # Each in a process of its own, so that none finds what another left in memory.
    few = ["--few"] if options.few else []
    commands = [[sys.executable, "-m", "prove", *few, name] for name in options.names or PROOFS]
    statuses = {subprocess.run(command).returncode for command in commands} - {0}
    return 0 if not statuses else NOT_TRIED if statuses == {NOT_TRIED} else 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m prove", description=__doc__)
    names = f"which promises; all if none is named: {', '.join(PROOFS)}"
    parser.add_argument("names", nargs="*", choices=[*PROOFS, []], metavar="NAME", help=names)
    parser.add_argument("--few", action="store_true", help="only a few cases of each")
    return parser.parse_args(arguments)


def status_of(name: str, full: bool) -> int:
    """Run one proof and print its row; the time is shown, never judged. Returns an exit status."""
    began = time.monotonic()
    proof = importlib.import_module(f"prove.{name}")
    promise = " ".join(proof.__doc__.split("\n\n")[0].split()).rstrip(".")
    missing = None
    try:
        result = proof.prove(full)
    except Missing as error:
        missing, result = error, Result(0, 0, f"not tried: {error}")
    seconds = time.monotonic() - began
    row = ROW.format(name, promise, result.tried, result.held, result.figure, seconds)
    print(row, flush=True)
    for violation in result.violations[:MOST_SHOWN]:
        print(f"    broken: {violation}", flush=True)
    if missing:
        return NOT_TRIED
    return 0 if 0 < result.tried == result.held else 1


if __name__ == "__main__":
    sys.exit(run_script(main))
