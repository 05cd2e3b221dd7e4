"""The whole product as a table: what became of each run, and when the others will be done."""

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from helper import open_regular, printable
from pipeline.artifacts.dataset import display_name, display_names
from pipeline.artifacts.ledger import Entry, LedgerReader
from pipeline.artifacts.metadata import AnalysisEntry, RunState, TrainingEntry
from pipeline.data_folder import DataFolder, FileState, run_folder, state_of, training_log
from pipeline.requests.requested import NOTHING_ASKED, Requested, is_cancelled, requested_reader
from pipeline.statistics.class_metrics import GUESSING
from pipeline.statistics.intervals import accuracy_interval, with_interval
from pipeline.statistics.spread import Spread, spread_of
from pipeline.training import training_state
from pipeline.training.run_queue import Run
from pipeline.training.time_left import Estimates, in_words, when_done

UNKNOWN = TrainingEntry.of({})
TO_COME = (RunState.WAITING, RunState.RUNNING)
HEAD = ("dataset", "model", "set", "state", "priority", "epochs", "ETA", "result")


@dataclass(slots=True)
class Row:
    """One run. `name` is that of its checkpoint; `eta` is in seconds from now; what is not known is None."""

    name: str
    key: str
    dataset: str
    model: str
    hyperparameter_set: str
    model_priority: int
    set_priority: int
    state: RunState
    epochs_done: int
    epochs: int
    eta: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None  # of 95 %
    test_images: int | None = None
    no_better_than_guessing: bool = False
    reason: str = ""  # why it failed
    warnings: tuple[str, ...] = ()  # what makes its figures mislead
    dataset_name: str = ""  # of the raw dataset that it was made from
    dataset_time: str = ""
    requested_priority: int = 0  # it goes before all runs with a lower one
    hidden: bool = False
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        dataset = display_name(self.dataset, self.dataset_name)
        names = dataset, printable(self.model), printable(self.hyperparameter_set)
        priority = f"{self.model_priority}/{self.set_priority}"
        if self.requested_priority:
            priority = f"{self.requested_priority:+}, {priority}"
        epochs = f"{self.epochs_done}/{self.epochs}"
        eta = "" if self.eta is None else in_words(self.eta)
        return (*names, self.state, priority, epochs, eta, self._result())

    def _result(self) -> str:
        note = f'"{printable(self.note)}"' if self.note else ""
        return "; ".join(filter(None, (self._outcome(), note)))

    def _outcome(self) -> str:
        match self.state:
            case RunState.FAILED:
                return printable(self.reason)
            case RunState.ANALYZED:
                return "; ".join((self._tested(), *map(printable, self.warnings)))
            case RunState.TRAINED:
                accuracy = _figure("validation accuracy", self.validation_accuracy)
                return "; ".join(filter(None, (accuracy, *map(printable, self.warnings))))
        return ""

    def _tested(self) -> str:
        if self.test_accuracy is None:
            return ""
        text = f"test accuracy {with_interval(self.test_accuracy, self.test_images)}"
        return text + (", " + GUESSING if self.no_better_than_guessing else "")


