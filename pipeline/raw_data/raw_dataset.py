"""Read and check a raw dataset: a folder with train/ and test/, each PNGs and a groundtruth.csv.

A folder is looked at as a whole, never believed to be finished: `scan` says what lies there
and in which state (name, size, time, inode), `problems` what is still missing or wrong, `read`
turns it into arrays. Nothing but files that were found in a split's own folder is ever opened.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

import constants
from helper import digest_of, printable
from pipeline.data_folder import file_state
from pipeline.problem import Problem
from pipeline.raw_data.data_warnings import find_warnings
from pipeline.raw_data.groundtruth import RawDatasetError, Row, number_labels, read_rows
from pipeline.raw_data.image_reader import TRANSIENT_ERRNOS, ReadResult, read_raw
from pipeline.raw_data.reader_processes import readers_for


@dataclass
class Split:
    """What a split's folder holds: the state of each regular file by name, and what else is there."""

    files: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # links, folders, devices
    exists: bool = True
    trouble: str | None = ""  # why the folder cannot be looked into

    def state(self) -> list:
        """All there is to it, in an order of its own. Names alone are sorted faster than pairs."""
        names = sorted(self.files)
        return [self.exists, self.trouble, self.others, names, [self.files[name] for name in names]]

    @cached_property
    def images(self) -> set[str]:
        return {name for name in self.files if name.lower().endswith(".png")}


@dataclass
class FolderScan:
    """One look at a raw dataset. Two equal ones, or equal fingerprints: nothing changed."""

    splits: dict[str, Split]

    def image_sizes(self) -> list[int]:
        """Bytes of each image."""
        return [split.files[name][0] for split in self.splits.values() for name in split.images]

    def fingerprint(self) -> str:
        return digest_of({name: split.state() for name, split in self.splits.items()})


@dataclass
class RawDataset:
    """A raw dataset in memory.

    train, test: dicts of "img" uint8 (count, size, size, 3), 0 to 255; "label" int64 (count,);
        "class" one-hot float32 (count, classes).
    files, digests: of each split, the names of its images as the groundtruth has them, and what
        their pixels are known by.
    digest: SHA-256 of the content: pixels, labels and class names, not of names or times.
    """

    splits: dict[str, dict[str, np.ndarray]]
    class_names: list[str]
    files: dict[str, list[str]]
    digests: dict[str, list[bytes]]
    digest: str
    warnings: list[Problem]
    validation: np.ndarray | None = None  # which of train are for validation, where that is given


def find_raw_datasets(folder: Path) -> list[Path]:
    """`folder` itself, where it has a train/ or test/, and each visible folder in it."""
    found = [folder] if any(_is_folder(folder / split) for split in constants.SPLITS) else []
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and entry.name not in constants.SPLITS
            and _is_folder(entry)
        ]
    return found + [folder / name for name in sorted(names)]


def _is_folder(path: Path | os.DirEntry) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to where this account may not look
        return False


def scan(folder: Path) -> FolderScan:
    """What lies in the splits of the raw dataset `folder` now."""
    return FolderScan({split: _look_into(folder / split) for split in constants.SPLITS})


def _look_into(folder: Path) -> Split:
    split = Split()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it went while we looked: copying tools rename their temporary files
                if stat.S_ISREG(status.st_mode):
                    # The change time is there because a copy may set the modification time back.
                    split.files[entry.name] = file_state(status)
                else:
                    split.others.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        split.exists = False
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
        split.trouble = error.strerror
    split.others.sort()
    return split


def problems(folder: Path, stock: FolderScan) -> list[str]:
    """All that keeps a raw dataset from being read, as far as can be told without decoding images."""
    absent = [
        f"{split}: there is no folder {split}/ yet."
        for split in stock.splits
        if not stock.splits[split].exists
    ]
    shut = [
        f"{name}: the folder {name}/ cannot be read: {split.trouble}. Make it readable."
        for name, split in stock.splits.items()
        if split.trouble
    ]
    if absent or shut:
        return absent + shut
    found, rows = [], {}
    for name, split in stock.splits.items():
        try:
            rows[name] = rows_of(folder, name, split)
        except RawDatasetError as error:
            found += error.problems
    if found:
        return found
    found = [
        problem for name in rows for problem in _unmatched(name, rows[name], stock.splits[name])
    ]
    try:
        number_labels(rows)
    except RawDatasetError as error:
        found += error.problems
    return found


