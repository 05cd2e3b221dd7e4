"""Each distinct content has exactly one effect, however often and in whatever order it is announced.

The same things happen to the same raw datasets 1 to 10 times, shuffled: dropped again, renamed,
copied under a second name, touched, gone and back, and the stage started again.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from prove import Result, some, tried
from prove.drops import Bench, bench, content_of, contents, make

CONTENTS = 4


def prove(full: bool) -> Result:
    figure = "schedules with one doubled or lost: {broken} of {tried}"
    return tried(_violation, some(range(300), full, 8), figure)


def _violation(seed: int) -> str | None:
    draw = random.Random(seed)
    with bench() as at:
        wholes = [make(at.built / str(number), number) for number in range(CONTENTS)]
        expected = Counter(content_of(whole) for whole in wholes)
        events = [(event, whole) for event in EVENTS for whole in wholes] * draw.randint(1, 10)
        for event, whole in draw.sample(events, min(len(events), 40)):
            event(at, whole)
            for _ in range(draw.randint(0, 3)):
                at.look(after=draw.uniform(0, 2))
        for whole in wholes:
            _drop(at, whole)
        at.look_until_quiet()
        found = Counter(contents(at.data))
    return None if found == expected else f"seed {seed}: {sorted(found.values())} times"


def _drop(at: Bench, whole: Path) -> None:
    """Rename a copy into place; over the one that is there, if there is one."""
    place = at.raw / whole.name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, at.built / "copy").rename(place)


def _second_name(at: Bench, whole: Path) -> None:
    shutil.copytree(whole, at.raw / f"second {whole.name}", dirs_exist_ok=True)


def _rename(at: Bench, whole: Path) -> None:
    place, other = at.raw / whole.name, at.raw / f"other {whole.name}"
    if place.exists() and not other.exists():
        place.rename(other)


def _touch(at: Bench, whole: Path) -> None:
    for path in at.raw.glob(f"*{whole.name}/*/*"):
        path.touch()


def _gone(at: Bench, whole: Path) -> None:
    shutil.rmtree(at.raw / whole.name, ignore_errors=True)


def _restart(at: Bench, _: Path) -> None:
    at.restart()


EVENTS: tuple[Callable[[Bench, Path], None], ...] = (
    _drop,
    _second_name,
    _rename,
    _touch,
    _gone,
    _restart,
)
