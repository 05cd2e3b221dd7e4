"""What the JSON of this project says: descriptions, reports, states and the entries of the records.

Each may be anybody's, so each is read by type: what is damaged, or of another type or range than the
project writes, counts as not said. No reader raises, whatever a file holds.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import constants
from helper import UnusableFile, read_file
from pipeline.artifacts.hyperparameters import SETTINGS
from pipeline.data_folder import description_path
from pipeline.stage.log_lines import warn_once
from pipeline.stage.text import cannot_read

HIGHEST = 1e300  # of the numbers that can be computed with
LONGEST = 1e12  # seconds; 30,000 years
MOST = 2**53  # of what is counted


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


def json_object(text: bytes) -> dict:
    """The object that `text` spells, or {} where it spells none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class Kind:
    """What a dataset's images and classes are like: what a model has to fit."""

    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]  # the numbers from 0, where the classes have no names

    def fits(self, other: "Kind") -> bool:
        """Whether a model for the one can be tested on the other."""
        numbers = tuple(map(str, range(len(self.class_names))))
        return self.image_shape == other.image_shape and (
            self.class_names == other.class_names
            or (
                len(self.class_names) == len(other.class_names)
                and numbers in (self.class_names, other.class_names)
            )
        )


@dataclass(frozen=True)
class DatasetDescription:
    """The .json beside a dataset."""

    sha256: str | None
    content: str | None  # the digest of pixels, labels and class names
    raw_dataset: str | None
    class_names: tuple[str, ...]
    image_size: int | None
    train_images: int | None
    validation_sha256: str | None  # of which these are for validation, where that is given
    warnings: dict[str, dict]  # by kind: "count", "text" and "files"

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
            text_in(said, "validation_sha256"),
            {kind: scalars_in(warnings, kind) | files[kind] for kind in warnings},
        )

    @classmethod
    def beside(cls, dataset: Path) -> "DatasetDescription":
        return cls.of(said_in(description_path(dataset)))

    @property
    def kind(self) -> Kind | None:
        size = self.image_size
        return Kind((size, size, 3), self.class_names) if self.class_names and size else None


@dataclass(frozen=True)
class CheckpointDescription:
    """The .json beside a checkpoint: what it was made from, and how well it was trained."""

    sha256: str | None
    key: str | None
    dataset: str | None
    dataset_sha256: str | None
    model: str | None
    hyperparameter_set: str | None
    priorities: tuple[float, float]  # of the model and of the set, when it was trained
    seconds: float | None
    images: int | None
    epochs: int | None
    accuracy: float | None  # in validation, where there was one

    @classmethod
    def of(cls, said: dict) -> "CheckpointDescription":
        run, metrics = table_in(said, "run"), table_in(said, "metrics")
        validated = "val_accuracy" in metrics
        return cls(
            text_in(said, "sha256"),
            text_in(run, "key"),
            text_in(run, "dataset"),
            text_in(run, "dataset_sha256"),
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
    hyperparameter_set: str
    parameters: int | None
    seconds: float | None  # of training
    epochs: int | None
    settings: dict[str, str | float]
    kind: Kind

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
            text_in(trained, "hyperparameter_set") or "",
            whole_in(trained, "parameters"),
            seconds_in(trained, "seconds"),
            whole_in(trained, "epochs"),
            # Those that make a difference to the training, in their usual order.
            {name: settings[name] for name in SETTINGS if name != "priority" and name in settings},
            _kind_of_tested(said),
        )


def _kind_of_tested(report: dict) -> Kind:
    classes = [one for one in list_in(report, "classes") if isinstance(one, dict)]
    shape = list_in(report, "image_shape")
    is_shape = all(type(length) is int for length in shape)
    return Kind(tuple(shape) if is_shape else (), _names([one.get("class") for one in classes]))


