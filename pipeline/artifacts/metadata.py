"""What the JSON of this project says: descriptions, reports, states and the entries of the records.

Each may be anybody's, so each is read by type: what is damaged, or of another type or range than the
project writes, counts as not said. No reader raises, whatever a file holds.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import constants
from helper import UnusableFile, read_file
from pipeline import run_warnings
from pipeline.artifacts.hyperparameters import SETTINGS
from pipeline.data_folder import archive_suffix, description_path
from pipeline.json_values import (
    file_name_in,
    json_object,
    list_in,
    names_in,
    names_of,
    number_in,
    outcomes_in,
    preparation_in,
    scalars_in,
    seconds_in,
    share_in,
    table_in,
    text_in,
    texts_in,
    whole_in,
)
from pipeline.stage.log_lines import warn_once
from pipeline.stage.text import cannot_read


class RunState(StrEnum):
    """What can be said of a run. The records hold these words as plain text."""

    WAITING = "waiting"
    RUNNING = "running"
    TRAINED = "trained"
    ANALYZED = "analyzed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def read_json(path: Path) -> dict:
    """The object in `path`, or {} where there is none.

    Raises:
        OSError: it cannot be read for now, or is an UnusableFile, which is not to say that there is none.
    """
    try:
        return json_object(read_file(path, constants.MOST_JSON_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def said_in(path: Path) -> dict:
    """As `read_json`, for readers that go on without it: an UnusableFile is named once and counts as {}."""
    try:
        return read_json(path)
    except UnusableFile as error:
        warn_once(f"{cannot_read(error)} Until then it counts as not there.")
        return {}


@dataclass(frozen=True)
class Kind:
    """What a dataset's images and classes are like: what a model has to fit.

    `class_names` are the numbers from 0, where the classes have no names. `raw_name` is the name of the
    raw dataset, "" where it has none.
    """

    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    raw_name: str = ""

    @cached_property
    def are_numbered(self) -> bool:
        return set(self.class_names) == set(map(str, range(len(self.class_names))))

    @cached_property
    def comparable(self) -> tuple | None:
        """What comparable kinds have alike; None for what is comparable with nothing.

        Numbers say nothing of what they stand for: the digits and the garments of two well-known
        datasets are both 0 to 9. So they count as the same only in a raw dataset of the same name.
        """
        names = frozenset(self.class_names)
        if not names or len(names) < len(self.class_names):
            return None
        if self.are_numbered:
            return (self.image_shape, names, self.raw_name) if self.raw_name else None
        return self.image_shape, names

    def fits(self, other: "Kind") -> bool:
        """Whether the accuracy of a model for the one, on images of the other, means anything."""
        return self.comparable is not None and self.comparable == other.comparable

    def columns_in(self, model: "Kind") -> tuple[int, ...]:
        """For each class of this kind the number that a `model`, which it fits, has for it."""
        numbers = {name: number for number, name in enumerate(model.class_names)}
        return tuple(numbers[name] for name in self.class_names)


@dataclass(frozen=True)
class DatasetDescription:
    """The .json beside a dataset."""

    sha256: str | None
    content: str | None  # the digest of pixels, labels and class names
    raw_dataset: str | None
    class_names: tuple[str, ...]
    image_size: int | None
    train_images: int | None
    validation_images: int | None  # of these, where they are given
    validation_sha256: str | None  # of which these are for validation, where that is given
    warnings: dict[str, dict]  # by kind: "count", "text" and "files"
    preparation: dict  # how each image became pixels
    set_aside: int  # images of a test part without labels
    held_out: int  # test images that were drawn from all, as no test part was given

    @classmethod
    def of(cls, said: dict) -> "DatasetDescription":
        warnings = table_in(said, "warnings")
        files = {kind: {"files": texts_in(table_in(warnings, kind), "files")} for kind in warnings}
        return cls(
            text_in(said, "sha256"),
            text_in(said, "content"),
            text_in(said, "raw_dataset"),
            names_in(said, "class_names"),
            whole_in(said, "image_size"),
            whole_in(table_in(said, "counts"), "train"),
            whole_in(said, "validation"),
            text_in(said, "validation_sha256"),
            {kind: scalars_in(warnings, kind) | files[kind] for kind in warnings},
            preparation_in(said),
            whole_in(said, "set_aside") or 0,
            whole_in(said, "held_out") or 0,
        )

    @classmethod
    def beside(cls, dataset: Path) -> "DatasetDescription":
        return cls.of(said_in(description_path(dataset)))

    @cached_property
    def raw_name(self) -> str:
        return raw_name_in(self.raw_dataset)

    @cached_property
    def kind(self) -> Kind | None:
        size = self.image_size
        if not self.class_names or not size:
            return None
        return Kind((size, size, 3), self.class_names, self.raw_name)


def raw_name_in(raw_dataset: str | None) -> str:
    """The name that somebody gave the raw dataset at that path, without the ending of an archive."""
    name = (raw_dataset or "").rpartition("/")[2]
    return "" if name == constants.RAW_DATASETS else name.removesuffix(archive_suffix(name))


@dataclass(frozen=True)
class CheckpointDescription:
    """The .json beside a checkpoint: what it was made from, and how well it was trained."""

    sha256: str | None
    key: str | None
    dataset: str | None
    dataset_sha256: str | None
    class_names: tuple[str, ...]
    model: str | None
    hyperparameter_set: str | None
    priorities: tuple[float, float]  # of the model and of the set, when it was trained
    seconds: float | None
    images: int | None
    epochs: int | None
    accuracy: float | None  # in validation, where there was one
    validated: bool
    warnings: tuple[str, ...]
    ended_early: bool
    input_size: tuple[int, ...]  # height and width of the images that the model takes
    preparation: dict  # how each image becomes that input
    work: dict  # what was to do and how long it took

    @classmethod
    def of(cls, said: dict) -> "CheckpointDescription":
        run, metrics = table_in(said, "run"), table_in(said, "metrics")
        validated = "val_accuracy" in metrics
        return cls(
            text_in(said, "sha256"),
            text_in(run, "key"),
            text_in(run, "dataset"),
            text_in(run, "dataset_sha256"),
            names_in(run, "class_names"),
            text_in(run, "model"),
            text_in(run, "hyperparameter_set"),
            (
                number_in(run, "model_priority") or 0,
                number_in(table_in(run, "settings"), "priority") or 0,
            ),
            seconds_in(run, "seconds"),
            whole_in(run, "images"),
            whole_in(run, "epochs"),
            share_in(metrics, "val_accuracy" if validated else "accuracy"),
            validated,
            run_warnings.of_run(table_in(run, "warnings")),
            "ended_early" in table_in(run, "warnings"),
            tuple(
                side for side in list_in(table_in(run, "input"), "image_size") if type(side) is int
            ),
            preparation_in(run, "input"),
            table_in(run, "work"),
        )

    @classmethod
    def beside(cls, checkpoint: Path) -> "CheckpointDescription":
        return cls.of(said_in(description_path(checkpoint)))


@dataclass(frozen=True)
class Report:
    """What the analysis of one checkpoint found; None and "" where it does not say."""

    run: str
    checkpoint_sha256: str
    dataset: str
    dataset_sha256: str
    accuracy: float
    loss: float | None
    test_images: int | None
    model: str
    model_sha256: str | None
    hyperparameter_set: str
    parameters: int | None
    seconds: float | None  # of training
    epochs: int | None
    settings: dict[str, str | float]
    kind: Kind
    outcomes: int | None  # a bit for each test image, 1 where it is right
    validation_accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    class_ratio: float | None  # test images of the largest class to those of the smallest
    guessing_accuracy: float | None  # of always the largest class
    no_better_than_guessing: bool
    warnings: tuple[str, ...]
    dataset_warnings: tuple[str, ...]

    @classmethod
    def of(cls, run: str, said: dict) -> "Report | None":
        """None where `said` is no report on `run`: another file, or a copy under another name."""
        trained, accuracy = table_in(said, "trained"), share_in(said, "accuracy")
        settings = scalars_in(trained, "settings")
        checkpoint_sha256, dataset = text_in(said, "checkpoint_sha256"), text_in(said, "dataset")
        dataset_sha256 = text_in(said, "dataset_sha256")
        if said.get("run") != run or accuracy is None:
            return None
        if checkpoint_sha256 is None or dataset is None or dataset_sha256 is None:
            return None
        return cls(
            run,
            checkpoint_sha256,
            dataset,
            dataset_sha256,
            accuracy,
            number_in(said, "loss"),
            whole_in(said, "test_images"),
            text_in(trained, "model") or "",
            text_in(trained, "model_sha256"),
            text_in(trained, "hyperparameter_set") or "",
            whole_in(trained, "parameters"),
            seconds_in(trained, "seconds"),
            whole_in(trained, "epochs"),
            # Those that make a difference to the training, in their usual order.
            {name: settings[name] for name in SETTINGS if name != "priority" and name in settings},
            _kind_of_tested(said),
            outcomes_in(said),
            share_in(said, "validation_accuracy"),
            share_in(said, "balanced_accuracy"),
            share_in(said, "macro_f1"),
            number_in(said, "class_ratio"),
            share_in(table_in(said, "largest_class"), "accuracy"),
            said.get("no_better_than_guessing") is True,
            run_warnings.of_run(table_in(trained, "warnings")),
            run_warnings.of_dataset(table_in(said, "dataset_warnings")),
        )


def _kind_of_tested(report: dict) -> Kind:
    """As a report says; one of before names the classes only together with their figures."""
    figures = [one for one in list_in(report, "classes") if isinstance(one, dict)]
    names = names_in(report, "class_names") or names_of([one.get("class") for one in figures])
    shape = list_in(report, "image_shape")
    is_shape = all(type(length) is int for length in shape)
    raw_name = raw_name_in(text_in(report, "raw_dataset"))
    return Kind(tuple(shape) if is_shape else (), names, raw_name)


@dataclass(frozen=True)
class CrossTested:
    """What tests of one checkpoint on other datasets found: accuracies, by `cross_test_key`."""

    checkpoint_sha256: str | None
    accuracies: dict[str, float]

    @classmethod
    def of(cls, said: dict) -> "CrossTested":
        found = table_in(said, "accuracies")
        accuracies = {sha256: share_in(found, sha256) for sha256 in found}
        return cls(
            text_in(said, "checkpoint_sha256"),
            {sha256: accuracy for sha256, accuracy in accuracies.items() if accuracy is not None},
        )


@dataclass(frozen=True)
class IngestionEntry:
    """What became of a raw dataset's folder, or, by its content, which dataset it is."""

    dataset: str | None
    fingerprint: str | None
    settings: str | None  # a digest of them
    problems: list[str]

    @classmethod
    def of(cls, said: dict) -> "IngestionEntry":
        settings, problems = text_in(said, "settings"), texts_in(said, "problems")
        return cls(file_name_in(said, "dataset"), text_in(said, "fingerprint"), settings, problems)


