"""Two processes of one stage never both work on one data folder.

Two to eight of them start at the same moment. One works; the others say which and end. The one is
killed at any moment, and as many start again, until all that waited is done, once.

Or the data folder is replaced, or the lock in it deleted, while one works, and others start at that
moment. One of them all works in the new folder, the others say so and end, and what waits there is
done once.
"""

import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import constants
from prove import Result
from prove.scenes import MODEL, SET
from prove.stages import Stage, gate
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset

STAGES = ("data_ingestion", "model_training", "model_analysis")
RUNNING = re.compile(r" is already running as process (\d+)\. Use that one, stop it first, ")
TOOK_OVER = re.compile(r": process (\d+) took over when the folder was deleted or replaced\. ")
LOSING = 30.0  # seconds that one which may not work needs at the most to say so
WORK = 0.3  # seconds that ingestion needs at the most for what these drop


def prove(full: bool) -> Result:
    draw = random.Random(12)
    rounds = ["data_ingestion"] * (100 if full else 4) + (list(STAGES[1:]) * 5 if full else [])
    started, violations = 0, []
    for number, script in enumerate(rounds):
        count = draw.randint(2, 8 if full else 4)
        started += 2 * count
        found = list(_violations(script, count, draw))
        violations += [f"round {number}, {count} of {script}: {problem}" for problem in found]
    replacing = ["data_ingestion"] * (60 if full else 4) + (list(STAGES[1:]) * 5 if full else [])
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        templates = Templates(Path(folder))
        for number, script in enumerate(replacing, len(rounds)):
            others = draw.randint(1, 3)
            started += 1 + others
            found = list(_violations_where_replaced(templates.of(script), others, draw))
            violations += [f"round {number}, {script}: {problem}" for problem in found]
    count = len(rounds) + len(replacing)
    broken = len({violation.split(",")[0] for violation in violations})
    figure = (
        f"{started} processes in {count} rounds, {len(replacing)} of them with a data folder that was"
        f" replaced; doubled work {broken}"
    )
    return Result(count, count - broken, figure, violations)


def _violations(script: str, count: int, draw: random.Random) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="prove-") as folder, ExitStack() as stack:
        data = Path(folder) / "data"
        options = ["--data", data, *(["--settle", "0"] if script == STAGES[0] else [])]
        if script == STAGES[0]:
            make_raw_dataset(data / "raw_dataset" / "colours", train=30, test=9)
        said = []
        for moment in (draw.uniform(0, WORK), WORK):
            first = gate(count)
            stages = [
                stack.enter_context(Stage(script, *options, first=first)) for _ in range(count)
            ]
            winner, problems = _winner(stages)
            yield from problems
            if winner is None:
                return
            time.sleep(moment)
            winner.end(signal.SIGKILL)
            said += winner.lines
        if script == STAGES[0]:
            with Stage(script, *options, "--once") as last:
                last.end()
            said += last.lines
            yield from _doubled(data, said)


def _winner(stages: list[Stage]) -> tuple[Stage | None, list[str]]:
    """The one that works, once the others have ended; and what is wrong with these."""
    _wait_for_all_but_one(stages)
    working = [stage for stage in stages if not stage.ended]
    if len(working) != 1:
        return None, [f"{len(working)} work at once"]
    problems = []
    for other in (stage for stage in stages if stage.ended):
        status = other.end()
        said = "\n".join(other.lines)
        told = RUNNING.search(said) or TOOK_OVER.search(said)
        if status != 1 or not told or int(told[1]) != working[0].pid:
            problems.append(f"one ended with {status}, saying {other.lines}")
    return working[0], problems


def _wait_for_all_but_one(stages: list[Stage]) -> None:
    until = time.monotonic() + patience(LOSING)
    left = [stage.process.sentinel for stage in stages]
    while len(left) > 1 and (ended := wait(left, until - time.monotonic())):
        left = [one for one in left if one not in ended]


def _doubled(data: Path, said: list[str]) -> Iterator[str]:
    datasets = [path.name for path in (data / "dataset").glob("*.pkl")]
    if len(datasets) != 1:
        yield f"one raw dataset gave {len(datasets)} datasets"
    if sum("ingested as dataset" in line for line in said) > 1:
        yield "it was ingested twice"


@dataclass
class Template:
    """A work folder with something for a stage to do, and how its result is told."""

    script: str
    folder: Path
    moves: tuple[str, ...]  # what of its data folder the stage needs
    line: str  # says that it was done
    result: str  # the file that it gives
    options: tuple[object, ...] = ()  # with {} for the folder

    def start(self, folder: Path, *more: object) -> Stage:
        options = (str(option).format(folder) for option in self.options)
        return Stage(self.script, "--data", folder / "data", *options, *more, first=be_quick)


