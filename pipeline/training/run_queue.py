"""Which dataset x model x hyperparameter set comes next.

The queue is computed, never stored: all products of what lies in the three folders, minus what is
recorded as trained or failed. So a file that comes, changes or goes changes the queue at once.
"""

import ast
import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import groupby, product
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import constants
from helper import UserError, digest_of, read_file, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.dataset import dataset_time, display_name, display_run
from pipeline.artifacts.hyperparameters import Settings, read_hyperparameters
from pipeline.artifacts.metadata import DatasetDescription, read_json
from pipeline.data_folder import CLOCK_TICK, DataFolder, description_path, file_state
from pipeline.requests.requested import Priorities
from pipeline.stage.text import cannot_read

# A line of a model file that says its priority and nothing else.
PRIORITY_LINE = re.compile(rb"^PRIORITY[ \t]*=[ \t]*-?\d+[ \t]*(#.*)?\r?\n", re.MULTILINE)

SAID_BY_MODELS = {"PRIORITY", "SMALLEST_IMAGE", "LARGEST_IMAGE"}


@dataclass(frozen=True)
class InputFile:
    """A file that takes part in the product: a dataset, a model or a hyperparameter set."""

    path: Path
    digest: str

    @cached_property
    def name(self) -> str:
        return self.path.stem

    @property
    def content(self) -> object:
        """What is the same in copies of it."""
        return self.digest


@dataclass(frozen=True)
class DatasetFile(InputFile):
    changed: float = 0.0
    class_names: tuple[str, ...] = ()
    validation: str | None = None  # what the given part of a dataset for validation is known by
    images: int | None = None
    image_size: int | None = None  # None where nothing says it
    raw_name: str = ""
    validation_images: int | None = None  # in that part

    @property
    def content(self) -> tuple:
        # Class names are not in the pickle, but other names are another dataset: its pictures differ.
        # So is another part for validation, without which the key is that of earlier versions.
        digest = f"{self.digest} {self.validation}" if self.validation else self.digest
        return digest, self.class_names

    @cached_property
    def time(self) -> datetime:
        return dataset_time(self.name, self.changed)


@dataclass(frozen=True)
class ModelFile(InputFile):
    priority: int = 0
    smallest: int = 0
    largest: int | None = None

    def takes(self, dataset: DatasetFile) -> bool:
        size = dataset.image_size
        return size is None or self.smallest <= size <= (self.largest or size)

    def why_not(self, dataset: DatasetFile) -> str:
        too_small = dataset.image_size < self.smallest
        limit = f"from {self.smallest}" if too_small else f"up to {self.largest}"
        name = display_name(dataset.name, dataset.raw_name)
        return (
            f"{name}: not trained with {self.name}, which takes images {limit} pixels; these"
            f" have {dataset.image_size}"
        )


@dataclass(frozen=True)
class HyperparameterSet(InputFile):
    """A set with one seed; a file that names several seeds is as many of them."""

    settings: Settings
    seed_in_name: str = ""

    @cached_property
    def name(self) -> str:
        return self.path.stem + self.seed_in_name

    @property
    def priority(self) -> int:
        return self.settings.priority

    @cached_property
    def digest_for_all_seeds(self) -> str:
        return self.settings.digest(seeded=False)


File = TypeVar("File", bound=InputFile)
Reader = Callable[[Path], Sequence[File]]


@lru_cache(maxsize=1_000_000)
def _key(dataset: str, class_names: tuple, model: str, hyperparameters: str) -> str:
    return digest_of([[dataset, class_names], model, hyperparameters])


@dataclass(frozen=True)
class Run:
    """One dataset x one model x one hyperparameter set; `key` is the digest of all three."""

    dataset: DatasetFile
    model: ModelFile
    hyperparameters: HyperparameterSet

    @cached_property
    def key(self) -> str:
        return _key(*self.dataset.content, self.model.digest, self.hyperparameters.digest)

    @cached_property
    def apart_from_seed(self) -> tuple:
        """What runs have alike that differ in their seed alone."""
        return self.dataset.content, self.model.digest, self.hyperparameters.digest_for_all_seeds

    @property
    def plain_name(self) -> str:
        """The dataset's name for the shipped pair, `<dataset>__<model>__<set>` for any other."""
        if (self.model.name, self.hyperparameters.name) == (
            constants.DEFAULT_MODEL,
            constants.DEFAULT_HYPERPARAMETERS,
        ):
            return self.dataset.name
        return self.long_name

    @property
    def long_name(self) -> str:
        return f"{self.dataset.name}__{self.model.name}__{self.hyperparameters.name}"

    @property
    def names(self) -> tuple[str, str]:
        """Its name, and the one it has if another run took that: an edited model or set."""
        end = f"__{self.key[:8]}"
        return _for_a_file(self.plain_name, end), _for_a_file(self.long_name + end, end)

    def display(self, name: str) -> str:
        """The run for people, where that is the name of its checkpoint."""
        return display_run(name, self.dataset.name, self.dataset.raw_name)

    def name_in(self, checkpoints: Path) -> str:
        """The name for its checkpoint, so that none is ever overwritten."""
        plain, own = self.names
        return own if (checkpoints / f"{plain}.pkl").exists() else plain