def rows_of(folder: Path, name: str, split: Split) -> list[Row]:
    """The rows of the groundtruth.csv of split `name`.

    Raises:
        RawDatasetError: there is none, or one of its rows is wrong.
    """
    place = f"{name}/{constants.GROUNDTRUTH}"
    if constants.GROUNDTRUTH in split.others:
        raise RawDatasetError(
            [
                f"{place} is not a plain file (a link, a folder or a device). Put the file itself there."
            ]
        )
    if constants.GROUNDTRUTH not in split.files:
        raise RawDatasetError(
            [f'{place} is not there yet. It needs a row "file,label" for each image.']
        )
    try:
        content = read_raw(f"{folder}/{place}", constants.MOST_TABLE_BYTES)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
        raise RawDatasetError(
            [f"{place} cannot be read: {error.strerror}. Make it readable."]
        ) from None
    return read_rows(content, name, set(split.files))


def _unmatched(name: str, rows: list[Row], split: Split) -> list[str]:
    """Rows with no image and images with no row."""
    images, listed = split.images, {row.file for row in rows}
    found = []
    if linked := [row for row in rows if row.file in split.others]:
        found.append(
            f"{name}/{constants.GROUNDTRUTH}, row {linked[0].number}: {printable(linked[0].file)} is not"
            " a plain file (a link, a folder or a device). Copy the image itself there."
        )
    if absent := [row for row in rows if row.file not in images and row.file not in split.others]:
        verb = "is" if len(absent) == 1 else "are"
        found.append(
            f"{name}: {len(absent):,} of {len(rows):,} listed images {verb} not there yet,"
            f" first {printable(absent[0].file)} (row {absent[0].number})."
        )
    if unlisted := sorted(images - listed):
        verb = "has" if len(unlisted) == 1 else "have"
        found.append(
            f"{name}: {len(unlisted):,} of {len(images):,} images {verb} no row in"
            f" {constants.GROUNDTRUTH} yet, first {printable(unlisted[0])}."
        )
    return found


def read(
    folder: Path, stock: FolderScan, image_size: int, progress: Callable[[int], object]
) -> RawDataset:
    """The raw dataset in `folder` as arrays, images in RGB and of `image_size`; order as in the CSVs.

    `progress` is called with the number of images read since its last call.

    Raises:
        RawDatasetError: names the file, the row and what to do.
    """
    damaged: list[str] = []
    rows, files, images, answers, splits, digests = {}, {}, {}, {}, {}, {}
    with readers_for(stock.image_sizes(), image_size) as readers:
        # They start, and read, while this process has something else to do.
        for name, split in stock.splits.items():
            rows[name] = rows_of(folder, name, split)
            files[name] = [row.file for row in rows[name]]
            images[name], answers[name] = readers.read(folder / name, files[name])
        number_of, class_names = number_labels(rows)
        for name, some in rows.items():
            digests[name] = _digests(answers[name], name, some, progress, damaged)
            labels = np.array([number_of[row.label] for row in some], np.int64)
            classes = one_hot(labels, len(class_names))
            splits[name] = {"img": images[name], "label": labels, "class": classes}
    if damaged:
        raise RawDatasetError(damaged)
    return RawDataset(
        splits,
        class_names,
        files,
        digests,
        _content_digest(splits, digests, class_names, image_size),
        find_warnings(splits, files, digests, class_names),
    )


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (count,) as float32 (count, classes) with a 1 for each label."""
    array = np.zeros((len(labels), classes), np.float32)
    array[np.arange(len(labels)), labels] = 1
    return array


def _digests(
    answers: Iterator[ReadResult],
    split: str,
    rows: list[Row],
    progress: Callable[[int], object],
    damaged: list[str],
) -> list[bytes]:
    """One for each image, all of which are read then; says in `damaged` which do not decode."""
    digests: list[bytes] = []
    for answer in answers:
        for place, reason in answer.damaged.items():
            row = rows[len(digests) + place]
            damaged.append(
                f"{split}/{printable(row.file)} (row {row.number}) {reason}. Replace the image."
            )
        digests += answer.digests
        progress(len(answer.digests))
    return digests


def _content_digest(
    splits: dict, digests: dict[str, list[bytes]], class_names: list[str], image_size: int
) -> str:
    return digest_of(
        {
            "image_size": image_size,
            "class_names": class_names,
            **{
                name: hashlib.sha256(b"".join(digests[name]) + split["label"].tobytes()).hexdigest()
                for name, split in splits.items()
            },
        }
    )
