"""Events that get lost cost delay, never data: a full event queue, and the limits on watches.

The stage is stopped while more happens than the kernel keeps events for, then goes on; and it works
where the kernel allows few watches or none. Half of the raw datasets get their last file later.
"""

import signal
import time
from pathlib import Path

import constants
from prove import Result
from prove.drops import content_of, contents, make
from prove.running import (
    broken,
    drop,
    ingesting,
    limited,
    need_user_namespaces,
    wait_for_all,
    work_folder,
)
from tests.conftest import Process

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
QUIET = 0.5  # seconds without work: the stage waits for events; while it looks, it needs none
LAST = f"test/{constants.GROUNDTRUTH}"


def prove(full: bool) -> Result:
    need_user_namespaces()
    watches = [("max_inotify_watches", most) for most in ((0, 1, 2, 5, 20) if full else (2,))]
    instances = [("max_inotify_instances", most) for most in ((0,) if full else ())]
    limits = [*([None] if full else []), *watches, *instances]
    count = 20 if full else 4
    held, violations = 0, []
    for limit in limits:
        ingested, problem = _attempt(limit, count)
        held += ingested
        violations += [f"{limit or 'a full queue'}: {ingested} of {count}; {problem}"] * bool(
            problem
        )
    tried = len(limits) * count
    figure = f"raw datasets ingested after lost events: {held} of {tried}"
    return Result(tried, held, figure, violations)


def _attempt(limit: tuple[str, int] | None, count: int) -> tuple[int, str | None]:
    """How many raw datasets became the dataset they ought to, and what went wrong."""
    with work_folder() as work:
        noise = work / "data" / constants.RAW_DATASETS / "noise" / "train"
        noise.mkdir(parents=True)  # before the stage is there: it watches this folder
        expected = [content_of(make(work / "expected" / str(seed), seed)) for seed in range(count)]
        first = limited(*limit) if limit else ""

        def attempt() -> None:
            with ingesting(work, first=first) as stage:
                if limit:
                    _drop_in_two_parts(stage, work, count)
                else:
                    stage.process.send_signal(signal.SIGSTOP)
                    for number in range(int(QUEUE.read_text()) + 600):
                        (noise / str(number)).touch()
                    _drop_in_two_parts(stage, work, count)
                    if "queue overflowed" not in "\n".join(stage.lines):
                        raise AssertionError("the event queue had room for all of it")

        problem = broken(attempt)
        found = contents(work / "data")
    if not problem and sorted(found) != sorted(expected):
        problem = "not what was dropped"
    return sum(found.count(one) == 1 for one in expected), problem


def _drop_in_two_parts(stage: Process, work: Path, count: int) -> None:
    """Half of them whole, half without their last file, which comes once the stage has said so."""
    whole, late = range(count // 2), range(count // 2, count)
    for seed in late:
        built = make(work / "built" / f"late {seed}", seed)
        (built / LAST).rename(work / f"last {seed}")
        built.rename(work / "data" / constants.RAW_DATASETS / f"late {seed}")
    for seed in whole:
        drop(work, f"whole {seed}", seed)
    stage.process.send_signal(signal.SIGCONT)
    said = [f"late {seed}: not whole" for seed in late]
    wait_for_all(stage, said + [f"whole {seed}: ingested as" for seed in whole])
    _wait_until_quiet(stage)
    for seed in late:
        folder = work / "data" / constants.RAW_DATASETS / f"late {seed}"
        (work / f"last {seed}").rename(folder / LAST)
    wait_for_all(stage, [f"late {seed}: ingested as" for seed in late])


def _wait_until_quiet(stage: Process) -> None:
    times = Path(f"/proc/{stage.process.pid}/stat")
    before, now = None, times.read_text().split()[13:15]
    while now != before:
        time.sleep(QUIET)
        before, now = now, times.read_text().split()[13:15]