@dataclass(frozen=True)
class CrossTested:
    """What tests of one checkpoint on other datasets found: accuracies, by the dataset's SHA-256."""

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
class StageStatus:
    """What a stage says of itself in status/<stage>.json. `said` is by the machine's monotonic clock."""

    pid: int | None = None
    version: str = ""
    since: str = ""
    doing: str = ""
    progress: str = ""
    last_error: str = ""
    said: float | None = None
    problems: dict[str, str] = field(default_factory=dict)  # by input

    @classmethod
    def of(cls, said: dict) -> "StageStatus":
        texts = ("version", "since", "doing", "progress", "last_error")
        return cls(
            pid=whole_in(said, "pid"),
            said=number_in(said, "said"),
            problems={k: v for k, v in table_in(said, "problems").items() if isinstance(v, str)},
            **{name: text_in(said, name) or "" for name in texts},
        )


@dataclass(frozen=True)
class IngestionEntry:
    """What became of a raw dataset's folder, or, by its content, which dataset it is."""

    dataset: str | None
    fingerprint: str | None
    image_size: int | None
    problems: list[str]

    @classmethod
    def of(cls, said: dict) -> "IngestionEntry":
        size, problems = whole_in(said, "image_size"), texts_in(said, "problems")
        return cls(file_name_in(said, "dataset"), text_in(said, "fingerprint"), size, problems)


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
        )


@dataclass(frozen=True)
class AnalysisEntry:
    """What became of a checkpoint."""

    state: RunState | None
    run: str | None
    reason: str
    accuracy: float | None

    @classmethod
    def of(cls, said: dict) -> "AnalysisEntry":
        reason, accuracy = text_in(said, "reason") or "", share_in(said, "accuracy")
        return cls(state_in(said, "state"), file_name_in(said, "run"), reason, accuracy)


def table_in(content: dict, key: str) -> dict:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def list_in(content: dict, key: str) -> list:
    value = content.get(key)
    return value if isinstance(value, list) else []


def texts_in(content: dict, key: str) -> list[str]:
    return [text for text in list_in(content, key) if isinstance(text, str)]


def text_in(content: dict, key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def state_in(content: dict, key: str) -> RunState | None:
    said = text_in(content, key)
    return next((state for state in RunState if state == said), None)


def file_name_in(content: dict, key: str) -> str | None:
    """A text that names a file in a folder, and none beyond it, and is no longer than names may be."""
    name = text_in(content, key)
    if name in (None, "", ".", "..") or "/" in name or "\0" in name:
        return None
    return name if len(name.encode("utf-8", "surrogatepass")) <= constants.MOST_IN_NAME else None


def number_in(content: dict, key: str) -> float | None:
    """A number that can be computed with: no true, no nan, no 1 with a thousand zeros."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < HIGHEST else None


def whole_in(content: dict, key: str) -> int | None:
    """How many of something there are."""
    value = content.get(key)
    return value if type(value) is int and 0 <= value < MOST else None


def seconds_in(content: dict, key: str) -> float | None:
    number = number_in(content, key)
    return number if number is not None and 0 <= number <= LONGEST else None


def share_in(content: dict, key: str) -> float | None:
    number = number_in(content, key)
    return number if number is not None and 0 <= number <= 1 else None


def scalars_in(content: dict, key: str) -> dict[str, str | float]:
    """The texts and numbers of a table, which JSON can hold again."""
    table = table_in(content, key)
    names = [name for name in table if isinstance(name, str)]
    texts = {name: text_in(table, name) for name in names}
    found = {name: number_in(table, name) if texts[name] is None else table[name] for name in names}
    return {name: value for name, value in found.items() if value is not None}


def names_in(content: dict, key: str) -> tuple[str, ...]:
    return _names(list_in(content, key))


def _names(values: list) -> tuple[str, ...]:
    """Class names, all of them or none."""
    if not all(isinstance(value, str) or type(value) is int for value in values):
        return ()
    return _shared(*map(str, values))


@lru_cache(maxsize=1000)
def _shared(*names: str) -> tuple[str, ...]:
    """One copy of the class names, which thousands of reports have in common."""
    return names
