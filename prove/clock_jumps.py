"""Clock jumps do no harm: names stay distinct and in the order of the drops, and nothing is missed.

Before each drop the clock may stand still, go a day back, ten years on, to the last moment that a
name can say, or back to the truth; raw datasets bear any date; the stage is started again, with its
record or without.
"""

import os
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

import constants
from pipeline.artifacts import dataset
from pipeline.training.run_queue import RunQueue
from prove import Result, some, tried
from prove.drops import Bench, bench, content_of, contents, make

DROPS = 8
JUMPS = (timedelta(), timedelta(days=-1), timedelta(days=3653), timedelta(microseconds=1))
LATEST = datetime.max - timedelta(microseconds=DROPS)  # the names after it still are names


def prove(full: bool) -> Result:
    figure = "schedules with one missed or misnamed: {broken} of {tried}"
    return tried(_violation, some(range(300), full, 6), figure)


class _Clock(datetime):
    """The datetime that pipeline/artifacts/dataset.py asks for the time."""

    at = datetime(2026, 3, 29, 1, 59, 59)

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return cls.at


def _violation(seed: int) -> str | None:
    draw = random.Random(seed)
    with bench() as at, mock.patch.object(dataset, "datetime", _Clock):
        expected, order = [], []
        for number in range(DROPS):
            _jump(draw)
            expected.append(content_of(_drop(at, number, draw)))
            if draw.random() < 0.3:
                _restart(at, draw)
            if draw.random() < 0.5:  # else: two drops in one tick
                at.look_until_quiet()
                order.append(number)
        at.look_until_quiet()
        found = contents(at.data)
        problems = _problems(at, found, expected, order)
    return f"seed {seed}: {problems}" if problems else None


def _problems(at: Bench, found: list[str], expected: list[str], order: Sequence[int]) -> str:
    if sorted(found) != sorted(expected):
        return f"{len(found)} datasets of {len(expected)}"
    places = [found.index(expected[number]) for number in order]
    if places != sorted(places):
        return f"named in the order {places}"
    names = sorted(path.stem for path in (at.data / constants.DATASETS).glob("*.pkl"))
    folders = [at.folder / name for name in ("models", "sets")]
    for folder, file in zip(folders, ("one.py", "one.toml"), strict=True):
        folder.mkdir()
        (folder / file).write_text("")
    trained = [run.dataset.name for run in RunQueue(at.data, *folders).look()]
    return "" if trained == names[::-1] else f"trained in the order {trained}"


def _jump(draw: random.Random) -> None:
    if draw.random() < 0.1:
        _Clock.at = draw.choice([LATEST, datetime(2026, 10, 25, 2)])
        return
    try:
        _Clock.at += draw.choice(JUMPS)
    except OverflowError:
        _Clock.at = datetime(2026, 10, 25, 2)


def _drop(at: Bench, number: int, draw: random.Random) -> Path:
    folder = make(at.built / str(number), number)
    date = draw.choice([0, 1e9, 2e9, 2**33])
    for path in folder.rglob("*"):
        os.utime(path, (date, date))
    return folder.rename(at.raw / str(number))


def _restart(at: Bench, draw: random.Random) -> None:
    if draw.random() < 0.5:
        (at.data / constants.INGESTION_RECORD).unlink(missing_ok=True)
    at.restart()
