"""Which datasets, checkpoints and reports lie in the data folder, as their descriptions say.

A description (.json) is read again only when it changed, so a look stays cheap with thousands of
runs on record. What somebody else put there, or damaged, is left out.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import constants
from helper import UserError, json_object, printable, shown
from pipeline import safe_pickle
from pipeline.dataset import dataset_time
from pipeline.hyperparameters import SETTINGS

Told = TypeVar("Told")


class Descriptions(Generic[Told]):
    """What `tell` makes of each `<name>.json` in a folder; it returns None for what is to be left out."""

    def __init__(self, folder: Path, tell: Callable[[str, dict], Told | None]):
        self.folder, self.tell = folder, tell
        self._known: dict[str, tuple[tuple[int, ...], Told | None]] = {}

    def look(self) -> dict[str, Told]:
        """By name, what there is now."""
        try:
            self._known = dict(self._read())
        except FileNotFoundError:
            self._known = {}
        except OSError:
            pass  # the disk does not say for now; what it said before is more likely than nothing
        return {name: told for name, (_, told) in self._known.items() if told is not None}

    def _read(self) -> Iterator[tuple[str, tuple[tuple[int, ...], Told | None]]]:
        for file in _files(self.folder, ".json"):
            name = file.name.removesuffix(".json")
            known = self._known.get(name)
            try:
                status = file.stat()
                state = status.st_size, status.st_mtime_ns, status.st_ino
                if known is None or known[0] != state:
                    content = json_object(Path(file.path).read_bytes())
                    known = state, self.tell(name, content)
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError:
                pass  # as above
            if known:
                yield name, known


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what it was made from; without a description, as its name says."""

    path: Path
    described_sha256: str | None
    dataset: str
    dataset_sha256: str | None
    model: str
    hyperparameter_set: str
    priorities: tuple[float, float]  # of the model and of the set, when it was trained

    @property
    def run(self) -> str:
        return self.path.stem

    @property
    def sha256(self) -> str:
        return self.described_sha256 or safe_pickle.digest(self.path)

    @cached_property
    def urgency(self) -> tuple:
        """The order among the runs of one dataset: as in training."""
        model_priority, set_priority = self.priorities
        return -model_priority, -set_priority, self.model, self.hyperparameter_set, self.path.name


@dataclass(frozen=True)
class Report:
    """What the analysis of one checkpoint found; None and "" where it does not say."""

    run: str
    checkpoint_sha256: str
    dataset: str
    dataset_sha256: str
    accuracy: float
    loss: float | None
    test_images: float | None
    model: str
    hyperparameter_set: str
    parameters: float | None
    seconds: float | None  # of training
    epochs: float | None
    settings: dict[str, str | float]


class Inventory:
    """The data folder, looked at afresh at each call."""

    def __init__(self, data: Path):
        self._datasets, self._checkpoints = data / constants.DATASETS, data / constants.CHECKPOINTS
        self._dataset_digests = Descriptions(self._datasets, lambda _, told: _text(told, "sha256"))
        self._described_checkpoints = Descriptions(self._checkpoints, self._checkpoint)
        self._reports = Descriptions(data / constants.RESULTS, _report)

    def datasets(self) -> dict[str, str]:
        """By name, the SHA-256 of each dataset that can be read."""
        described = self._dataset_digests.look()
        found = {}
        for path in _pickles(self._datasets):
            with suppress(OSError):
                found[path.stem] = described.get(path.stem) or safe_pickle.digest(path)
        return found

    def checkpoints(self) -> list[Checkpoint]:
        """Those of the newest dataset first, and among these in the order of training."""
        described = self._described_checkpoints.look()
        paths = _pickles(self._checkpoints)
        found = [described.get(path.stem) or self._checkpoint(path.stem, {}) for path in paths]
        times = {name: self.time_of(name) for name in {one.dataset for one in found}}
        by_urgency = sorted(found, key=lambda one: one.urgency)
        return sorted(by_urgency, key=lambda one: times[one.dataset], reverse=True)

    def reports(self) -> dict[str, Report]:
        """The reports by run."""
        return self._reports.look()

    def dataset_of(self, checkpoint: Checkpoint) -> Path:
        """The dataset that a checkpoint was trained on, found by content or else by name.

        Raises:
            UserError: it is not there.
        """
        name, wanted, digests = checkpoint.dataset, checkpoint.dataset_sha256, self.datasets()
        if name not in digests or wanted not in (None, digests[name]):
            same = [other for other, digest in digests.items() if digest == wanted]
            if not same:
                raise UserError(
                    f"waits for its dataset {printable(name)}, which is not in"
                    f" {shown(self._datasets)}. Put it back, or delete the checkpoint."
                )
            name = same[0]
        return self._datasets / f"{name}.pkl"

    def _checkpoint(self, name: str, description: dict) -> Checkpoint:
        run = _table(description, "run")
        return Checkpoint(
            self._checkpoints / f"{name}.pkl",
            _text(description, "sha256"),
            _text(run, "dataset") or name.split("__")[0],
            _text(run, "dataset_sha256"),
            _text(run, "model") or "",
            _text(run, "hyperparameter_set") or "",
            (
                _number(run, "model_priority") or 0,
                _number(_table(run, "settings"), "priority") or 0,
            ),
        )

    def time_of(self, dataset: str) -> datetime:
        """When the dataset of that name was ingested, whether it is there or not."""
        try:
            changed = (self._datasets / Path(f"{dataset}.pkl").name).stat().st_mtime
        except (OSError, ValueError):  # not there, or no name that a file can have
            changed = 0.0
        return dataset_time(dataset, changed)


def _report(run: str, content: dict) -> Report | None:
    """None where `content` is no report on `run`: another file, or a copy under another name."""
    trained, accuracy = _table(content, "trained"), _number(content, "accuracy")
    names = [_text(content, key) for key in ("checkpoint_sha256", "dataset", "dataset_sha256")]
    if content.get("run") != run or None in names or accuracy is None or not 0 <= accuracy <= 1:
        return None
    return Report(
        run,
        *names,
        accuracy,
        _number(content, "loss"),
        _number(content, "test_images"),
        _text(trained, "model") or "",
        _text(trained, "hyperparameter_set") or "",
        _number(trained, "parameters"),
        _number(trained, "seconds"),
        _number(trained, "epochs"),
        _settings(_table(trained, "settings")),
    )


def _settings(found: dict) -> dict[str, str | float]:
    """Those that make a difference to the training, in their usual order."""
    values = {
        name: _number(found, name) if _text(found, name) is None else found[name]
        for name in SETTINGS
        if name != "priority"
    }
    return {name: value for name, value in values.items() if value is not None}


def _pickles(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pkl"))


def _files(folder: Path, ending: str) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.name.endswith(ending) and _is_file(entry))


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def _table(content: dict, key: str) -> dict:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _text(content: dict, key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def _number(content: dict, key: str) -> float | None:
    """A number that a computer can compute with: no true, no nan, no 1 with a thousand zeros."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None