class RunTable:
    """A row for each run. To bring the rows up to date costs as much as has changed.

    Only reads: works while the stages run, after a crash, and with no stage running.
    """

    def __init__(self, data: Path):
        self.data = DataFolder(data)
        self.rows: list[Row] = []
        self._runs: list[Run] = []
        self._training = LedgerReader(self.data.training_record, TrainingEntry.of)
        self._analysis = LedgerReader(self.data.analysis_record, AnalysisEntry.of)
        self._requested = requested_reader(self.data)
        self._analyzed: dict[str | None, AnalysisEntry] = {}  # by the name of the run
        self._checkpoints = FolderNames(self.data.checkpoints)
        self._row_of: dict[str, int] = {}  # by the key of the run
        # What a row was told from, by the name of a run; a row that is told otherwise now may still be in it.
        self._rows_on: defaultdict[str | None, set[int]] = defaultdict(set)
        # Rows of runs that have a folder: no record tells of a lock or of an epoch.
        self._unfinished: set[int] = set()
        self._to_come: set[int] = set()
        self._estimates = Estimates()

    def refresh(self, runs: list[Run]) -> list[Row]:
        """The rows of `runs`, which come in the order in which they are trained: always the same list."""
        before, asked = self._training.look(), self._requested.look()
        names = self._look_for_analyses() | self._look_for_checkpoints(before)
        if runs != self._runs:
            self._begin_with(runs)
            stale = range(len(runs))
        else:
            rows = (self._rows_on[name] for name in names & self._rows_on.keys())
            stale = {
                self._row_of[key] for key in (before.keys() | asked.keys()) & self._row_of.keys()
            }
            stale = stale.union(self._unfinished, *rows)
        changed = [number for number in stale if self._renew(number)]
        self._estimates.learn(before, self._training.entries)
        if changed or before:
            self._estimate()
        return self.rows

    def _estimate(self) -> None:
        """When each run that is still to come will be done; those that are running go first."""
        waiting = sorted(n for n in self._to_come if self.rows[n].state is RunState.WAITING)
        running = sorted(self._to_come.difference(waiting))
        for number, eta in self._estimates.of(running, waiting, self._runs).items():
            self.rows[number].eta = eta

    def _begin_with(self, runs: list[Run]) -> None:
        self._runs = runs
        self.rows[:] = [None] * len(runs)
        self._row_of = {run.key: number for number, run in enumerate(runs)}
        self._estimates.begin()
        for known in (self._rows_on, self._unfinished, self._to_come):
            known.clear()

    def _look_for_analyses(self) -> set[str | None]:
        """The names of the runs that the record of analysis says something else of."""
        before = self._analysis.look()
        if before:
            self._analyzed = {entry.run: entry for entry in self._analysis.entries.values()}
        return {entry.run for entry in _entries(before, self._analysis.entries)}

    def _look_for_checkpoints(self, before: dict[str, TrainingEntry | None]) -> set[str]:
        """The names of the runs that a file came or went of; `before` are the entries that changed."""
        entries = _entries(before, self._training.entries)
        files = self._checkpoints.look({f"{entry.name}.pkl" for entry in entries})
        return files | {file.removesuffix(".pkl") for file in files}

    def _renew(self, number: int) -> bool:
        """Make the row afresh; returns whether it says something else than before."""
        old, new = self.rows[number], self._row(number)
        self._to_come.discard(number)
        if new.state in TO_COME:
            self._to_come.add(number)
            new.eta = old and old.eta
        self.rows[number] = new
        return new != old

    def _row(self, number: int) -> Row:
        run = self._runs[number]
        entry, name = self._training.entries.get(run.key, UNKNOWN), self._name(number)
        asked = self._requested.entries.get(run.key, NOTHING_ASKED)
        row = as_waiting(run, name, asked)
        self._unfinished.discard(number)
        self._estimates.progress.pop(number, None)
        if entry.state is RunState.FAILED:
            row.state, row.reason = RunState.FAILED, entry.reason
        elif entry.state is RunState.TRAINED and f"{name}.pkl" in self._checkpoints.names:
            row.state, row.epochs_done = RunState.TRAINED, entry.epochs or 0
            row.validation_accuracy = entry.accuracy if entry.validated else None
            row.warnings = tuple(entry.warnings)
            _add_analysis(row, self._analyzed.get(name))
        elif name in self._checkpoints.names:
            self._unfinished.add(number)
            checkpoint = self.data.checkpoint(name)
            progress = training_state.progress(run_folder(checkpoint), run.key)
            self._estimates.progress[number], row.epochs_done = progress, progress.epochs
            if is_locked(training_log(checkpoint)):
                row.state = RunState.RUNNING
        if row.state is RunState.WAITING and is_cancelled(asked, row.epochs_done):
            row.state = RunState.CANCELLED
        return row

    def _name(self, number: int) -> str:
        """The name of the run's checkpoint, as the record says, or else as it would get it now."""
        run = self._runs[number]
        recorded = self._training.entries.get(run.key, UNKNOWN).name
        plain, own = (recorded, recorded) if recorded else run.names
        self._rows_on[plain].add(number)
        self._rows_on[own].add(number)
        return own if f"{plain}.pkl" in self._checkpoints.names else plain


def as_waiting(run: Run, name: str, asked: Requested) -> Row:
    """The row of a run of which no more is known than what it is and what was asked of it."""
    return Row(
        name,
        run.key,
        run.dataset.name,
        run.model.name,
        run.hyperparameters.name,
        run.model.priority,
        run.hyperparameters.priority,
        RunState.WAITING,
        0,
        run.hyperparameters.settings.epochs,
        dataset_name=run.dataset.raw_name,
        dataset_time=run.dataset.time.isoformat(" ", "microseconds"),
        requested_priority=asked.priority,
        hidden=asked.hidden,
        note=asked.note,
    )


