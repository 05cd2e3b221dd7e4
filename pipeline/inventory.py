"""Which datasets, checkpoints and reports lie in the data folder, as their descriptions say."""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path

import constants
from helper import UserError, printable, shown
from pipeline import safe_pickle
from pipeline.dataset import Kind, dataset_time
from pipeline.descriptions import Descriptions, list_in, number_in, share_in, table_in, text_in
from pipeline.hyperparameters import SETTINGS


@dataclass(frozen=True)
class Dataset:
    path: Path
    sha256: str
    changed: float
    kind: Kind | None  # None without a description

    @cached_property
    def name(self) -> str:
        return self.path.stem


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

    @cached_property
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
    kind: Kind


@dataclass(frozen=True)
class CrossTested:
    """What tests of one checkpoint on other datasets found: accuracies, by the dataset's SHA-256."""

    checkpoint_sha256: str | None
    accuracies: dict[str, float]


class Inventory:
    """What was there at the last `look()`.

    datasets: by name, those that can be read.
    checkpoints: those of the newest dataset first, and among these in the order of training.
    reports, cross_tested: by run.
    """

    def __init__(self, data: Path):
        self._datasets, self._checkpoints = data / constants.DATASETS, data / constants.CHECKPOINTS
        self._described_datasets = Descriptions(self._datasets, _described_dataset)
        self._described_checkpoints = Descriptions(self._checkpoints, self._checkpoint)
        results = data / constants.RESULTS
        self._reports = Descriptions(results, _report)
        self._cross_tested = Descriptions(results / constants.OTHER_DATASETS, _cross_tested)
        self._ordered: tuple = ()  # what the order of the checkpoints was told from
        self.look()

    def look(self) -> None:
        self.datasets = self._look_for_datasets()
        self.checkpoints = self._look_for_checkpoints()
        self.reports = self._reports.look()
        self.cross_tested = self._cross_tested.look()

    def time_of(self, dataset: str) -> datetime:
        """When the dataset of that name was ingested, whether it is there or not."""
        there = self.datasets.get(dataset)
        return dataset_time(dataset, there.changed if there else 0.0)

    def dataset_of(self, checkpoint: Checkpoint) -> Path:
        """The dataset that a checkpoint was trained on, found by content or else by name.

        Raises:
            UserError: it is not there.
        """
        name, wanted = checkpoint.dataset, checkpoint.dataset_sha256
        found = self.datasets.get(name)
        if found is None or wanted not in (None, found.sha256):
            same = [dataset for dataset in self.datasets.values() if dataset.sha256 == wanted]
            if not same:
                raise UserError(
                    f"waits for its dataset {printable(name)}, which is not in"
                    f" {shown(self._datasets)}. Put it back, or delete the checkpoint."
                )
            found = same[0]
        return found.path

    def accuracies(self, report: Report) -> dict[str, float]:
        """Of the checkpoint of this report on other datasets, by their SHA-256."""
        found = self.cross_tested.get(report.run)
        same = found and found.checkpoint_sha256 == report.checkpoint_sha256
        return found.accuracies if same else {}

    def checkpoint_path(self, run: str) -> Path:
        return self._checkpoints / f"{run}.pkl"

    def _look_for_datasets(self) -> dict[str, Dataset]:
        described = self._described_datasets.look()
        found = {}
        for name in _pickles(self._datasets):
            path = self._datasets / f"{name}.pkl"
            sha256, kind = described.get(name, (None, None))
            with suppress(OSError):  # it went while we looked, or cannot be read
                sha256 = sha256 or safe_pickle.digest(path)
                found[name] = Dataset(path, sha256, path.stat().st_mtime, kind)
        return found

    def _look_for_checkpoints(self) -> list[Checkpoint]:
        described = self._described_checkpoints.look()
        names = _pickles(self._checkpoints)
        if self._ordered == (described, names, self.datasets):
            return self.checkpoints
        self._ordered = described, names, self.datasets
        found = [described.get(name) or self._checkpoint(name, {}) for name in names]
        times = {name: self.time_of(name) for name in {one.dataset for one in found}}
        by_urgency = sorted(found, key=lambda one: one.urgency)
        return sorted(by_urgency, key=lambda one: times[one.dataset], reverse=True)

    def _checkpoint(self, name: str, description: dict) -> Checkpoint:
        run = table_in(description, "run")
        priorities = (
            number_in(run, "model_priority"),
            number_in(table_in(run, "settings"), "priority"),
        )
        return Checkpoint(
            self.checkpoint_path(name),
            text_in(description, "sha256"),
            text_in(run, "dataset") or name.split("__")[0],
            text_in(run, "dataset_sha256"),
            text_in(run, "model") or "",
            text_in(run, "hyperparameter_set") or "",
            tuple(priority or 0 for priority in priorities),
        )


def _pickles(folder: Path) -> list[str]:
    """The names of the pickles in `folder`."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all it takes
    except OSError:
        return []
    return sorted(name.removesuffix(".pkl") for name in names if name.endswith(".pkl"))


def _described_dataset(_: str, description: dict) -> tuple[str | None, Kind | None]:
    names, size = list_in(description, "class_names"), number_in(description, "image_size")
    kind = Kind((size, size, 3), _shared(*map(str, names))) if names and size else None
    return text_in(description, "sha256"), kind


def _report(run: str, content: dict) -> Report | None:
    """None where `content` is no report on `run`: another file, or a copy under another name."""
    trained, accuracy = table_in(content, "trained"), share_in(content, "accuracy")
    names = [text_in(content, key) for key in ("checkpoint_sha256", "dataset", "dataset_sha256")]
    if content.get("run") != run or None in names or accuracy is None:
        return None
    return Report(
        run,
        *names,
        accuracy,
        number_in(content, "loss"),
        number_in(content, "test_images"),
        text_in(trained, "model") or "",
        text_in(trained, "hyperparameter_set") or "",
        number_in(trained, "parameters"),
        number_in(trained, "seconds"),
        number_in(trained, "epochs"),
        _settings(table_in(trained, "settings")),
        _kind(content),
    )


def _kind(report: dict) -> Kind:
    classes = [one for one in list_in(report, "classes") if isinstance(one, dict)]
    names = _shared(*(str(one.get("class")) for one in classes))
    return Kind(tuple(list_in(report, "image_shape")), names)


def _cross_tested(_: str, content: dict) -> CrossTested:
    found = table_in(content, "accuracies")
    accuracies = {sha256: share_in(found, sha256) for sha256 in found}
    return CrossTested(
        text_in(content, "checkpoint_sha256"),
        {sha256: accuracy for sha256, accuracy in accuracies.items() if accuracy is not None},
    )


@lru_cache(maxsize=1000)
def _shared(*names: str) -> tuple[str, ...]:
    """One copy of the class names, which thousands of reports have in common."""
    return names


def _settings(found: dict) -> dict[str, str | float]:
    """Those that make a difference to the training, in their usual order."""
    values = {
        name: number_in(found, name) if text_in(found, name) is None else found[name]
        for name in SETTINGS
        if name != "priority"
    }
    return {name: value for name, value in values.items() if value is not None}
