"""The tests themselves: the same on every machine, at any time, and on many cores."""

import os
import subprocess
import sys

import pytest

from constants import ROOT

pytestmark = pytest.mark.slow

# Python imports this by itself before all else, in a process where it is on the path.
LATER = """
import time
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + 1e6
time.time_ns = lambda: now_ns() + 10**15
"""

NEEDS_STRACE = "tests/test_prove.py::test_the_promise_holds_in_a_few_cases[kill]"


def collecting(folder, clock, hash_seed):
    """A process that names the tests, at another time and with another order in each set."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(clock)
    environment = {"PYTHONPATH": str(folder), "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-o",
            "addopts=",
            "-p",
            "no:xdist",
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_is_the_same_tests_whenever_and_in_whichever_process(tmp_path):
    both = [
        collecting(tmp_path / "now", "", 1),
        collecting(tmp_path / "later", LATER, 2),
    ]
    names = [
        [line for line in process.communicate()[0].splitlines() if "::" in line] for process in both
    ]
    assert [process.returncode for process in both] == [0, 0]
    assert len(names[0]) > 1000
    assert names[0] == names[1]


@pytest.mark.parametrize(("ci", "ends"), [("", "1 skipped in"), ("true", "1 failed in")])
def test_a_test_whose_tool_is_missing_is_skipped_but_in_ci_it_fails(tmp_path, ci, ends):
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", NEEDS_STRACE],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
    )
    assert "strace is not here. Install it: sudo apt-get install strace." in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith(ends)
    assert ended.returncode == bool(ci)
