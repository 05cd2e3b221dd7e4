"""A stage that runs for long does not grow: neither in memory nor in descriptors nor in threads.

1,000 small datasets go through one process of ingestion, 300 tiny runs through one of training and
one of analysis. Growth is the slope of a line fitted to the second half of the measurements. Memory
is what is in use: malloc() gives back what is free before, which comes and goes by megabytes.
"""

import ctypes
import logging
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.log_lines import log
from prove import Result
from prove.scenes import MODEL
from prove.stages import Stage, children
from prove.stops import SET
from tests.conftest import make_raw_dataset

# Bytes of memory per input that are no leak: its entries in the record, its report, its names in the
# queue. A model or a picture that is kept takes a hundred thousand and more.
ENTRIES = 8_000
FEW = 100  # inputs, over which memory has not settled yet


class Measure(NamedTuple):
    memory: int  # bytes, of its own process as all others
    descriptors: int
    threads: int
    processes: int


class Growth(NamedTuple):
    """Of one stage: `each` has what is growth per input, by what was measured."""

    stage: str
    inputs: int
    each: dict[str, float]

    def problems(self) -> Iterator[str]:
        entries = ENTRIES if self.inputs > FEW else 10 * ENTRIES
        for what, slope in self.each.items():
            if slope > (entries if what == "memory" else 4 / self.inputs):
                yield f"{self.stage}: {what} grew by {slope:,.2f} per input over {self.inputs}"


def prove(full: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="prove-") as name:
        folder = Path(name).resolve()
        found = [_ingestion(folder / "many", 1000 if full else 12)]
        if full:
            found += _training_and_analysis(folder, 300)
    violations = [problem for growth in found for problem in growth.problems()]
    memory = ", ".join(
        f"{growth.stage} {growth.each['memory'] / 1000:+.1f} kB x {growth.inputs}"
        for growth in found
    )
    others = {what for problem in violations for what in Measure._fields[1:] if what in problem}
    figure = f"memory each: {memory}; growing besides: {', '.join(sorted(others)) or 'nothing'}"
    grown = sum(any(growth.problems()) for growth in found)
    return Result(len(found), len(found) - grown, figure, violations)


def _ingestion(folder: Path, count: int) -> Growth:
    raw = folder / "data" / "raw_dataset"
    raw.mkdir(parents=True)
    measures = []
    with Stage(
        "data_ingestion", "--data", folder / "data", "--settle", "0", first=_keep_nothing_free
    ) as stage:
        stage.wait_for("watching")
        for number in range(count):
            made = make_raw_dataset(folder / f"d{number}", train=3, test=3, seed=number)
            made.rename(raw / made.name)
            stage.wait_for(f"{made.name}: ingested as dataset")
            measures.append(_measure(stage.pid))
        stage.end(signal.SIGTERM)
    return _growth("ingestion", measures)


def _training_and_analysis(folder: Path, count: int) -> Iterator[Growth]:
    data, sets = folder / "data", folder / "sets"
    make_raw_dataset(data / "raw_dataset" / "colours", train=12, test=6)
    with Stage("data_ingestion", "--data", data, "--once", "--settle", "0") as stage:
        stage.end()
    (folder / "models").mkdir()
    (folder / "models" / "tiny.py").write_text(MODEL)
    sets.mkdir()
    for number in range(count):
        (sets / f"s{number}.toml").write_text(SET.format(1) + f"seed = {number}\n")
    options = ["--models-folder", folder / "models", "--hyperparameters-folder", sets]
    with Stage("model_training", "--data", data, *options, first=_keep_nothing_free) as stage:
        yield _growth("training", _measured(stage, "trained in", count))
    with Stage("model_analysis", "--data", data, first=_keep_nothing_free) as stage:
        yield _growth("analysis", _measured(stage, "analyzed in", count))


def _keep_nothing_free() -> None:
    """Before each line that this process says, give back to the system what malloc() has free."""
    malloc_trim = ctypes.CDLL(None).malloc_trim

    def give_back(record: logging.LogRecord) -> bool:
        malloc_trim(0)
        return True

    log.addFilter(give_back)


def _measured(stage: Stage, text: str, count: int) -> list[Measure]:
    """What it takes each time it has said `text`."""
    measures = []
    for _ in range(count):
        stage.wait_for(text)
        measures.append(_measure(stage.pid))
    stage.end(signal.SIGTERM)
    return measures


def _measure(pid: int) -> Measure:
    about = Path(f"/proc/{pid}")
    status = (about / "status").read_text()
    return Measure(
        memory=_number(status, "RssAnon") * 1024,
        descriptors=len(list((about / "fd").iterdir())),
        threads=_number(status, "Threads"),
        processes=len(children(pid)),
    )


def _number(status: str, name: str) -> int:
    return int(status.split(f"{name}:")[1].split()[0])


def _growth(stage: str, measures: list[Measure]) -> Growth:
    half = np.array(measures[len(measures) // 2 :], float)
    fitted = np.polyfit(np.arange(len(half)), half, 1)[0]
    return Growth(stage, len(measures), dict(zip(Measure._fields, fitted.tolist(), strict=True)))
