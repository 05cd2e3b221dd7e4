"""The scripts as processes, and how long to wait for what they do."""

import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from constants import ROOT


def patience(seconds: float = 120.0) -> float:
    """How long to wait for what takes a small part of `seconds` where the machine is quiet.

    Only what hangs takes longer: nothing here measures speed. A busy machine gets up to ten times
    as much; the time-out in pyproject.toml is longer than that.
    """
    return seconds * min(10.0, 1 + os.getloadavg()[0] / os.cpu_count())


def unmeasured() -> dict[str, str]:
    """The environment for a process whose coverage is not measured: to do so opens and writes files."""
    return {key: value for key, value in os.environ.items() if not key.startswith("COV")}


class Process:
    """One of the scripts as a process, with its lines so far."""

    def __init__(
        self,
        script: str | Path,
        *options: object,
        environment: dict[str, str] | None = None,
        new_session: bool = False,
    ):
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=new_session,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """The first line with `text` that was not returned before."""
        until = time.monotonic() + patience(seconds)
        while True:
            try:
                line = self._new.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no line with {text!r} in {seconds} s, last {self.lines[-20:]}"
                ) from None
            if line is None:
                raise AssertionError(f"ended without a line with {text!r}: {self.lines[-20:]}")
            self.lines.append(line)
            if text in line:
                return line

    def end(self, number: int | None = None, seconds: float = 120) -> int:
        """Send a signal, if one is given, and wait for the end; returns the exit status."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(patience(seconds))
        while (line := self._new.get(timeout=patience(seconds))) is not None:
            self.lines.append(line)
        return status


def is_gone(pid: int | str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    return False


def until_gone(pid: int | str) -> None:
    until = time.monotonic() + patience()
    while not is_gone(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        os.sched_yield()


def children(pid):
    """A stage's processes apart: the children of the server among the stage's own children."""
    return [child for server in own_children(pid) for child in own_children(server)]


def own_children(pid: int | str) -> list[str]:
    if Path("/proc/self").exists():
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return found.stdout.split()