def _for_a_file(name: str, end: str) -> str:
    """A name, or as much of it as files can be named after, with an `end` that no other run has.

    Bytes that are no UTF-8 are spelled out: TensorBoard reads no folder that has them in its name.
    """
    name = name.encode("utf-8", "backslashreplace").decode()
    if len(name.encode()) <= constants.MOST_IN_NAME:
        return name
    while len((name + end).encode()) > constants.MOST_IN_NAME:
        name = name[:-1]
    return name + end


class RunQueue:
    """The product of the three folders, seen afresh at each look.

    After a look, `refused` holds a sentence for each file that cannot take part, by the file, and
    `left_out` one for each dataset and model whose sizes do not suit each other.
    """

    def __init__(
        self,
        data: Path,
        models: Path = constants.MODELS,
        sets: Path = constants.HYPERPARAMETERS,
        only: dict[Path, set[str]] | None = None,
    ):
        self.datasets, self.models, self.sets = DataFolder(data).datasets, models, sets
        # By folder, the names that take part; all, where a folder is not there.
        self.only = only or {}
        self.refused: dict[str, str] = {}
        self.left_out: list[str] = []
        self._read: dict[str, tuple[list, Sequence[InputFile] | str]] = {}
        self._product: tuple = ()
        self._runs: list[Run] = []
        self.priorities = Priorities(DataFolder(data))

    @property
    def problems(self) -> list[str]:
        return [*self.refused.values()]

    def folders(self) -> list[Path]:
        return [self.datasets, self.models, self.sets]

    def look(self) -> list[Run]:
        """All runs, the most urgent first: those that were put first, then as `_urgency` says."""
        self.refused = {}
        sets = self._files_in(self.sets, ".toml", self._hyperparameter_sets)
        models = self._files_in(self.models, ".py", self._model)
        datasets = _named(self._files_in(self.datasets, ".pkl", self._dataset))
        asked = self.priorities.look()
        if self._product != (datasets, models, sets, asked):
            self._product = datasets, models, sets, asked
            pairs = sorted(product(_distinct(models), _distinct(sets)), key=_urgency)
            by_name = sorted(_distinct(datasets), key=attrgetter("name"))
            newest_first = sorted(by_name, key=attrgetter("time"), reverse=True)
            runs = [
                Run(dataset, *pair)
                for _, of_one_time in groupby(newest_first, key=attrgetter("time"))
                for pair, dataset in product(pairs, list(of_one_time))
                if pair[0].takes(dataset)
            ]
            self._runs = sorted(runs, key=lambda run: -asked.get(run.key, 0)) if asked else runs
            self.left_out = [
                model.why_not(dataset)
                for dataset, model in product(newest_first, _distinct(models))
                if not model.takes(dataset)
            ]
        return self._runs

    def _files_in(self, folder: Path, ending: str, read: Reader) -> list[File]:
        found = []
        files = _files(folder)
        for name in sorted(files, reverse=True):
            stem = name.removesuffix(ending)
            if (
                stem == name
                or name.startswith(("_", "."))
                or stem not in self.only.get(folder, [stem])
            ):
                continue
            try:
                outcome = self._outcome([files[name], files.get(f"{stem}.json")], read)
            except FileNotFoundError:
                continue  # it went while we looked
            if isinstance(outcome, str):
                self.refused[shown(folder / name)] = outcome
            else:
                found += outcome
        return found

    def _outcome(self, files: list[os.DirEntry | None], read: Reader) -> Sequence[File] | str:
        """What `read` makes of a file, or the problem with it; read again only when it or its
        description has changed."""
        path = files[0].path
        try:
            stamp, settled = _stamp(files)
            if path in self._read and self._read[path][0] == stamp:
                return self._read[path][1]
            outcome: Sequence[File] | str = read(Path(path))
        except UserError as error:
            outcome = str(error)
        except FileNotFoundError:
            raise
        except OSError as error:
            return cannot_read(error)
        if settled:
            self._read[path] = stamp, outcome
        return outcome

    def _dataset(self, path: Path) -> tuple[DatasetFile]:
        said = DatasetDescription.of(read_json(description_path(path)))
        digest = said.sha256 or safe_pickle.digest(path)
        changed = path.stat().st_mtime
        validation, images = said.validation_sha256, said.train_images
        names, size = said.class_names, said.image_size
        about = said.raw_name, said.validation_images
        return (DatasetFile(path, digest, changed, names, validation, images, size, *about),)

    def _model(self, path: Path) -> tuple[ModelFile]:
        content = read_file(path, constants.MOST_MODEL_BYTES)
        # How soon it is its turn is no reason to train again.
        rest = PRIORITY_LINE.sub(b"", content) if content.count(b"PRIORITY") == 1 else content
        numbers = _whole_numbers(path, content)
        priority, smallest = numbers.get("PRIORITY", 0), numbers.get("SMALLEST_IMAGE", 0)
        digest, largest = hashlib.sha256(rest).hexdigest(), numbers.get("LARGEST_IMAGE")
        return (ModelFile(path, digest, priority, smallest, largest),)

    def _hyperparameter_sets(self, path: Path) -> list[HyperparameterSet]:
        return [
            HyperparameterSet(path, settings.digest(), settings, seed)
            for seed, settings in read_hyperparameters(path).items()
        ]


