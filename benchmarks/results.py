"""Run the benchmarks one after another and write what they print to benchmarks/RESULTS.md.

python benchmarks/results.py                   all of them, half an hour; with QUICK=1: some minutes
python benchmarks/results.py product chain     these; the sections of the others stay as they are

Take figures on a machine that does nothing else.
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tables import NOT_INSTALLED, QUICK, markdown, progress

HERE = Path(__file__).resolve().parent
PAGE = HERE / "RESULTS.md"
BENCHMARKS = (
    "reaction",
    "idle",
    "growth",
    "refresh",
    "eta",
    "ingestion",
    "jpegs",
    "many_folders",
    "training",
    "analysis",
    "accuracy",
    "product",
    "chain",
    "start",
)
PACKAGES = (
    *("tensorflow", "keras", "numpy", "pillow", "scikit-learn", "watchdog"),
    *("keras-tuner", "ray", "dvc", "snakemake", "opencv-python-headless", "pyspng", "datasets"),
)


def main() -> int:
    chosen = sys.argv[1:] or BENCHMARKS
    if strange := set(chosen) - set(BENCHMARKS):
        print(
            f"no benchmark is called {', '.join(sorted(strange))}; there are {', '.join(BENCHMARKS)}"
        )
        return 2
    sections, failed = sections_of(PAGE), False
    for number, name in enumerate(chosen, 1):
        progress(f"{name} ({number} of {len(chosen)})")
        well, sections[name] = run(name)
        failed = failed or not well
        PAGE.write_text(page(sections))  # after each one: nothing is lost to the last
    progress(f"wrote {PAGE.relative_to(HERE.parent)}")
    return 1 if failed else 0


def run(name: str) -> tuple[bool, str]:
    """Whether a benchmark ended well, and its section: what it printed, or else its last words."""
    began, (load, *_), last = datetime.now(), os.getloadavg(), "no word"
    with tempfile.TemporaryFile("w+") as printed:
        benchmark = subprocess.Popen(
            [sys.executable, HERE / f"{name}.py"],
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in benchmark.stderr:
            progress(line.rstrip())
            last = line.strip() or last
        well = benchmark.wait() == 0
        printed.seek(0)
        text = printed.read().strip() if well else f"## {name}\n\nfailed: {last}"
    seconds = (datetime.now() - began).seconds
    when = f"{began:%Y-%m-%d %H:%M}, load {load:.1f} before, {seconds} s"
    return well, f"{text}\n\n({when}{', QUICK=1' * QUICK}: `python benchmarks/{name}.py`)"


def sections_of(path: Path) -> dict[str, str]:
    """What each benchmark printed last, by its name."""
    if not path.exists():
        return {}
    parts = re.split(r"^<!-- (\w+) -->\n", path.read_text(), flags=re.MULTILINE)[1:]
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def page(sections: dict[str, str]) -> str:
    """All there is, in the order of BENCHMARKS. The comments are for `sections_of`."""
    parts = [f"<!-- {name} -->\n{sections[name]}\n" for name in BENCHMARKS if name in sections]
    return "\n".join([heading(), *parts])


def heading() -> str:
    facts = {
        "written": f"{datetime.now():%Y-%m-%d %H:%M}, by `make bench`",
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version_of(name) for name in PACKAGES},
    }
    return f"# What was measured\n\n{markdown(['', ''], facts.items())}\n"


def processor() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


if __name__ == "__main__":
    sys.exit(main())
