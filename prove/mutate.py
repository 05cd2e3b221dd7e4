"""Prove the proofs: take one guard out of a copy of the project, and see that its proofs turn red.

For each mutant in mutants.py and each of its proofs one row: in how many of the cases that the proof
tries with --few the promise was broken. Exit status 1 if a proof stays green, or ends otherwise.

    python -m prove.mutate              every mutant: half an hour on two cores
    python -m prove.mutate true_png     those of these proofs
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import constants
from prove import PROOFS
from prove.mutants import MUTANTS, Mutant

AT_ONCE = 2  # copies of the project
LONGEST = 1800.0  # seconds for one proof: a stage without a guard may hang
COUNTS = re.compile(r"^\| \w+: .* \| ([\d,]+) \| ([\d,]+) \| .* \| \d+ \|$", re.MULTILINE)
HEADER = "| without the guard | in | the proof | was broken in |\n| --- | --- | --- | ---: |"


_running: set[int] = set()


class Unfit(Exception):
    """A mutant that is none: its text is not in the file, or more than once."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prove.mutate", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", choices=[*PROOFS, []], metavar="PROOF")
    names = set(parser.parse_args(arguments).names or PROOFS)
    chosen = [mutant for mutant in MUTANTS if names & set(mutant.proofs)]
    try:
        for mutant in chosen:
            mutated(mutant, (constants.ROOT / mutant.file).read_text())
    except Unfit as unfit:
        print(unfit)
        return 1
    began, green = time.monotonic(), 0
    print(HEADER, flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for rows in pool.map(lambda mutant: list(_rows(mutant, names)), chosen):
                for row, red in rows:
                    print(row, flush=True)
                    green += not red
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(_running):
                _end_session(process)
            raise
    minutes = (time.monotonic() - began) / 60
    print(f"\n{len(chosen)} mutants, {green} proofs that did not notice, {minutes:.0f} minutes")
    return 1 if green else 0


def _rows(mutant: Mutant, names: set[str]) -> Iterator[tuple[str, bool]]:
    """A row of the table for each proof that has to notice `mutant`, and whether it did."""
    with copy_of_project() as folder:
        apply(mutant, folder)
        for proof in mutant.proofs:
            if proof in names:
                found, red = _outcome(folder, proof)
                yield f"| {mutant.guard} | `{mutant.file}` | {proof} | {found} |", red


@contextmanager
def copy_of_project() -> Iterator[Path]:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=constants.ROOT, capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as folder:
        for name in filter(None, names.stdout.split("\0")):
            if (constants.ROOT / name).is_file():
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(constants.ROOT / name, target)
        yield Path(folder)


def apply(mutant: Mutant, folder: Path) -> None:
    """Take the guard out of the copy in `folder`.

    Raises:
        Unfit: the code is no longer as the mutant says.
    """
    path = folder / mutant.file
    path.write_text(mutated(mutant, path.read_text()))


def mutated(mutant: Mutant, text: str) -> str:
    if (count := text.count(mutant.old)) != 1:
        raise Unfit(
            f'prove/mutants.py, "{mutant.guard}": its old text is {count} times in {mutant.file},'
            f" expected once. Make the mutant fit the code: {mutant.old!r}"
        )
    return text.replace(mutant.old, mutant.new)


def _outcome(folder: Path, proof: str) -> tuple[str, bool]:
    """What became of `proof` in the copy in `folder`, and whether it turned red."""
    process = subprocess.Popen(
        [sys.executable, "-m", "prove", "--few", proof],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that all that it started can be ended with it
    )
    _running.add(process.pid)
    try:
        said, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"**not ended after {LONGEST:g} s**", False
    finally:
        _end_session(process.pid)
        _running.discard(process.pid)
    counts = COUNTS.search(said)
    if process.returncode == 1 and counts and "    broken: " in said:
        tried, held = (int(number.replace(",", "")) for number in counts.groups())
        return f"{tried - held:,} of {tried:,}", True
    if process.returncode == 0:
        return "**nothing: it stays green**", False
    last = (said.strip().splitlines() or ["nothing said"])[-1]
    return f"**not judged: {last[:200]}**", False


def _end_session(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(main())
