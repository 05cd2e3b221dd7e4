"""The table beside a dataset, `<time>.csv`: from which file each of its images was read."""

import csv
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import constants
from helper import UnusableFile, read_file
from pipeline.data_folder import image_table_path
from pipeline.stage.log_lines import warn_once
from pipeline.stage.text import cannot_read, csv_of

COLUMNS = ("split", "index", "file", "class", "digest")
VALIDATION = "validation"  # a column more, where a part of train was given for it
TRUE, FALSE = "true", "false"


def image_table(
    splits: dict[str, Iterable[tuple[str, str, bytes]]], validation: np.ndarray | None = None
) -> bytes:
    """The table of a dataset whose splits have images of these files, classes and digests.

    `validation` says of each image in train whether it is for validation, where that is given.
    """
    rows = (
        (split, index, file, class_name, digest.hex())
        for split, images in splits.items()
        for index, (file, class_name, digest) in enumerate(images)
    )
    if validation is None:
        return csv_of(COLUMNS, rows)
    return csv_of(
        (*COLUMNS, VALIDATION),
        ((*row, TRUE if row[0] == "train" and validation[row[1]] else FALSE) for row in rows),
    )


def file_names(dataset: Path, split: str, images: np.ndarray) -> list[str]:
    """The file that each of `images`, a split of `dataset`, was read from, as a table can hold it.

    Empty where no table beside the dataset fits these very images: somebody may have put another
    dataset in the place of the one that the table was written for.
    """
    return [row["file"] for row in _rows_of(dataset, split, images, "the images have no names")]


def validation_rows(dataset: Path, images: np.ndarray) -> np.ndarray | None:
    """Which of `images`, the train split of `dataset`, are for validation: bool (count,).

    None where no table beside the dataset fits these very images, or it does not say so of each.
    """
    rows = _rows_of(dataset, "train", images, "no part is known to be for validation")
    said = [row.get(VALIDATION) for row in rows]
    return np.array([one == TRUE for one in said]) if said and {*said} <= {TRUE, FALSE} else None


def validation_sha256(validation: np.ndarray) -> str:
    """What the choice of the images for validation is known by."""
    return hashlib.sha256(validation.astype(np.uint8).tobytes()).hexdigest()


def _rows_of(dataset: Path, split: str, images: np.ndarray, without: str) -> list[dict[str, str]]:
    """The rows of the table beside `dataset` for these very images, or none."""
    try:
        rows = _rows(read_file(image_table_path(dataset), constants.MOST_TABLE_BYTES), split)
    except FileNotFoundError:
        return []
    except UnusableFile as error:
        warn_once(f"{cannot_read(error)} Until then {without}.")
        return []
    same = len(rows) == len(images) and all(
        row.get("digest") == _digest(image) for row, image in zip(rows, images, strict=True)
    )
    return rows if same else []


def _rows(content: bytes, split: str) -> list[dict[str, str]]:
    """The rows of that split, or none where the content is no such table."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
        rows = [row for row in reader if row.get("split") == split]
    except (UnicodeDecodeError, csv.Error):
        return []
    return rows if all(isinstance(row.get("file"), str) for row in rows) else []


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).digest()[: constants.DIGEST_BYTES].hex()
