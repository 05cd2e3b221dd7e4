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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import IO, NamedTuple, cast

import numpy as np

import constants
from pipeline.images.image_decoder import Range
from pipeline.images.image_reader import ReadResult, empty_result, from_plain, read_images
from pipeline.images.preparation import Preparation
from pipeline.stage import child_processes
from pipeline.stage.child_processes import describe_exit_status
from pipeline.stage.devices import cores
from pipeline.stage.log_lines import log

# Bytes of images: what one core reads in the time that a process takes to start.
WORTH_A_PROCESS = 2**22
MOST_PROCESSES = 16
AT_ONCE = 2**20  # bytes of files or pixels in one job, more or less
MOST_AT_ONCE = 256  # images in one job


class _Job(NamedTuple):
    folder: str
    files: list[str]
    preparation: dict
    ranges: dict[str, Range]
    start: int  # of its pixels in the shared memory
    pixels: memoryview  # the room for them


@dataclass
class Reading:
    """Images that are being read; all of it is there once `ImageReaders.finish` is through.

    pixels: uint8 (count, size, size, 3), being filled.
    result: what is known of the images, by their numbers in `files`.
    """

    folder: str
    files: list[str]
    begin: int  # of the pixels in the shared memory
    room: mmap.mmap
    pixels: np.ndarray
    result: ReadResult
    answers: Iterator[ReadResult]


def readers_for(sizes: list[int], preparation: Preparation) -> "ImageReaders":
    """What reads images of `sizes` bytes fastest: small jobs, and processes only if there are many."""
    total = sum(sizes)
    count = min(cores(), MOST_PROCESSES, total // WORTH_A_PROCESS)
    mean = total // max(1, len(sizes))
    at_once = AT_ONCE // max(preparation.size**2 * 3, mean)
    return ImageReaders(preparation, count if count > 1 else 0, max(1, min(MOST_AT_ONCE, at_once)))


class ImageReaders:
    """Reads images, made as `preparation` says, in `count` processes; without any, in this one."""

    def __init__(self, preparation: Preparation, count: int, at_once: int):
        self.preparation, self.at_once = preparation, at_once
        self.processes: list[_Process] = []
        self._readings: list[Reading] = []
        self._memory = child_processes.shared_memory()
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        with suppress(OSError):  # no more of them can be had: what there is will do
            for _ in range(count):
                self.processes.append(_Process(self._memory))
                self._idle.put(self.processes[-1])
        # A thread only waits for its process.
        self._threads = ThreadPoolExecutor(max(1, len(self.processes)))
        self._here = Lock()  # as image_decoder.silence() is one for this process

    def __enter__(self) -> "ImageReaders":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for process in self.processes:
            process.end()
        os.close(self._memory)

    def read(self, folder: Path, files: list[str], sizes: Sequence[int] = ()) -> Reading:
        """Begin to read `files`, which are paths from `folder` on. No link is followed to a file.

        `sizes` are the bytes of each, if they are known: a job gets fewer files that are large.
        """
        size = self.preparation.size
        shape = len(files), size, size, 3
        begin = os.fstat(self._memory).st_size
        begin += -begin % mmap.ALLOCATIONGRANULARITY
        length = max(1, math.prod(shape))
        os.ftruncate(self._memory, begin + length)
        room = mmap.mmap(self._memory, length, offset=begin)
        pixels = np.frombuffer(room, np.uint8, math.prod(shape)).reshape(shape)
        reading = Reading(
            str(folder.absolute()), files, begin, room, pixels, empty_result(), iter(())
        )
        reading.answers = self._answers(reading, self._parts(len(files), sizes), {})
        self._readings.append(reading)
        return reading

    def finish(
        self,
        progress: Callable[[int], object] = lambda count: None,
        given: Mapping[str, Range] | None = None,
    ) -> dict[str, Range]:
        """Wait until all images of all readings are read; `progress` gets how many more are.

        Images of more than 8 bits are scaled alike: by the range that is `given` for their sort, or else
        by the one that all of it have in all readings. So those are read twice.

        Returns:
            that range, by the sort: "16 bit", "32 bit" or "float".

        Raises:
            OSError: something that passes (too many files are open, the disk has an error).
        """
        readings, self._readings = self._readings, []
        for reading in readings:
            for answer in reading.answers:
                reading.result.extend(answer)
                progress(len(answer.digests))
        ranges = _whole_ranges([reading.result for reading in readings]) | dict(given or {})
        for reading in readings:
            values = reading.result.values.items()
            again = sorted(number for number, (sort, own) in values if own != ranges[sort])
            parts = list(_runs(again, self.at_once))
            for part, answer in zip(parts, self._answers(reading, parts, ranges), strict=True):
                reading.result.replace(part.start, answer)
        return ranges

    def _parts(self, count: int, sizes: Sequence[int]) -> Iterator[range]:
        """The numbers of the files of each job."""
        first = total = 0
        for number, size in enumerate(sizes or [0] * count):
            if number > first and (number - first == self.at_once or total + size > AT_ONCE):
                yield range(first, number)
                first, total = number, 0
            total += size
        if first < count:
            yield range(first, count)

    def _answers(
        self, reading: Reading, parts: Iterable[range], ranges: dict[str, Range]
    ) -> Iterator[ReadResult]:
        jobs = (self._job(reading, part, ranges) for part in parts)
        return self._threads.map(self._do, jobs) if self.processes else map(self._do_here, jobs)

    def _job(self, reading: Reading, part: range, ranges: dict[str, Range]) -> _Job:
        each, plain = self.preparation.size**2 * 3, self.preparation.as_plain()
        files, start = reading.files[part.start : part.stop], part.start * each
        pixels = memoryview(reading.room)[start : part.stop * each]
        return _Job(reading.folder, files, plain, ranges, reading.begin + start, pixels)

    def _do(self, job: _Job) -> ReadResult:
        process = self._idle.get()
        try:
            return process.do(job) or self._do_here(job)
        finally:
            self._idle.put(process)

    def _do_here(self, job: _Job) -> ReadResult:
        with self._here:
            return read_images(job.folder, job.files, self.preparation, job.pixels, job.ranges)


def _whole_ranges(results: list[ReadResult]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for sort, (low, high) in (one for result in results for one in result.values.values()):
        lowest, highest = ranges.get(sort, (low, high))
        ranges[sort] = min(low, lowest), max(high, highest)
    return ranges


def _runs(numbers: list[int], most: int) -> Iterator[range]:
    """Rising numbers as ranges of up to `most` that follow one another."""
    first = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1 or at - first == most:
            yield range(numbers[first], numbers[at - 1] + 1)
            first = at


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
            return from_plain(json.loads(stdout.readline()))
        except (BrokenPipeError, ValueError):  # it ended before, or within its line
            self._say_how_it_ended()
            return None

    def _say_how_it_ended(self) -> None:
        how = describe_exit_status(self.process.wait())
        log.warning("a process that reads images %s; going on without it", how)

    def end(self) -> None:
        self.process.kill()  # it holds nothing that could be lost
        with suppress(BrokenPipeError), self.process:
            pass
