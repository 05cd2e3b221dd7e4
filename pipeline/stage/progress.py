"""How far a task is: for the stage's status, and as a bar in a terminal."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pipeline.stage.status import Status
from pipeline.stage.status import status as status_of_this_process


@contextmanager
def counted(
    total: int, what: str, unit: str, status: Status = status_of_this_process
) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many more are done: for the stage's status, and for a bar."""
    done = 0
    with progress_bar(total, what, f" {unit}") as bar:

        def more(count: int) -> None:
            nonlocal done
            done += count
            bar.update(count)
            status.heartbeat(f"{done:,} of {total:,} {unit}")

        yield more


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
