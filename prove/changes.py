"""A raw dataset that changes is ingested again, and no dataset mixes what was before and after.

A PNG, or two far apart, change before, during or after the reading, in place or by another file's
name, with a new or an old date; the stage goes on or is started again in between.
"""

import os
import random
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from PIL import Image

from prove import Result, some, tried
from prove.drops import bench, content_of, contents, make, while_reading

IMAGES = 9
BEFORE, AFTER = 0, IMAGES + 1  # else: while so many images have been read
HOW = ("in place", "in place, old date", "renamed over it", "removed and made again")
WHICH = (("train/000005.png",), ("test/000002.png", "train/000000.png"))

Case = tuple[int, str, Sequence[str], bool, int]


def prove(full: bool) -> Result:
    cases = list(product(range(AFTER + 1), HOW, WHICH, (False, True), range(3)))
    return tried(_violation, some(cases, full, 60), "lost or mixed: {broken} of {tried}")


def _violation(case: Case) -> str | None:
    moment, how, which, restarts, seed = case
    with bench() as at:
        folder = make(at.raw / "dropped", seed)
        versions = [content_of(folder)]
        at.change_time()

        def change() -> None:
            for name in which:
                _change(folder / name, how, random.Random(f"{name} {seed}"))

        if moment == BEFORE:
            at.look()
            change()
        with while_reading(_once_at(moment, change)):
            at.look_until_quiet()
        if restarts:
            at.restart()
        if moment == AFTER:
            change()
        at.look_until_quiet()
        versions.append(content_of(folder))
        found = contents(at.data)
    expected = versions if moment == AFTER else versions[1:]
    when = {BEFORE: "before", AFTER: "after"}.get(moment, f"at image {moment} of")
    said = [versions.index(one) if one in versions else "mixed" for one in found]
    return None if found == expected else f"{how}, {which}, {when} reading, {seed}: {said}"


def _once_at(moment: int, action: Callable[[], None]) -> Callable[[int], None]:
    moments = [moment] if moment not in (BEFORE, AFTER) else []

    def at_image(number: int) -> None:
        if moments == [number]:
            moments.clear()
            action()

    return at_image


def _change(path: Path, how: str, draw: random.Random) -> None:
    """Another image with the same name, of the same size in bytes wherever that can be had."""
    dates = path.stat()
    beside = path.with_name(".beside")
    pixels = bytes(draw.randrange(256) for _ in range(8 * 8 * 3))
    Image.frombytes("RGB", (8, 8), pixels).save(beside, "PNG")
    if how == "renamed over it":
        beside.rename(path)
    elif how == "removed and made again":
        path.unlink()
        beside.rename(path)
    else:
        path.write_bytes(beside.read_bytes())
        beside.unlink()
    if how.endswith("old date"):
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