def be_quick() -> None:
    """No proof has to wait as long as a user."""
    constants.LOOK_AGAIN, constants.RETRY = 0.3, 0.1


class Templates:
    """By script; each is made when it is first asked for, of the one before."""

    def __init__(self, folder: Path):
        self.folder, self.made = folder, {}

    def of(self, script: str) -> Template:
        if script not in self.made:
            self.made[script] = getattr(self, f"_for_{script}")()
        return self.made[script]

    def _for_data_ingestion(self) -> Template:
        folder = self.folder / "ingestion"
        # So many that a folder is mostly replaced while they are read.
        make_raw_dataset(folder / "data" / "raw_dataset" / "colours", train=600, test=300)
        moves, options = ("raw_dataset",), ("--settle", "0")
        return Template(STAGES[0], folder, moves, "ingested as dataset", "dataset/*.pkl", options)

    def _for_model_training(self) -> Template:
        folder = self._after("data_ingestion")
        for name, text in {"models/tiny.py": MODEL, "sets/short.toml": SET}.items():
            (folder / name).parent.mkdir()
            (folder / name).write_text(text)
        options = "--models-folder", "{}/models", "--hyperparameters-folder", "{}/sets"
        return Template(
            STAGES[1], folder, ("dataset",), ": trained in", "model_checkpoints/*.pkl", options
        )

    def _for_model_analysis(self) -> Template:
        folder = self._after("model_training")
        moves, result = ("dataset", "model_checkpoints"), "model_analysis_results/*__*.json"
        return Template(STAGES[2], folder, moves, ": analyzed in", result)

    def _after(self, script: str) -> Path:
        before = self.of(script)
        folder = before.folder.with_name(f"after {script}")
        shutil.copytree(before.folder, folder)
        with before.start(folder, "--once") as stage:
            if stage.end() != 0:
                raise RuntimeError(f"{script}: {stage.lines}")
        return folder


def _violations_where_replaced(
    template: Template, others: int, draw: random.Random
) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="prove-") as parent, ExitStack() as stack:
        folder = Path(parent) / "work"
        shutil.copytree(template.folder, folder)
        data, aside = folder / "data", folder / "aside"
        first = stack.enter_context(template.start(folder))
        first.wait_for("watching")
        time.sleep(draw.uniform(0, 2 * WORK))
        suspend = draw.random() < 0.7
        if suspend:  # as a busy machine might: the others are faster for certain
            first.send(signal.SIGSTOP)
        change = draw.choice([_move_aside, _move_aside, _delete_the_lock])
        change(data, aside, template.moves)
        stages = [first]
        stages += [stack.enter_context(template.start(folder)) for _ in range(others)]
        time.sleep(draw.uniform(0, 2 * WORK))
        first.send(signal.SIGCONT)
        winner, problems = _winner(stages)
        yield from (f"{change.__name__}, {problem}" for problem in problems)
        if winner is None:
            return
        until = time.monotonic() + patience()
        while not _is_done(data, template, stages) and time.monotonic() < until:
            time.sleep(0.02)
        winner.end(signal.SIGTERM)
        with template.start(folder, "--once") as last:
            last.end()
        said = [line for stage in [*stages, last] for line in stage.lines]
        done = sum(template.line in line for line in said)
        results = [len(list(root.glob(template.result))) for root in (data, aside)]
        if results[0] != 1 or done > sum(results):
            what = f"{results[0]} results, {results[1]} in the old folder; said {done} times"
            yield f"{change.__name__}, {what}: {said}"
        if any("Traceback" in line for line in said):
            yield f"{change.__name__}, a traceback: {said}"


def _move_aside(data: Path, aside: Path, moves: tuple[str, ...]) -> None:
    """Replace the data folder by one with the same files in it, which none of their states tells."""
    data.rename(aside)
    for name in moves:
        data.mkdir(exist_ok=True)
        until = time.monotonic() + LOSING
        while (aside / name).exists() and time.monotonic() < until:
            with suppress(OSError):  # the stage may make it again at this moment
                (aside / name).rename(data / name)


def _delete_the_lock(data: Path, *_: object) -> None:
    for lock in data.glob(".*.lock"):
        lock.unlink()


def _is_done(data: Path, template: Template, stages: list[Stage]) -> bool:
    """Whether there is a result in the new folder, and somebody has said so."""
    said = any(template.line in line for stage in stages for line in stage.lines)
    return said and bool(list(data.glob(template.result)))
