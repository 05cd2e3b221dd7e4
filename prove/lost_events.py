"""Events that get lost cost delay, never data: a full event queue, the limits on watches, 3,000 drops.

The stage is stopped while more happens than the kernel keeps events for, then goes on; and it works
where the kernel allows few watches or none. Half of the raw datasets get their last file later. At
last, thousands of raw datasets are dropped at once: all arrive, and the last ones cost no more than
the first ones.
"""

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import constants
from prove import Result
from prove.drops import content_of, contents, make
from prove.running import (
    LONGEST,
    broken,
    drop,
    ingesting,
    limited,
    need_user_namespaces,
    wait_for_all,
    work_folder,
)
from testkit.processes import Process

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
QUIET = 0.5  # seconds without work: the stage waits for events; while it looks, it needs none
LAST = f"test/{constants.GROUNDTRUTH}"
MOST_GROWTH = (
    1.5  # of the processor's time for each of many raw datasets, from their first third to the last
)


def prove(full: bool) -> Result:
    need_user_namespaces()
    watches = [("max_inotify_watches", most) for most in ((0, 1, 2, 5, 20) if full else (0, 2))]
    instances = [("max_inotify_instances", most) for most in ((0,) if full else ())]
    limits = [None, *watches, *instances]
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
    many = 3000 if full else 60
    arrived, growth, problem = _attempt_many(many)
    # So few take no time that could be told from chance.
    if not problem and full and growth > MOST_GROWTH:
        problem = f"the last third took {growth:.2f} times as long as the first"
    violations += [f"{many:,} at once: {arrived:,}; {problem}"] * bool(problem)
    figure += (
        f"; of {many:,} dropped at once: {arrived:,}, the last third in {growth:.2f} times the"
    )
    figure += " processor's time of the first"
    return Result(tried + many, held + (0 if problem else arrived), figure, violations)


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


def _attempt_many(count: int) -> tuple[int, float, str | None]:
    """How many of so many raw datasets, dropped at once, became the dataset they ought to; how much
    more time the last third of them took; and what went wrong."""
    ends = [0.0]  # seconds of the processor's time after each third
    with work_folder() as work:
        built = [make(work / "built" / f"{seed:05}", seed) for seed in range(count)]
        expected = [content_of(folder) for folder in built]

        def attempt() -> None:
            with ingesting(work) as stage:
                ends[0] = _processor_time(stage)
                for folder in built:
                    folder.rename(work / "data" / constants.RAW_DATASETS / folder.name)
                for number in range(1, count + 1):
                    stage.wait_for("ingested as", LONGEST)
                    if number % (count // 3) == 0:
                        ends.append(_processor_time(stage))

        problem = broken(attempt)
        found = contents(work / "data")
    if not problem and sorted(found) != sorted(expected):
        problem = "not what was dropped"
    first, *_, last = [after - before for before, after in pairwise(ends)] or [0.0]
    return len(set(found) & set(expected)), last / first if first else 0.0, problem


def _processor_time(stage: Process) -> float:
    fields = Path(f"/proc/{stage.process.pid}/stat").read_text().split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


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
    before, now = None, _processor_time(stage)
    while now != before:
        time.sleep(QUIET)
        before, now = now, _processor_time(stage)
