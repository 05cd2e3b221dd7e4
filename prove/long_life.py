"""A stage that runs for long does not grow: neither in memory nor in descriptors nor in threads.

1,000 small datasets go through one process of ingestion, 300 tiny runs through one of training and
one of analysis. Each is measured whenever it has done what there was and waits. Growth is the slope of
a line fitted to the second half of the measurements. Memory is what is in use: malloc() gives back
what is free before, which comes and goes by megabytes.
"""

import ctypes
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import constants
from pipeline.artifacts.metadata import read_json
from prove import Result
from prove.scenes import MODEL
from prove.stages import Stage, children
from prove.stops import SET
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset

# Bytes of memory per input that are no leak: its entries in the record, its report, its names in the
# queue. A model or a picture that is kept takes a hundred thousand and more.
ENTRIES = 8_000
FEW = 100  # inputs, over which memory has not settled yet
MOST_MEASURES = 30
LOOKS = 5  # in a row that have to be alike
GIVE_BACK = signal.SIGUSR1


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

    def drop(number: int) -> None:
        made = make_raw_dataset(folder / f"d{number}", train=3, test=3, seed=number)
        made.rename(raw / made.name)

    options = ["--data", folder / "data", "--settle", "0"]
    with Stage("data_ingestion", *options, first=_be_measured) as stage:
        return _growth(stage, folder / "data", "ingestion", drop, ": ingested as dataset", count)


def _training_and_analysis(folder: Path, count: int) -> Iterator[Growth]:
    data, sets, aside = folder / "data", folder / "sets", folder / "aside"
    make_raw_dataset(data / "raw_dataset" / "colours", train=12, test=6)
    with Stage("data_ingestion", "--data", data, "--once", "--settle", "0") as stage:
        stage.end()
    for path in (sets, aside, folder / "models"):
        path.mkdir()
    (folder / "models" / "tiny.py").write_text(MODEL)

    def drop_set(number: int) -> None:
        (sets / f"s{number}.toml").write_text(SET.format(1) + f"seed = {number}\n")

    options = ["--models-folder", folder / "models", "--hyperparameters-folder", sets]
    with Stage("model_training", "--data", data, *options, first=_be_measured) as stage:
        yield _growth(stage, data, "training", drop_set, "trained in", count)
    checkpoints = data / constants.CHECKPOINTS
    made = [path.rename(aside / path.name) for path in sorted(checkpoints.glob("*.pkl"))]

    def drop_checkpoint(number: int) -> None:
        made[number].rename(checkpoints / made[number].name)

    with Stage("model_analysis", "--data", data, first=_be_measured) as stage:
        yield _growth(stage, data, "analysis", drop_checkpoint, "analyzed in", count)


def _be_measured() -> None:
    """When asked by a signal, give back to the system what malloc() has free; say soon that it waits."""
    constants.LOOK_AGAIN = 0.5
    malloc_trim = ctypes.CDLL(None).malloc_trim
    signal.signal(GIVE_BACK, lambda *_: malloc_trim(0))


def _growth(
    stage: Stage, data: Path, name: str, drop: Callable[[int], None], text: str, count: int
) -> Growth:
    """Drop as many inputs as `count` says, for each of which the stage says `text`."""
    stage.wait_for("watching")
    done, measures = [], []
    step = -(-count // MOST_MEASURES)
    for first in range(0, count, step):
        inputs = range(first, min(count, first + step))
        for number in inputs:
            drop(number)
        for _ in inputs:
            stage.wait_for(text)
        done.append(inputs.stop)
        measures.append(_at_rest(stage, data / constants.STATUS / f"{name}.json"))
    stage.end(signal.SIGTERM)
    half = len(done) // 2
    fitted = np.polyfit(done[half:], np.array(measures[half:], float), 1)[0]
    return Growth(name, count, dict(zip(Measure._fields, fitted.tolist(), strict=True)))


def _at_rest(stage: Stage, status: Path) -> Measure:
    """What the stage takes once it has said that it waits, and nothing comes and goes any more."""
    began, seen = time.monotonic(), []
    until = began + patience()
    while len(seen) < LOOKS or any(one[1:] != seen[-1][1:] for one in seen[-LOOKS:]):
        if time.monotonic() > until:
            raise RuntimeError(f"it does not come to rest: {seen[-LOOKS:]}")
        stage.send(GIVE_BACK)
        time.sleep(0.02)
        seen.append(_measure(stage.pid))
        now = read_json(status)
        if now.get("doing") != "waiting" or now["said"] < began:  # it is written now and then
            seen.clear()
    return min(seen[-LOOKS:])


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
