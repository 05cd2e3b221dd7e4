"""Which stages live, which are stuck, which are down. Only looks, and needs none of them."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import constants
from helper import printable, read_file
from pipeline.artifacts.metadata import said_in
from pipeline.data_folder import DataFolder
from pipeline.stage.status import STOPPED, StageStatus, Task
from pipeline.training.run_table import aligned, in_words, is_locked

STAGES = ("ingestion", "training", "analysis", "prediction")
LONGEST_HOLDER = 100  # bytes
HEAD = ("stage", "state", "since", "doing", "progress", "last error")


@dataclass
class Health:
    """How a stage is. `since` is when it began what it does; `quiet` is in seconds, None if it is down."""

    stage: str
    state: str  # "live", "stuck" or "down"
    pid: int | None
    version: str
    since: str
    doing: str
    progress: str
    quiet: float | None
    last_error: str
    problems: dict[str, str]  # what keeps inputs from being used, by input
    tasks: tuple[Task, ...]  # what it does at the moment, in numbers

    def cells(self) -> tuple[str, ...]:
        progress = self.progress
        if self.state == "stuck":
            progress = f"{progress}, no sign of life for {in_words(self.quiet)}".removeprefix(", ")
        texts = self.since, self.doing, progress, self.last_error
        return self.stage, self.state, *map(printable, texts)


def print_health(data: Path, as_json: bool = False, stages: Sequence[str] = STAGES) -> int:
    """Print how the stages on `data` are; returns the exit status: 0 if all of them are well."""
    found = [health_of(stage, data) for stage in stages]
    if as_json:
        print(json.dumps({"stages": [asdict(one) for one in found]}, indent=2))
    else:
        print(aligned([HEAD, *(one.cells() for one in found)]))
        for one in found:
            for name, problem in one.problems.items():
                print(f"{one.stage}: {printable(name)}: {printable(problem)}")
    return 0 if all(one.state == "live" for one in found) else 1


def health_of(stage: str, data: Path) -> Health:
    """The kernel says whether a process works as `stage`, by the lock; what it does, its status says."""
    folder = DataFolder(data)
    lock, content = folder.lock(stage), said_in(folder.status(stage))
    said = StageStatus.of(content)
    if not is_locked(lock):
        return _health(stage, "down", said, doing=_down(said) if content else "never started")
    said = said if _is_of_holder(said, lock) else StageStatus()
    quiet = _quiet(said, lock)
    return _health(stage, "stuck" if quiet > constants.STUCK else "live", said, quiet=quiet)


def _health(stage: str, state: str, said: StageStatus, **known: object) -> Health:
    about = {name: value for name, value in vars(said).items() if name != "said"}
    if state == "down":
        about["tasks"] = ()
    return Health(**{"stage": stage, "state": state, "quiet": None, **about, **known})


def _down(said: StageStatus) -> str:
    return STOPPED if said.doing == STOPPED else f"ended without a word; was {said.doing}"


def _is_of_holder(said: StageStatus, lock: Path) -> bool:
    """Whether it was said by the process that holds the lock, not by one that was killed before it."""
    try:
        number, *locked = read_file(lock, LONGEST_HOLDER).split()
    except (OSError, ValueError):  # on a full disk the lock has no number
        return True
    if number != str(said.pid).encode():
        return False
    # Processes of two containers may have the same number. The later one has locked since.
    try:
        return not locked or said.said is None or said.said >= float(locked[0])
    except ValueError:
        return True


def _quiet(said: StageStatus, lock: Path) -> float:
    """Seconds since the last sign of life; if there was none yet, since the lock was taken."""
    if said.said is not None:
        return max(0.0, time.monotonic() - said.said)
    try:
        return max(0.0, time.time() - lock.stat().st_mtime)
    except OSError:
        return 0.0
