"""Read a raw dataset: labelled images in any of the layouts in, arrays out.

A folder is looked at as a whole, never believed to be finished: `folder_scan` says what lies there
and in which state, `layouts` which class each image has, `read` turns it into arrays. Nothing but
files that the look found is ever opened.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import constants
from helper import digest_of, printable
from pipeline.images.image_decoder import Range
from pipeline.images.image_size import choose_image_size
from pipeline.images.near_duplicates import Pairs, groups, near_duplicates, signatures
from pipeline.images.preparation import Preparation
from pipeline.images.reader_processes import readers_for
from pipeline.images.splitting import held_out
from pipeline.problem import Problem, RawDatasetError
from pipeline.raw_data.archives import is_archive
from pipeline.raw_data.data_warnings import find_warnings
from pipeline.raw_data.folder_scan import FolderScan
from pipeline.raw_data.groundtruth import Row, number_labels
from pipeline.raw_data.ingestion_settings import IngestionSettings
from pipeline.raw_data.layouts import Layout
from pipeline.raw_data.litter import is_litter
from pipeline.stage.text import count

IMAGES_AT_ONCE = 256  # are moved in memory together


@dataclass
class Images:
    """The images of one split while they are read, row by row.

    pixels: uint8 (count, size, size, 3); digests: of the pixels; file_digests: of the files' bytes;
    damaged: why an image cannot be decoded, as the end of a sentence, by its index;
    notes: what was done to an image or is odd about it, by its index.
    """

    rows: list[Row]
    pixels: np.ndarray
    digests: list[bytes] = field(default_factory=list)
    file_digests: list[bytes] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    notes: dict[int, list[str]] = field(default_factory=dict)

    def whole(self) -> np.ndarray:
        """A mask of those that are not damaged."""
        mask = np.ones(len(self.rows), bool)
        mask[list(self.damaged)] = False
        return mask

    def part(self, mask: np.ndarray) -> "Images":
        """Those in `mask`, in the same memory: the others are overwritten, as both together may not
        fit."""
        index = np.flatnonzero(mask)
        for first in range(0, len(index), IMAGES_AT_ONCE):
            some = index[first : first + IMAGES_AT_ONCE]
            # Each image moves to where it is or further to the front, so none is lost.
            self.pixels[first : first + len(some)] = self.pixels[some]
        return self._with(index, self.pixels[: len(index)])

    def copied(self, mask: np.ndarray) -> "Images":
        """Those in `mask`, in memory of their own."""
        return self._with(np.flatnonzero(mask), self.pixels[mask])

    def _with(self, index: np.ndarray, pixels: np.ndarray) -> "Images":
        new_index = {int(old): new for new, old in enumerate(index)}
        return Images(
            [self.rows[old] for old in index],
            pixels,
            [self.digests[old] for old in index],
            [self.file_digests[old] for old in index],
            {},
            {new_index[old]: notes for old, notes in self.notes.items() if old in new_index},
        )

    def arrays(self, number_of: dict[str, int], classes: int) -> dict[str, np.ndarray]:
        """As a split of a dataset."""
        labels = np.array([number_of[row.label] for row in self.rows], np.int64)
        return {"img": self.pixels, "label": labels, "class": one_hot(labels, classes)}


@dataclass
class RawDataset:
    """A raw dataset in memory.

    splits: "train" and "test", each a dict of "img" uint8 (count, size, size, 3), 0 to 255;
        "label" int64 (count,); "class" one-hot float32 (count, classes).
    files, digests: of each split, the paths of its images in the raw dataset and what their pixels
        are known by.
    validation: which training images are the validation part, None where it is not given.
    digest: SHA-256 of the content: pixels, labels, class names and split, not of names or times.
    preparation, ranges: how each image became pixels; by which range those of more than 8 bits.
    held_out: how many test images were held out, as there was no test part.
    left_out: damaged images and why.
    """

    splits: dict[str, dict[str, np.ndarray]]
    class_names: list[str]
    files: dict[str, list[str]]
    digests: dict[str, list[bytes]]
    validation: np.ndarray | None
    digest: str
    preparation: Preparation
    ranges: dict[str, Range]
    warnings: list[Problem]
    held_out: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def validation_images(self) -> int:
        return 0 if self.validation is None else int(self.validation.sum())


def find_raw_datasets(folder: Path) -> list[Path]:
    """`folder` itself, where it has a train/ or test/, and each visible folder and archive in it."""
    found = [folder] if any(_is_folder(folder / split) for split in constants.SPLITS) else []
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not is_litter(entry.name, folder=True)
            and entry.name not in constants.SPLITS
            and (_is_folder(entry) or (is_archive(entry.name) and _is_file(entry)))
        ]
    return found + [folder / name for name in sorted(names)]


def _is_file(entry: os.DirEntry) -> bool:
    return entry.is_file(follow_symlinks=False)


def _is_folder(path: Path | os.DirEntry) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to where this account may not look
        return False


def read(
    folder: Path,
    look: FolderScan,
    layout: Layout,
    settings: IngestionSettings,
    progress: Callable[[int], object],
    leave_out: bool = False,
) -> RawDataset:
    """The raw dataset in `folder` as arrays, images in RGB and of one size, in the order of the layout.

    `progress` is called with the number of images read since its last call. With `leave_out`, damaged
    images are left out where they are few.

    Raises:
        RawDatasetError: names the file, the row and what to do.
    """
    rows = {"train": layout.rows["train"] + layout.rows.get("validation", [])}
    if "test" in layout.rows:
        rows["test"] = layout.rows["test"]
    number_of, class_names, warnings = number_labels(rows)
    preparation = _preparation(folder, look, rows, settings)
    images, ranges = _read_images(folder, look, rows, preparation, progress)
    given = np.zeros(len(rows["train"]), bool)
    given[len(layout.rows["train"]) :] = True
    validation = given if given.any() else None
    left_out = _damaged(images, layout.listed, leave_out)
    if left_out:
        kept = {name: some.whole() for name, some in images.items()}
        images = {name: some.part(kept[name]) for name, some in images.items()}
        validation = None if validation is None else validation[kept["train"]]
        warnings.append(_left_out(left_out))
    pairs = near_duplicates(np.concatenate([signatures(some.pixels) for some in images.values()]))
    held = 0
    if "test" not in images:
        images, pairs = _hold_out(images["train"], number_of, pairs, settings.test_share)
        held = len(images["test"].rows)
    splits = {name: some.arrays(number_of, len(class_names)) for name, some in images.items()}
    files = {name: [row.file for row in some.rows] for name, some in images.items()}
    digests = {name: some.digests for name, some in images.items()}
    warnings += find_warnings(splits, files, digests, class_names, pairs, _files_by_note(images))
    return RawDataset(
        splits,
        class_names,
        files,
        digests,
        validation,
        _content_digest(images, splits, class_names, validation),
        preparation,
        ranges,
        [*layout.warnings, *warnings],
        held,
        left_out,
    )


def _preparation(
    folder: Path, look: FolderScan, rows: dict[str, list[Row]], settings: IngestionSettings
) -> Preparation:
    size = settings.image_size
    if not size:
        files = [look.opened_as(row.file) for some in rows.values() for row in some]
        size = choose_image_size(str(folder), files, len(files))
    return Preparation(size, settings.fit, settings.background, settings.largest_image)


def _read_images(
    folder: Path,
    look: FolderScan,
    rows: dict[str, list[Row]],
    preparation: Preparation,
    progress: Callable[[int], object],
) -> tuple[dict[str, Images], dict[str, Range]]:
    """The images of each split, and the range by which those of more than 8 bits were scaled."""
    sizes = {name: [look.state_of(row.file)[0] for row in some] for name, some in rows.items()}
    with readers_for([size for some in sizes.values() for size in some], preparation) as readers:
        readings = {
            name: readers.read(folder, [look.opened_as(row.file) for row in some], sizes[name])
            for name, some in rows.items()
        }
        ranges = readers.finish(progress)
    images = {}
    for name, reading in readings.items():
        result = reading.result
        images[name] = Images(
            rows[name],
            reading.pixels,
            result.digests,
            result.file_digests,
            result.damaged,
            _worth_saying(result.notes, preparation),
        )
    return images, ranges


def _worth_saying(notes: dict[int, list[str]], preparation: Preparation) -> dict[int, list[str]]:
    """Without that small images became as large as the smallest that datasets have."""
    if preparation.size > constants.IMAGE_SIZE:
        return notes
    return {index: [note for note in some if note != "smaller"] for index, some in notes.items()}


def _files_by_note(images: dict[str, Images]) -> dict[str, list[str]]:
    files = defaultdict(list)
    for some in images.values():
        for index, notes in sorted(some.notes.items()):
            for note in notes:
                files[note].append(some.rows[index].file)
    return files


def _damaged(images: dict[str, Images], listed: bool, leave_out: bool) -> dict[str, str]:
    """The damaged images that may be left out, and why each.

    Raises:
        RawDatasetError: some are damaged and may not be left out, or are too many.
    """
    problems = []
    left_out = {}
    for name, some in images.items():
        few = len(some.damaged) <= constants.MOST_LEFT_OUT * len(some.rows)
        for index, reason in some.damaged.items():
            row = some.rows[index]
            where = f" (row {row.number})" if row.number is not None else ""
            text = f"{printable(row.file)}{where} {reason}."
            if listed or not leave_out or not few:
                problems.append(
                    Problem("damaged", text, "Replace the image.", name, row.file, row.number)
                )
            left_out[row.file] = reason
    if problems:
        raise RawDatasetError(problems)
    return left_out


def _left_out(left_out: dict[str, str]) -> Problem:
    file, reason = next(iter(left_out.items()))
    number, first = len(left_out), printable(file)
    text = f"damaged images that are left out: {number:,}, first {first}, which {reason}."
    return Problem.about("damaged", text, list(left_out))


def _hold_out(
    images: Images, number_of: dict[str, int], pairs: Pairs, share: float
) -> tuple[dict[str, Images], Pairs]:
    """The images as train and test, and the pairs by their new indices, train before test."""
    labels = np.array([number_of[row.label] for row in images.rows])
    together = groups(len(labels), pairs, images.digests)
    tested = held_out(images.file_digests, labels, together, share)
    if not tested.any():
        raise RawDatasetError(
            [
                Problem(
                    "too few",
                    f"{count(len(labels), 'image')}, of which no test part can be held out; expected a"
                    " class with two images or more that are unlike.",
                    "Add images.",
                )
            ]
        )
    test = images.copied(tested)
    order = np.concatenate([np.flatnonzero(~tested), np.flatnonzero(tested)])
    return {"train": images.part(~tested), "test": test}, _renumbered(pairs, order)


def _renumbered(pairs: Pairs, order: np.ndarray) -> Pairs:
    """The same pairs, where image `order[n]` is number n now."""
    number = np.empty(len(order), int)
    number[order] = np.arange(len(order))
    first, second = number[pairs.first], number[pairs.second]
    return Pairs(np.minimum(first, second), np.maximum(first, second), pairs.similarity)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (count,) as float32 (count, classes) with a 1 for each label."""
    array = np.zeros((len(labels), classes), np.float32)
    array[np.arange(len(labels)), labels] = 1
    return array


def _content_digest(
    images: dict[str, Images],
    splits: dict[str, dict[str, np.ndarray]],
    class_names: list[str],
    validation: np.ndarray | None,
) -> str:
    given = {} if validation is None else {"validation": np.flatnonzero(validation).tolist()}
    return digest_of(
        {
            "image_size": splits["train"]["img"].shape[1],
            "class_names": class_names,
            **given,
            **{
                name: hashlib.sha256(
                    b"".join(some.digests) + splits[name]["label"].tobytes()
                ).hexdigest()
                for name, some in images.items()
            },
        }
    )
