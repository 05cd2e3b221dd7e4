"""The other end of `image_reader.py`: reads images in processes of their own, one for each core.

They write the pixels into memory that is shared: a file without a name. A process that dies, however
it does, costs time and nothing else: what it leaves is read here.
"""

import json
import math
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NamedTuple, cast

import numpy as np

import constants
from pipeline.images.image_reader import ReadResult, read_images
from pipeline.stage import child_processes
from pipeline.stage.child_processes import describe_exit_status
from pipeline.stage.log_lines import log

# Bytes of PNGs: what one core reads in the time that a process takes to start.
WORTH_A_PROCESS = 2**22
MOST_PROCESSES = 16
AT_ONCE = 2**20  # bytes of PNGs or pixels in one job, more or less
MOST_AT_ONCE = 256  # images in one job


class _Job(NamedTuple):
    folder: str
    files: list[str]
    size: int
    start: int  # of its pixels in the shared memory
    pixels: memoryview  # the room for them


def readers_for(sizes: list[int], size: int) -> "ImageReaders":
    """What reads images of `sizes` bytes fastest: small jobs, and processes only if there are many."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    total = sum(sizes)
    count = min(cores, MOST_PROCESSES, total // WORTH_A_PROCESS)
    mean = total // max(1, len(sizes))
    at_once = AT_ONCE // max(size * size * 3, mean)
    return ImageReaders(size, count if count > 1 else 0, max(1, min(MOST_AT_ONCE, at_once)))


class ImageReaders:
    """Reads images, as `size` x `size` pixels, in `count` processes; without any, in this one."""

    def __init__(self, size: int, count: int, at_once: int):
        self.size, self.at_once = size, at_once
        self.processes: list[_Process] = []
        self._memory = child_processes.shared_memory()
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        with suppress(OSError):  # no more of them can be had: what there is will do
            for _ in range(count):
                self.processes.append(_Process(self._memory))
                self._idle.put(self.processes[-1])
        # A thread only waits for its process.
        self._threads = ThreadPoolExecutor(max(1, len(self.processes)))

    def __enter__(self) -> "ImageReaders":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for process in self.processes:
            process.end()
        os.close(self._memory)

    def read(self, folder: Path, files: list[str]) -> tuple[np.ndarray, Iterator[ReadResult]]:
        """Read `files` of `folder`.

        Returns:
            uint8 (count, size, size, 3), being filled while the answers are fetched: job by job, in
            their order. It raises OSError if something passes (too many files are open, the disk has
            an error).
        """
        shape = len(files), self.size, self.size, 3
        begin = os.fstat(self._memory).st_size
        begin += -begin % mmap.ALLOCATIONGRANULARITY
        length = max(1, math.prod(shape))
        os.ftruncate(self._memory, begin + length)
        room = mmap.mmap(self._memory, length, offset=begin)
        jobs = self._jobs(str(folder.absolute()), files, begin, memoryview(room))
        answers = self._threads.map(self._do, jobs) if self.processes else map(_do_here, jobs)
        return np.frombuffer(room, np.uint8, math.prod(shape)).reshape(shape), answers

    def _jobs(self, folder: str, files: list[str], begin: int, room: memoryview) -> Iterator[_Job]:
        each = self.size * self.size * 3
        for first in range(0, len(files), self.at_once):
            some = files[first : first + self.at_once]
            start = first * each
            pixels = room[start : start + len(some) * each]
            yield _Job(folder, some, self.size, begin + start, pixels)

    def _do(self, job: _Job) -> ReadResult:
        process = self._idle.get()
        try:
            return process.do(job) or _do_here(job)
        finally:
            self._idle.put(process)


def _do_here(job: _Job) -> ReadResult:
    return read_images(job.folder, job.files, job.size, job.pixels)


class _Process:
    def __init__(self, memory: int):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.images.image_reader", str(memory)],
            cwd=constants.ROOT,
            pass_fds=[memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a fault comes up again, and is said, when this process reads
            process_group=0,  # Ctrl-C in the terminal is for this process, which then ends that one
        )

    def do(self, job: _Job) -> ReadResult | None:
        """The answer; None if the process is dead."""
        if self.process.returncode is not None:
            return None
        order = {name: value for name, value in job._asdict().items() if name != "pixels"}
        stdin, stdout = (cast(IO[bytes], end) for end in (self.process.stdin, self.process.stdout))
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
            said = json.loads(stdout.readline())
        except (BrokenPipeError, ValueError):  # it ended before, or within its line
            self._say_how_it_ended()
            return None
        digests, size = bytes.fromhex(said["digests"]), constants.DIGEST_BYTES
        each = [digests[at : at + size] for at in range(0, len(digests), size)]
        return ReadResult(each, dict(said["damaged"]))

    def _say_how_it_ended(self) -> None:
        how = describe_exit_status(self.process.wait())
        log.warning("a process that reads images %s; going on without it", how)

    def end(self) -> None:
        self.process.kill()  # it holds nothing that could be lost
        with suppress(BrokenPipeError), self.process:
            pass