class FolderNames:
    """The names in a folder, where ten thousand runs have three each: listed only when it changed.

    To list them takes as long as to read a record. So a refresh that has read one asks only for the
    names that it speaks of; the next refresh lists the folder.
    """

    def __init__(self, folder: Path):
        self.folder, self.names = folder, set()
        self._state: FileState | None = None
        self._put_off = False

    def look(self, likely: set[str]) -> set[str]:
        """Bring `names` up to date, the `likely` ones first; returns those that came or went."""
        state, settled = state_of(self.folder)
        if state is not None and state == self._state:
            return set()
        self._put_off = bool(likely and self.names) and not self._put_off
        if self._put_off:
            there = {name for name in likely if os.path.lexists(self.folder / name)}
            changed = there ^ (likely & self.names)
            self.names ^= changed
            return changed
        try:
            names = set(os.listdir(self.folder))  # noqa: PTH208 - names are all it takes
        except OSError:
            names = set()
        changed = names ^ self.names
        self._state, self.names = state if settled else None, names
        return changed


def _entries(before: dict[str, Entry | None], now: dict[str, Entry]) -> Iterator[Entry]:
    """All that was said of some keys, and all that is said of them now."""
    for key, old in before.items():
        yield from (entry for entry in (old, now.get(key)) if entry is not None)


def _add_analysis(row: Row, entry: AnalysisEntry | None) -> None:
    if entry and entry.state is RunState.ANALYZED:
        row.state, row.test_accuracy = RunState.ANALYZED, entry.accuracy
        row.test_images, row.no_better_than_guessing = (
            entry.test_images,
            entry.no_better_than_guessing,
        )
        row.test_interval = accuracy_interval(entry.accuracy, entry.test_images)
    elif entry and entry.state is RunState.FAILED:
        row.state, row.reason = RunState.FAILED, entry.reason


def _figure(name: str, accuracy: float | None) -> str:
    return "" if accuracy is None else f"{name} {accuracy:.3f}"


def is_locked(path: Path) -> bool:
    """Whether a process holds the kernel's lock on `path`: that of the run that writes there."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def as_text(table: list[Row], hidden: bool = False) -> str:
    """The rows that are not `hidden`, or all."""
    shown = [row for row in table if hidden or not row.hidden]
    names = display_names({row.dataset: row.dataset_name for row in table})
    text = aligned([HEAD, *((names[row.dataset], *row.cells()[1:]) for row in shown)])
    left_out = len(table) - len(shown)
    return f"{text}\n({left_out:,} hidden; --all shows them)" if left_out else text


def aligned(lines: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_plain(records: list) -> list[dict]:
    return [asdict(record) for record in records]


def summary(table: list[Row], is_live: bool, now: datetime) -> str:
    """Of all runs that are to come, if training `is_live`."""
    etas = {
        state: [row.eta for row in table if row.state is state]
        for state in (RunState.WAITING, RunState.RUNNING)
    }
    return when_done(etas[RunState.WAITING], etas[RunState.RUNNING], is_live, now)


@dataclass
class OverSeeds:
    """The runs of one dataset, model and set, which differ in their seed alone."""

    dataset: str
    dataset_name: str
    model: str
    hyperparameter_set: str
    seeds: list[int]
    test_accuracy: Spread | None  # of those that are analyzed; None for fewer than 2

    def as_line(self) -> str:
        dataset = display_name(self.dataset, self.dataset_name)
        names = f"{dataset} {printable(self.model)} {printable(self.hyperparameter_set)}"
        found = self.test_accuracy
        if found is None:
            return ""
        return (
            f"{names}: test accuracy {found.mean:.3f} +- {found.deviation:.3f}"
            f" ({found.low:.3f}-{found.high:.3f}) over {found.count} seeds"
        )


def over_seeds(table: list[Row], runs: list[Run]) -> list[OverSeeds]:
    """For all that there are several seeds of, in the table's order; `runs` are those of its rows."""
    groups = defaultdict(list)
    for row, run in zip(table, runs, strict=True):
        groups[run.apart_from_seed].append((row, run))
    found = []
    for group in groups.values():
        accuracies = [row.test_accuracy for row, _ in group if row.test_accuracy is not None]
        first, run = group[0]
        names = first.dataset, first.dataset_name, first.model, run.hyperparameters.path.stem
        seeds = [run.hyperparameters.settings.seed for _, run in group]
        found.append(OverSeeds(*names, seeds, spread_of(accuracies)))
    return [group for group in found if len(group.seeds) > 1]
