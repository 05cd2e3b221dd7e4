"""How far a task is: for the stage's status, and as a bar in a terminal."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pipeline.stage.status import Status, Task, now


@contextmanager
def counted(
    total: int, what: str, unit: str, status: Status, run: str = ""
) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many more are done: for the stage's status, where the task is
    called `run`, and for a bar."""
    done, since, began = 0, now(), time.monotonic()
    with progress_bar(total, what, f" {unit}") as bar:

        def more(count: int) -> None:
            nonlocal done
            done += count
            bar.update(count)
            task = Task(run, since, done, total, eta=seconds_left(began, done, total - done))
            status.heartbeat(f"{done:,} of {total:,} {unit}", [task] if run else [])

        yield more


def seconds_left(began: float, done: int, left: int) -> float | None:
    """Until the steps that are left are done, at the pace of those since `began`; None before the first."""
    return round((time.monotonic() - began) / done * left, 1) if done else None


def progress_bar(total: int, what: str, unit: str, done: int = 0) -> tqdm:
    """A progress bar with an ETA, on a terminal only."""
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        leave=False,
        disable=None,
        ncols=max(40, shutil.get_terminal_size().columns - 4),  # leaves room for the ^C of Ctrl-C
    )