def _files(folder: Path) -> dict[str, os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _stamp(files: list[os.DirEntry | None]) -> tuple[list, bool]:
    """What is different when one of the files has changed; and whether that can be relied on:
    within one tick of the clock a file can change twice."""
    states = [_state(file) for file in files if file]
    settled = max(state.st_mtime for state in states) < time.time() - CLOCK_TICK
    return [file_state(state) for state in states], settled


def _state(file: os.DirEntry) -> os.stat_result:
    try:
        return file.stat()
    except OSError:
        if file.is_symlink():
            read_file(file.path, 0)  # which says that it leads to no file
        raise


def _distinct(files: list[File]) -> list[File]:
    """The same content under two names is one: a copy or a renamed file makes no new run."""
    distinct: dict[object, File] = {}
    for file in files:
        distinct.pop(file.content, None)  # or it would stand where the other does
        distinct[file.content] = file
    return list(distinct.values())


def _urgency(pair: tuple[ModelFile, HyperparameterSet]) -> tuple:
    """The order of a model and a set: by the model's priority, then the set's, then the names.

    The seeds of one set are equal in it, and so stay in the order in which the set names them.
    """
    model, hyperparameters = pair
    priorities = -model.priority, -hyperparameters.priority
    return *priorities, model.name, hyperparameters.path.stem


def _named(datasets: list[DatasetFile]) -> list[DatasetFile]:
    """A copy without a description is the same dataset as the original with its class names."""
    names = {dataset.digest: dataset.class_names for dataset in datasets if dataset.class_names}
    return [
        dataset
        if dataset.class_names or dataset.digest not in names
        else replace(dataset, class_names=names[dataset.digest])
        for dataset in datasets
    ]


def _whole_numbers(path: Path, content: bytes) -> dict[str, int]:
    """What a model file says of itself, read without running the file."""
    try:
        tree = ast.parse(content)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UserError(f"{shown(path)}{line} is not Python ({error.msg}). Correct it.") from None
    except (ValueError, RecursionError, MemoryError):
        raise UserError(
            f"{shown(path)}: its PRIORITY is no whole number. Write PRIORITY = 0 or another."
        ) from None
    numbers = {}
    for statement in tree.body:
        for name in SAID_BY_MODELS & _assigned(statement):
            try:
                value = ast.literal_eval(statement.value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                value = None
            if type(value) is not int:
                raise UserError(
                    f"{shown(path)}: its {name} is no whole number. Write {name} = 0 or another."
                )
            numbers[name] = value
    return numbers


def _assigned(statement: ast.stmt) -> set[str]:
    targets = (
        statement.targets
        if isinstance(statement, ast.Assign)
        else [getattr(statement, "target", None)]
    )
    return {target.id for target in targets if isinstance(target, ast.Name)}
