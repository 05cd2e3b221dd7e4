"""Which dataset x model x hyperparameter set comes next.

The queue is computed, never stored: all products of what lies in the three folders, minus what is
recorded as trained or failed. So a file that comes, changes or goes changes the queue at once.

    python run_queue.py                 print the whole product as a table, and do nothing else
    python run_queue.py --json          the same for programs
"""

import argparse
import ast
import hashlib
import json
import re
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import constants
from helper import UserError, description_path, digest_of, read_json, shown
from pipeline import run_table, safe_pickle
from pipeline.hyperparameters import SETTINGS, read_hyperparameters

# A line of a model file that says its priority and nothing else.
ITS_LINE = re.compile(rb"^PRIORITY[ \t]*=[ \t]*-?\d+[ \t]*(#.*)?\r?\n", re.MULTILINE)
LATEST = 253_000_000_000  # seconds: in the year 9987, the last ones that a date can hold


@dataclass(frozen=True)
class Dropped:
    """A file that takes part in the product: a dataset, a model or a hyperparameter set."""

    path: Path
    digest: str
    changed: float = 0.0
    class_names: tuple = ()
    priority: int = 0
    settings: dict | None = None

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def time(self) -> datetime:
        """When a dataset was ingested, which is its name; if named by hand, when the file was made."""
        try:
            return datetime.strptime(self.name, constants.TIME_NAME)
        except ValueError:
            return datetime.fromtimestamp(max(0, min(self.changed, LATEST)))


@dataclass(frozen=True)
class Run:
    """One dataset x one model x one hyperparameter set; `key` is the digest of all three."""

    dataset: Dropped
    model: Dropped
    hyperparameters: Dropped

    @cached_property
    def key(self) -> str:
        # Class names are not in the pickle, but other names are another dataset: its pictures differ.
        dataset = [self.dataset.digest, self.dataset.class_names]
        return digest_of([dataset, self.model.digest, self.hyperparameters.digest])

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
        return self.plain_name, f"{self.long_name}__{self.key[:8]}"

    def name_in(self, checkpoints: Path) -> str:
        """The name for its checkpoint, so that none is ever overwritten."""
        plain, own = self.names
        return own if (checkpoints / f"{plain}.pkl").exists() else plain

    def urgency(self) -> tuple:
        """The order among the runs of one dataset: the model's priority, then the set's, then the names."""
        return (
            -self.model.priority,
            -self.hyperparameters.priority,
            self.model.name,
            self.hyperparameters.name,
        )


class RunQueue:
    """The product of the three folders, seen afresh at each look.

    `problems` holds, after a look, a sentence for each file that cannot take part.
    """

    def __init__(
        self,
        data: Path,
        models: Path = constants.MODELS,
        sets: Path = constants.HYPERPARAMETERS,
        only: dict[Path, set[str]] | None = None,
    ):
        self.datasets, self.models, self.sets = data / constants.DATASETS, models, sets
        # By folder, the names that take part; all, where a folder is not there.
        self.only = only or {}
        self.problems: list[str] = []

    def folders(self) -> list[Path]:
        return [self.datasets, self.models, self.sets]

    def look(self) -> list[Run]:
        """All runs, the most urgent first."""
        self.problems = []
        sets = self._drops(self.sets, ".toml", self._hyperparameter_set)
        models = self._drops(self.models, ".py", self._model)
        datasets = _named(self._drops(self.datasets, ".pkl", self._dataset))
        # The same content under two names is one: a copy or a renamed file makes no new run.
        runs = {
            run.key: run for run in (Run(d, m, s) for d in datasets for m in models for s in sets)
        }
        by_urgency = sorted(runs.values(), key=Run.urgency)
        # Newest dataset first; sorting keeps the order of those that are equal in that.
        return sorted(by_urgency, key=lambda run: run.dataset.time, reverse=True)

    def _drops(self, folder: Path, ending: str, read) -> list[Dropped]:
        found = []
        for path in sorted(folder.glob(f"*{ending}"), reverse=True):
            if path.name.startswith(("_", ".")) or path.stem not in self.only.get(
                folder, {path.stem}
            ):
                continue
            try:
                found.append(read(path))
            except UserError as error:
                self.problems.append(str(error))
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError as error:
                self.problems.append(
                    f"{shown(path)} cannot be read: {error.strerror}. Make it readable."
                )
        return found

    def _dataset(self, path: Path) -> Dropped:
        names = read_json(description_path(path)).get("class_names")
        class_names = tuple(map(str, names)) if isinstance(names, list) else ()
        return Dropped(path, safe_pickle.digest(path), path.stat().st_mtime, class_names)

    def _model(self, path: Path) -> Dropped:
        content = path.read_bytes()
        # How soon it is its turn is no reason to train again.
        rest = ITS_LINE.sub(b"", content) if content.count(b"PRIORITY") == 1 else content
        return Dropped(path, hashlib.sha256(rest).hexdigest(), priority=_priority(path, content))

    def _hyperparameter_set(self, path: Path) -> Dropped:
        settings = read_hyperparameters(path)
        # Comments, a default spelled out, and how soon it is its turn are no reason to train again.
        training = {
            key: value
            for key, value in settings.items()
            if key != "priority" and value != SETTINGS[key].default
        }
        return Dropped(path, digest_of(training), priority=settings["priority"], settings=settings)


def _named(datasets: list[Dropped]) -> list[Dropped]:
    """A copy without a description is the same dataset as the original with its class names."""
    names = {dataset.digest: dataset.class_names for dataset in datasets if dataset.class_names}
    return [
        replace(dataset, class_names=dataset.class_names or names.get(dataset.digest, ()))
        for dataset in datasets
    ]


def _priority(path: Path, content: bytes) -> int:
    """PRIORITY = <int> in a model file, read without running the file."""
    try:
        tree = ast.parse(content)
        values = [statement.value for statement in tree.body if _assigns_priority(statement)]
        value = ast.literal_eval(values[-1]) if values else 0
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UserError(f"{shown(path)}{line} is not Python ({error.msg}). Correct it.") from None
    except (ValueError, TypeError, RecursionError, MemoryError):
        value = None
    if type(value) is not int:
        raise UserError(
            f"{shown(path)}: its PRIORITY is no whole number. Write PRIORITY = 0 or another."
        )
    return value


def _assigns_priority(statement: ast.stmt) -> bool:
    targets = (
        statement.targets
        if isinstance(statement, ast.Assign)
        else [getattr(statement, "target", None)]
    )
    return any(isinstance(target, ast.Name) and target.id == "PRIORITY" for target in targets)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    queue = RunQueue(options.data, options.models_folder, options.hyperparameters_folder)
    table = run_table.rows(queue.look(), options.data)
    if options.json:
        print(json.dumps({"runs": run_table.as_plain(table), "problems": queue.problems}, indent=2))
    else:
        print(run_table.as_text(table))
        for problem in queue.problems:
            print(problem, file=sys.stderr)
    return 1 if queue.problems else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Print what became of each dataset x model x hyperparameter set.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", type=Path, default=constants.DATA, metavar="DIR", help="the data folder (data)")
    add("--models-folder", type=Path, default=constants.MODELS, metavar="DIR", help="(models)")
    sets = constants.HYPERPARAMETERS
    add(
        "--hyperparameters-folder", type=Path, default=sets, metavar="DIR", help="(hyperparameters)"
    )
    add("--json", action="store_true", help="print JSON, for programs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
