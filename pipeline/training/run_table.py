"""The whole product as a table: what became of each run, and when the others will be done."""

import fcntl
from collections import defaultdict
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from pathlib import Path
from statistics import median

from helper import open_regular, printable
from pipeline.artifacts.ledger import entries_in
from pipeline.artifacts.metadata import AnalysisEntry, TrainingEntry
from pipeline.data_folder import DataFolder, run_folder, training_log
from pipeline.training import training_state

UNKNOWN = TrainingEntry.of({})
HEAD = ("dataset", "model", "set", "state", "priority", "epochs", "ETA", "result")


@dataclass
class Row:
    """One run. `eta` is in seconds from now; None where nothing is known to tell it from."""

    dataset: str
    model: str
    hyperparameter_set: str
    state: str
    priority: str
    epochs_done: int
    epochs: int
    eta: float | None
    result: str

    def cells(self) -> tuple[str, ...]:
        epochs = f"{self.epochs_done}/{self.epochs}"
        eta = "" if self.eta is None else in_words(self.eta)
        names = map(printable, (self.dataset, self.model, self.hyperparameter_set))
        return (*names, self.state, self.priority, epochs, eta, printable(self.result))


def rows(runs: list, data: Path) -> list[Row]:
    """A row for each of `runs`, which come in the order in which they are trained.

    Only reads: works while the stages run, after a crash, and with no stage running.
    """
    entries = entries_in(DataFolder(data).training_record)
    trained = {key: TrainingEntry.of(entry) for key, entry in entries.items()}
    analyses = map(AnalysisEntry.of, entries_in(DataFolder(data).analysis_record).values())
    analyzed = {entry.run: entry for entry in analyses}
    table = [_row(run, trained.get(run.key, UNKNOWN), analyzed, DataFolder(data)) for run in runs]
    _estimate(table, runs, trained)
    return table


def _row(
    run, entry: TrainingEntry, analyzed: dict[str | None, AnalysisEntry], data: DataFolder
) -> Row:
    name = entry.name or run.name_in(data.checkpoints)
    checkpoint = data.checkpoint(name)
    state, result, epochs = "waiting", "", 0
    if entry.state == "failed":
        state, result = "failed", entry.reason
    elif entry.state == "trained" and checkpoint.exists():
        state, epochs = "trained", entry.epochs or 0
        result = _figure("validation accuracy", entry.accuracy)
        analysis = analyzed.get(name)
        if analysis and analysis.state == "analyzed":
            state, result = "analyzed", _figure("test accuracy", analysis.accuracy)
        elif analysis and analysis.state == "failed":
            state, result = "failed", analysis.reason
    elif run_folder(checkpoint).is_dir():
        epochs = training_state.epochs_done(run_folder(checkpoint), run.key)
        state = "running" if is_locked(training_log(checkpoint)) else "waiting"
    return Row(
        run.dataset.name,
        run.model.name,
        run.hyperparameters.name,
        state,
        f"{run.model.priority}/{run.hyperparameters.priority}",
        epochs,
        run.hyperparameters.settings["epochs"],
        None,
        result,
    )


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


def _estimate(table: list[Row], runs: list, trained: dict[str, TrainingEntry]) -> None:
    """When each run that is still to come will be done, from what its model took before.

    Those that are running go first; the others follow in their order, as many at a time as run now.
    """
    rates = _seconds_per_image(trained)
    order = sorted(range(len(table)), key=lambda place: table[place].state != "running")
    free_at = [0.0] * max(1, sum(row.state == "running" for row in table))
    for place in order:
        row, run = table[place], runs[place]
        if row.state not in ("waiting", "running"):
            continue
        rate, images = rates.get(row.model), run.dataset.images
        if rate is None or images is None:
            return  # nothing is known of what comes after it either
        left = max(0, row.epochs - row.epochs_done)
        row.eta = heappop(free_at) + rate * images * left
        heappush(free_at, row.eta)


def _seconds_per_image(trained: dict[str, TrainingEntry]) -> dict[str, float]:
    """By model, the median time of one image in one epoch."""
    times = defaultdict(list)
    for entry in trained.values():
        if entry.seconds is not None and entry.images and entry.epochs:
            times[entry.model].append(entry.seconds / (entry.images * entry.epochs))
    return {model: median(some) for model, some in times.items()}


def as_text(table: list[Row]) -> str:
    return aligned([HEAD, *(row.cells() for row in table)])


def aligned(lines: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_plain(table: list[Row]) -> list[dict]:
    return [asdict(row) for row in table]


def in_words(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 1.5 else f"{hours:.1f} h"
