"""Two processes of one stage never both work on one data folder.

Two to eight of them start at the same moment. One works; the others say which and end. The one is
killed at any moment, and as many start again, until all that waited is done, once.
"""

import random
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.connection import wait
from pathlib import Path

from prove import Result, patience
from prove.stages import Stage, gate
from tests.conftest import make_raw_dataset

STAGES = ("data_ingestion", "model_training", "model_analysis")
RUNNING = re.compile(r" is already running as process (\d+)\. Use that one, stop it first, ")
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
    broken = len({violation.split(",")[0] for violation in violations})
    figure = f"{started} processes in {len(rounds)} rounds, doubled work {broken}"
    return Result(len(rounds), len(rounds) - broken, figure, violations)


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
        told = RUNNING.search("\n".join(other.lines))
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
