"""Which datasets, checkpoints and reports lie in the data folder, as their descriptions say."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from helper import UserError, digest_of, printable, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.dataset import dataset_time
from pipeline.artifacts.descriptions import Descriptions, files_in
from pipeline.artifacts.metadata import (
    CheckpointDescription,
    CrossTested,
    DatasetDescription,
    Kind,
    Report,
)
from pipeline.data_folder import DataFolder
from pipeline.stage.log_lines import warn_once
from pipeline.stage.text import cannot_read

UNDESCRIBED_DATASET = DatasetDescription.of({})
UNDESCRIBED_CHECKPOINT = CheckpointDescription.of({})


@dataclass(frozen=True)
class Dataset:
    """A dataset and its description, which says nothing where there is none."""

    path: Path
    sha256: str
    changed: float
    description: DatasetDescription

    @cached_property
    def name(self) -> str:
        return self.path.stem

    @property
    def kind(self) -> Kind | None:
        return self.description.kind

    def is_of(self, sha256: str | None, class_names: tuple[str, ...]) -> bool:
        """Whether it is the dataset of that content and, as far as both are said, those names."""
        names = self.description.class_names
        return self.sha256 == sha256 and (not names or not class_names or names == class_names)


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what it was made from; without a description, as its name says."""

    path: Path
    description: CheckpointDescription

    @cached_property
    def run(self) -> str:
        return self.path.stem

    @property
    def sha256(self) -> str:
        return self.description.sha256 or safe_pickle.digest(self.path)

    @cached_property
    def dataset(self) -> str:
        return self.description.dataset or self.run.split("__")[0]

    @cached_property
    def urgency(self) -> tuple:
        """The order among the runs of one dataset: as in training."""
        model_priority, set_priority = self.description.priorities
        names = self.description.model or "", self.description.hyperparameter_set or ""
        return -model_priority, -set_priority, *names, self.path.name


class Catalog:
    """What was there at the last `look()`.

    datasets: by name, those that can be read.
    checkpoints: those of the newest dataset first, and among these in the order of training.
    reports, cross_tested: by run.
    """

    def __init__(self, data: Path):
        self.data = DataFolder(data)
        self._described_datasets = Descriptions(
            self.data.datasets, lambda _, said: DatasetDescription.of(said)
        )
        self._described_checkpoints = Descriptions(
            self.data.checkpoints, lambda _, said: CheckpointDescription.of(said)
        )
        self._reports = Descriptions(self.data.results, Report.of)
        self._cross_tested = Descriptions(
            self.data.results_on_other_datasets, lambda _, said: CrossTested.of(said)
        )
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

    def dataset_of(self, checkpoint: Checkpoint) -> Dataset:
        """The dataset that a checkpoint was trained on, found by content or else by name.

        Raises:
            UserError: it is not there.
        """
        name, wanted = checkpoint.dataset, checkpoint.description.dataset_sha256
        found = self.datasets.get(name)
        if found is None or wanted not in (None, found.sha256):
            names = checkpoint.description.class_names
            same = [one for one in self.datasets.values() if one.is_of(wanted, names)]
            if not same:
                raise UserError(
                    f"waits for its dataset {printable(name)}, which is not in"
                    f" {shown(self.data.datasets)}. Put it back, or delete the checkpoint."
                )
            found = same[0]
        return found

    def kind_of(self, report: Report) -> Kind:
        """What the model of this report fits. A report of before does not name its raw dataset."""
        kind, dataset = report.kind, self.datasets.get(report.dataset)
        if kind.raw_name or dataset is None or dataset.sha256 != report.dataset_sha256:
            return kind
        return replace(kind, raw_name=dataset.description.raw_name)

    def accuracies(self, report: Report) -> dict[str, float]:
        """Of the checkpoint of this report on other datasets, by `cross_test_key`."""
        found = self.cross_tested.get(report.run)
        if found is None or found.checkpoint_sha256 != report.checkpoint_sha256:
            return {}
        return found.accuracies

    def accuracy_on(self, report: Report, dataset: Dataset) -> float | None:
        """None where it is not known, or would not be comparable."""
        if is_own(report, dataset):
            return report.accuracy
        if dataset.kind is None or not dataset.kind.fits(self.kind_of(report)):
            return None
        return self.accuracies(report).get(cross_test_key(report, dataset))

    def _look_for_datasets(self) -> dict[str, Dataset]:
        described = self._described_datasets.look()
        found = {}
        for name in _pickles(self.data.datasets):
            path = self.data.dataset(name)
            description = described.get(name, UNDESCRIBED_DATASET)
            try:
                sha256 = description.sha256 or safe_pickle.digest(path)
                found[name] = Dataset(path, sha256, path.stat().st_mtime, description)
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError as error:
                warn_once(cannot_read(error))
        return found

    def _look_for_checkpoints(self) -> list[Checkpoint]:
        described = self._described_checkpoints.look()
        names = _pickles(self.data.checkpoints)
        if self._ordered == (described, names, self.datasets):
            return self.checkpoints
        self._ordered = described, names, self.datasets
        found = [
            Checkpoint(self.data.checkpoint(name), described.get(name, UNDESCRIBED_CHECKPOINT))
            for name in names
        ]
        times = {name: self.time_of(name) for name in {one.dataset for one in found}}
        by_urgency = sorted(found, key=lambda one: one.urgency)
        return sorted(by_urgency, key=lambda one: times[one.dataset], reverse=True)


def is_own(report: Report, dataset: Dataset) -> bool:
    """Whether this is the dataset that the model of the report was trained on."""
    return dataset.is_of(report.dataset_sha256, report.kind.class_names)


def columns_for(report: Report, dataset: Dataset) -> tuple[int, ...]:
    """Which of the model's outputs stands for each class of a dataset that it fits."""
    return dataset.kind.columns_in(report.kind) if dataset.kind else ()


def cross_test_key(report: Report, dataset: Dataset) -> str:
    """What a test of the report's model on a dataset that it fits is known by.

    It is the dataset's SHA-256 and, where the model has the classes in another order, that order.
    """
    if dataset.description.class_names == report.kind.class_names:
        return dataset.sha256
    columns = columns_for(report, dataset)
    if columns == tuple(range(len(columns))):
        return dataset.sha256
    return f"{dataset.sha256} {digest_of(columns)}"


def _pickles(folder: Path) -> list[str]:
    """The names of the pickles in `folder`."""
    try:
        return sorted(file.name.removesuffix(".pkl") for file in files_in(folder, ".pkl"))
    except OSError:
        return []
