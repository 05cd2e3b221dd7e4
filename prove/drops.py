"""What the proofs of ingestion share: raw datasets whose content is known, and an ingestion at hand.

Where a proof is about the order of things, not about a machine's speed, the stage's own code runs
here, on real files, with a clock that goes on when the proof says so: each schedule is the same
each time, however busy the machine is, and a thousand of them take a minute.
"""

import csv
import hashlib
import logging
import os
import pickle
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
from PIL import Image

import constants
import data_ingestion
from pipeline.images import reader_processes
from pipeline.raw_data import ingestion
from pipeline.stage.process import Stage
from testkit.raw_datasets import make_raw_dataset

SIZE = 8  # pixels: as the images are, so that a dataset holds them as they are
OPTIONS = ("--image-size", str(SIZE))


def make(folder: Path, seed: int = 0) -> Path:
    return make_raw_dataset(folder, train=6, test=3, names=True, seed=seed)


def content_of(raw_dataset: Path) -> str:
    """What a dataset of `raw_dataset` has to hold, found without any of the stage's code."""
    rows = {
        split: list(csv.DictReader((raw_dataset / split / constants.GROUNDTRUTH).open()))
        for split in constants.SPLITS
    }
    names = sorted({row["label"] for row in rows["train"]})
    digest = hashlib.sha256()
    for split in constants.SPLITS:
        for row in rows[split]:
            with Image.open(raw_dataset / split / row["file"]) as image:
                digest.update(np.asarray(image).tobytes() + bytes([names.index(row["label"])]))
    return digest.hexdigest()


def contents(data: Path) -> list[str]:
    """The content of each dataset in the data folder, in the order of their names."""
    return [_content(path) for path in sorted((data / constants.DATASETS).glob("*.pkl"))]


def _content(path: Path) -> str:
    dataset = pickle.loads(path.read_bytes())
    digest = hashlib.sha256()
    for split in constants.SPLITS:
        part = dataset[split]
        for pixels, label in zip(part["img"], part["label"], strict=True):
            digest.update(pixels.tobytes() + bytes([label]))
    return digest.hexdigest()


class Bench:
    """A data folder with an ingestion that looks when it is told to, at a time that is told."""

    def __init__(self, folder: Path):
        self.folder, self.data, self.now = folder, folder / "data", 1000.0
        self.raw, self.built = self.data / constants.RAW_DATASETS, folder / "built"
        for place in (self.raw, self.data / constants.DATASETS, self.built):
            place.mkdir(parents=True)
        self.restart()

    def restart(self) -> None:
        """What a new process of the stage begins with: what is on disk."""
        options = data_ingestion.parse(["--data", str(self.data), *OPTIONS])
        self.ingestion = ingestion.Ingestion(self.raw, options, Stage())

    def look(self, after: float = 0.0) -> None:
        self.now += after
        self.ingestion.look()

    def look_until_quiet(self) -> None:
        """As often as anything can be left to do: see it, see it settled, read it; read it again."""
        for _ in range(6):
            self.look(after=constants.SETTLE + 0.1)

    def change_time(self) -> None:
        """Wait until the file system gives another time than it gave before."""
        scratch = self.folder / "scratch"
        scratch.touch()
        before = scratch.stat().st_ctime_ns
        while scratch.stat().st_ctime_ns == before:
            scratch.touch()


@contextmanager
def bench() -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory() as folder,
        _silence(),
        mock.patch.object(os, "fsync"),  # no power is lost here, and it takes most of the time
    ):
        one = Bench(Path(folder).resolve())
        clock = SimpleNamespace(monotonic=lambda: one.now, sleep=lambda _: None)
        with mock.patch.object(ingestion, "time", clock):
            yield one


@contextmanager
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def while_reading(action: Callable[[int], object]) -> Iterator[None]:
    """Call `action` with the number of images read so far, each time that one was read."""
    read = ingestion.read

    def read_and_tell(*arguments: object) -> object:
        *before, progress, leave_out = arguments
        done = iter(range(1, 10**9))
        return read(*before, lambda count: (progress(count), action(next(done))), leave_out)

    one_at_once = mock.patch.object(reader_processes, "MOST_AT_ONCE", 1)
    with one_at_once, mock.patch.object(ingestion, "read", read_and_tell):
        yield


def pieces(content: bytes, draw: random.Random, ends: Sequence[int]) -> Iterator[bytes]:
    """`content` cut at up to three of the places in `ends`."""
    cuts = sorted(draw.sample(ends, min(len(ends), draw.randint(0, 3))))
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        yield content[start:end]