@dataclass(frozen=True)
class TrainingEntry:
    """What became of a run. `reason` is why it failed."""

    state: RunState | None
    name: str | None
    reason: str
    accuracy: float | None
    model: str | None
    seconds: float | None
    images: int | None
    epochs: int | None
    validated: bool  # what the accuracy is of; old entries do not say
    warnings: list[str]
    work: dict

    @classmethod
    def of(cls, said: dict) -> "TrainingEntry":
        return cls(
            state_in(said, "state"),
            file_name_in(said, "name"),
            text_in(said, "reason") or "",
            share_in(said, "accuracy"),
            text_in(said, "model"),
            seconds_in(said, "seconds"),
            whole_in(said, "images"),
            whole_in(said, "epochs"),
            said.get("validated") is not False,
            texts_in(said, "warnings"),
            table_in(said, "work"),
        )


@dataclass(frozen=True)
class AnalysisEntry:
    """What became of a checkpoint."""

    state: RunState | None
    run: str | None
    reason: str
    accuracy: float | None
    test_images: int | None
    no_better_than_guessing: bool

    @classmethod
    def of(cls, said: dict) -> "AnalysisEntry":
        return cls(
            state_in(said, "state"),
            file_name_in(said, "run"),
            text_in(said, "reason") or "",
            share_in(said, "accuracy"),
            whole_in(said, "test_images"),
            said.get("no_better_than_guessing") is True,
        )


def state_in(content: dict, key: str) -> RunState | None:
    said = text_in(content, key)
    return next((state for state in RunState if state == said), None)
