"""One of several peers at work in a process of its own: its seconds, CPU seconds and memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from processes import ROOT


class PeerRun:
    """`python benchmarks/<script> NAME ...`, once.

    seconds, cpu: of the work alone, not of imports; cpu of all its processes.
    peak: the most bytes that it and its processes had at any look.
    path: what it made, if it makes anything.
    """

    def __init__(self, script: str, name: str, *arguments: object):
        process = subprocess.Popen(
            [sys.executable, ROOT / "benchmarks" / script, name, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )
        self.peak = 0
        while process.poll() is None:
            self.peak = max(self.peak, memory_of(process.pid))
            time.sleep(0.05)  # looking takes time, too
        said = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"{name} ended with exit status {process.returncode}")
        result = json.loads(said.splitlines()[-1])
        self.seconds, self.cpu = result["seconds"], result["cpu"]
        self.path = Path(result["path"]) if result["path"] else None


def memory_of(pid: int) -> int:
    """Bytes of memory that a process and those it started have."""
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * 4096 + sum(memory_of(child) for child in children)
    return 0


def measure(work: Callable[[], Path | None]) -> None:
    """Do the work that a peer's process was started for, and print what PeerRun reads."""
    began, cpu_before = time.perf_counter(), cpu_seconds()
    path = work()
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu_before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "path": path and str(path)}))


def cpu_seconds() -> float:
    """CPU time of this process and of those it started and saw end."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
