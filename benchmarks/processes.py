"""What the benchmarks share: a script as a process whose lines come with the time they came at."""

import queue
import subprocess
import sys
import threading
import time
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
        """CPU time of the process and of the one it has started, from the kernel's account."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(_cpu_ticks(one) for one in (pid, *children)) / 100

    def resident_mb(self) -> float:
        """Memory of the process itself."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def _cpu_ticks(pid: object) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
