"""What the benchmarks share: a script as a process whose lines come with the time they came at."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Script:
    """One of the scripts at the top, running."""

    def __init__(self, name: str, *options: object):
        self.lines: queue.Queue[tuple[float, str]] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / name), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put((time.time(), line))

    def wait_for(self, text: str, seconds: float = 300) -> float:
        """When the next line with `text` came."""
        while True:
            came, line = self.lines.get(timeout=seconds)
            if text in line:
                return came

    def cpu_seconds(self) -> float:
        """CPU time of the process and of those it has started, from the kernel's account."""
        return sum(map(_cpu_ticks, [self.process.pid, *self.children()])) / 100

    def children(self) -> list[int]:
        pid = self.process.pid
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def wait_until_idle(scripts: Collection[Script]) -> None:
    """Until they have used next to no CPU time for two seconds."""
    before = -1.0
    while (now := sum(script.cpu_seconds() for script in scripts)) > before + 0.1:
        before = now
        time.sleep(2)


def python(*command: object, place: Path = ROOT) -> str:
    return run(["python", *command], place)


def run(command: list[object], place: Path) -> str:
    """Run a program of this Python's environment to its end; returns what it printed.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=place,
        env={**os.environ, "PATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        said = (ended.stdout + ended.stderr)[-2000:]
        raise RuntimeError(f"{command[:2]} ended with {ended.returncode}: {said}")
    return ended.stdout


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
