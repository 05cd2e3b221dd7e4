"""A dataset pickle, as training and analysis use it: its time, and one of its splits, checked."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import constants
from helper import UserError, printable, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.metadata import DatasetDescription

# A dataset's time for people, who rarely make two in a minute.
TIMES_SHOWN = ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", constants.TIME_NAME)
LONGEST_SHOWN = 40  # characters of the raw dataset's name
LATEST = 253_000_000_000  # seconds: in the year 9987, the last ones that a date can hold


def dataset_time(name: str, changed: float) -> datetime:
    """When a dataset was ingested, which is its name; if named by hand, when the file was made."""
    return _time_in(name) or datetime.fromtimestamp(max(0, min(changed, LATEST)))


def time_name(taken: Iterable[str]) -> str:
    """A name made of the local time that comes after every name in `taken`.

    Two drops in one clock tick, or a clock that was set back, still give increasing names.
    """
    now = datetime.now()
    for name in taken:
        try:
            used = datetime.strptime(name, constants.TIME_NAME)
            now = max(now, used + timedelta(microseconds=1))
        except (ValueError, OverflowError):
            continue  # a file that somebody named by hand
    return now.strftime(constants.TIME_NAME)


def display_name(dataset: str, raw_name: str, form: str = TIMES_SHOWN[0]) -> str:
    """A dataset for people: `pets (2026-11-25 04:13)`; without a raw dataset's name, its own.

    It is text on one line, and a raw dataset's name is cut where it is very long.
    """
    if not raw_name:
        return printable(dataset)
    time = _time_in(dataset)
    when = time.strftime(form) if time else printable(dataset)
    name = _short(raw_name)
    return name if name == when else f"{name} ({when})"


def display_names(raw_names: Mapping[str, str]) -> dict[str, str]:
    """The same for several, by the name of their files; where it takes that to tell them apart, to the
    second or exactly."""
    names: dict[str, str] = {}
    left = list(raw_names)
    for form in TIMES_SHOWN:
        names |= {dataset: display_name(dataset, raw_names[dataset], form) for dataset in left}
        uses = Counter(names.values())
        left = [dataset for dataset in left if uses[names[dataset]] > 1]
    return names


def display_run(run: str, dataset: str, raw_name: str) -> str:
    """A run for people: its name, in which its dataset is called as above."""
    if not run.startswith(dataset):
        return printable(run)
    return display_name(dataset, raw_name) + printable(run.removeprefix(dataset))


def _short(name: str) -> str:
    """Without its middle where it is very long: siblings often differ at their ends."""
    text = printable(name)
    if len(text) <= LONGEST_SHOWN:
        return text
    end = LONGEST_SHOWN // 3
    return f"{text[: LONGEST_SHOWN - end - 1]}…{text[-end:]}"


@lru_cache(maxsize=100_000)
def _time_in(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, constants.TIME_NAME)
    except ValueError:
        return None


def class_names(count: int, *described: Sequence[str]) -> list[str]:
    """The names of `count` classes: the first that are as many, or else the numbers."""
    numbers = [str(number) for number in range(count)]
    return next((list(names) for names in described if len(names) == count), numbers)


def input_of(image_shape: tuple[int, ...], described: DatasetDescription) -> dict[str, object]:
    """How an image becomes the input of a model that was trained on images of that shape.

    How images that were not ingested here came to their size is not known.
    """
    ingested = described.raw_dataset is not None
    size = list(image_shape[:2])
    form: dict[str, object]
    form = {"image_size": size, "channels": "RGB", "dtype": "uint8", "range": [0, 255]}
    return {**form, "resize": constants.RESIZE, **described.preparation} if ingested else form


def load_split(path: Path, split: str) -> dict[str, np.ndarray]:
    """One split of the dataset pickle at `path`.

    Returns:
        dict of "img" uint8 (count, height, width, 3), "label" int64 (count,) and "class" one-hot
        float32 (count, classes).

    Raises:
        safe_pickle.PickleError: damaged, or no pickle of this project.
        UserError: a pickle of something else.
    """
    dataset: Any = safe_pickle.load(path)
    try:
        part = dataset[split]
        whole = _is_whole(part["img"], part["label"], part["class"])
    except (TypeError, KeyError, AttributeError, IndexError, ValueError):
        whole = False
    if not whole:
        raise UserError(
            f'{shown(path)} is no dataset: its "{split}" needs "img" uint8 (count, height,'
            ' width, 3), "label" int64 and one-hot "class" float32 of the same count.'
            " Make it with data_ingestion.py."
        )
    return part


def _is_whole(images: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> bool:
    return (
        images.ndim == 4
        and images.dtype == np.uint8
        and images.shape[3] == 3
        and labels.shape == (len(images),)
        and labels.dtype == np.int64
        and classes.ndim == 2
        and classes.dtype == np.float32
        and len(classes) == len(images) > 0
        and np.array_equal(classes.argmax(1), labels)
        and np.count_nonzero(classes) == len(classes)
        and bool((classes.max(1) == 1).all())
    )
