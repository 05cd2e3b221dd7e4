"""Each stage stops cleanly at any moment when asked by SIGTERM or SIGINT: soon, and losing nothing.

It is stopped at moments drawn by chance while it works, and goes on in another process. In the end
each input has its one result, and no whole epoch of a training was repeated.
"""

import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import constants
from prove import Result
from prove.scenes import MODEL
from prove.stages import Stage, children
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset

SOON = constants.STOP + 6.0  # seconds from the signal to the end, where the machine is quiet
SIGNALS = (signal.SIGTERM, signal.SIGINT)
IN_A_ROW = 5  # stops, before the stage may finish its work
SET = "epochs = {}\nbatch_size = 8\nearly_stopping_patience = 0\nvalidation_split = 0.25\n"
EPOCH = re.compile(r"\| (\S+ \S+): epoch (\d+) of \d+")


@dataclass
class Work:
    """What there is to do for a stage, and how many results come of it."""

    script: str
    prepare: Callable[[Path], None]
    results: str
    count: int
    longest: float  # seconds from "watching" within which it is stopped


def prove(full: bool) -> Result:
    draw, seconds, violations = random.Random(22), [], []
    for work in WORKS if full else WORKS[:1]:  # the others need a training to begin with
        for number in range(10 if full else 1):
            for problem in _violations(work, draw, seconds):
                violations.append(f"{work.script}, folder {number}: {problem}")
    tried = len(seconds)
    figure = f"{tried} stops, the longest took {max(seconds):.1f} s, {len(violations)} lost work"
    return Result(tried, tried - min(tried, len(violations)), figure, violations)


def _violations(work: Work, draw: random.Random, seconds: list) -> Iterator[str]:
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="prove-") as name:
        folder = Path(name).resolve()
        work.prepare(folder)
        for number in range(IN_A_ROW):
            asked = SIGNALS[number % 2], draw.uniform(0, work.longest)
            yield from _stopped(work, folder, *asked, seconds, lines)
        with _stage(work.script, folder, "--once") as last:
            status = last.end()
        if status != 0:
            yield f"the last one ended with {status}, {last.lines[-5:]}"
        found = sorted(path.name for path in (folder / "data").glob(work.results))
        if len(found) != work.count:
            yield f"expected {work.count} results, not {found}"
        yield from _repeated(lines + last.lines)


def _stage(script: str, folder: Path, *more: str) -> Stage:
    options: list[object] = ["--data", folder / "data", "--verbose", *more]
    if script == "data_ingestion":
        options += ["--settle", "0"]
    if script == "model_training":
        options += ["--models-folder", folder / "models"]
        options += ["--hyperparameters-folder", folder / "sets"]
    return Stage(script, *options)


def _stopped(
    work: Work, folder: Path, number: int, moment: float, seconds: list, lines: list
) -> Iterator[str]:
    """Start the stage and ask it to stop after `moment`; what is wrong with how it does."""
    with _stage(work.script, folder) as stage:
        stage.wait_for("watching")
        time.sleep(moment)
        started, began = children(stage.pid), time.monotonic()
        status = stage.end(number, SOON)
        seconds.append(time.monotonic() - began)
    lines += stage.lines
    how = f"{signal.Signals(number).name} after {moment:.3f} s"
    if status != 0 or " | stopped" not in stage.lines[-1]:
        yield f"{how}: exit status {status}, {stage.lines[-5:]}"
    if wrong := [line for line in stage.lines if "Traceback" in line or "failed" in line]:
        yield f"{how}: {wrong}"
    if left := [path.name for path in folder.rglob("*.partial")]:
        yield f"{how}: left over are {left}"
    # The server of the training processes ends by itself, when it sees that the stage is gone.
    until = time.monotonic() + patience(SOON)
    while started and time.monotonic() < until:
        started = [pid for pid in started if _lives(pid)]
        time.sleep(0.02)
    if started:
        yield f"{how}: {len(started)} of its processes live on"


def _lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _repeated(lines: list[str]) -> Iterator[str]:
    last: dict[str, int] = {}
    for run, epoch in (match.groups() for match in map(EPOCH.search, lines) if match):
        if int(epoch) <= last.get(run, 0):
            yield f"{run}: epoch {epoch} was done again, after {last[run]}"
        last[run] = int(epoch)


def _raw_datasets(folder: Path) -> None:
    for number in range(4):
        make_raw_dataset(folder / "data" / "raw_dataset" / f"d{number}", 150, 30, seed=number)


def _runs(folder: Path, epochs: int = 40, sets: int = 2) -> None:
    make_raw_dataset(folder / "data" / "raw_dataset" / "colours", 40, 9)
    with _stage("data_ingestion", folder, "--once") as stage:
        stage.end()
    for kind in ("models", "sets"):
        (folder / kind).mkdir()
    (folder / "models" / "tiny.py").write_text(MODEL)
    for number in range(sets):
        (folder / "sets" / f"s{number}.toml").write_text(SET.format(epochs + number))


def _checkpoints(folder: Path) -> None:
    if not CHECKPOINTS:
        CHECKPOINTS.append(tempfile.TemporaryDirectory(prefix="prove-"))
        made = Path(CHECKPOINTS[0].name)
        _runs(made, epochs=1, sets=4)
        with _stage("model_training", made, "--once") as stage:
            stage.end()
    shutil.copytree(CHECKPOINTS[0].name, folder, dirs_exist_ok=True)


CHECKPOINTS: list[tempfile.TemporaryDirectory] = []  # made once
WORKS = (
    Work("data_ingestion", _raw_datasets, "dataset/*.pkl", 4, 0.6),
    Work("model_training", _runs, "model_checkpoints/*.pkl", 2, 9.0),
    Work("model_analysis", _checkpoints, "model_analysis_results/*__*.json", 4, 5.0),
)
