"""A bad input never blocks others: 50 bad raw datasets among 50 good ones, in any order.

The bad ones are wrong in every way that comes to mind; each good one becomes a dataset, and each
bad one is named.
"""

import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import constants
from prove import Result
from prove.drops import OPTIONS, content_of, contents, make
from prove.running import (
    INGESTION,
    LONGEST,
    broken,
    ingesting,
    running,
    wait_for_all,
    work_folder,
)

TABLE = f"train/{constants.GROUNDTRUTH}"
IMAGE = "train/000003.png"


def prove(full: bool) -> Result:
    count, seeds = (50, range(4)) if full else (len(SPOILT), range(1))
    violations = [
        f"{'watching' if watching else 'at once'}, seed {seed}: {problem}"
        for watching in (False, True)
        for seed in seeds
        if (problem := broken(lambda w=watching, s=seed: _problem(count, w, s)))
    ]
    tried = 2 * len(seeds)
    figure = f"{count} good among {count} bad, {tried} orders; not all processed: {len(violations)}"
    return Result(tried, tried - len(violations), figure, violations)


def _problem(count: int, watching: bool, seed: int) -> str | None:
    draw = random.Random(seed)
    numbers = draw.sample(range(2 * count), 2 * count)  # their names are in this order
    good, bad = numbers[:count], numbers[count:]
    with work_folder() as work:
        expected = [content_of(make(work / "expected" / str(n), n)) for n in good]

        def drop_all() -> None:
            for number in draw.sample(numbers, len(numbers)):
                built = make(work / "built" / f"{number:03d}", number)
                if number in bad:
                    SPOILT[bad.index(number) % len(SPOILT)](built)
                built.rename(work / "data" / constants.RAW_DATASETS / built.name)

        named = [f"/{n:03d}: ingested as" for n in good] + [f"/{n:03d}: " for n in bad]
        said = _watched(work, drop_all, named) if watching else _at_once(work, drop_all)
        found = contents(work / "data")
    if sorted(found) != sorted(expected):
        return f"{len(set(found) & set(expected))} of {count} good ones are datasets"
    unnamed = [text for text in named if text not in said]
    return f"not said: {unnamed}" if unnamed else None


def _at_once(work: Path, drop_all: Callable[[], None]) -> str:
    drop_all()
    with running(INGESTION, work, "--once", "--settle", "0.1", *OPTIONS) as stage:
        status = stage.end(seconds=LONGEST)
    if status != 1:
        raise AssertionError(f"exit status {status}: {stage.lines[-9:]}")
    return "\n".join(stage.lines)


def _watched(work: Path, drop_all: Callable[[], None], named: list[str]) -> str:
    with ingesting(work) as stage:
        drop_all()
        wait_for_all(stage, named)
    return "\n".join(stage.lines)


def _cut(folder: Path) -> None:
    (folder / IMAGE).write_bytes((folder / IMAGE).read_bytes()[:-20])


def _flip(folder: Path) -> None:
    content = bytearray((folder / IMAGE).read_bytes())
    content[len(content) // 2] ^= 16
    (folder / IMAGE).write_bytes(content)


def _bomb(folder: Path) -> None:
    """A PNG that says it is 60,000 pixels wide and high."""
    content = (folder / IMAGE).read_bytes()
    head = b"IHDR" + (60_000).to_bytes(4) * 2 + content[24:29]
    check = zlib.crc32(head).to_bytes(4)
    (folder / IMAGE).write_bytes(content[:12] + head + check + content[33:])


def _replace(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / TABLE).read_text()
        (folder / TABLE).write_text(text.replace(old, new, 1))

    return spoil


def _instead(name: str, put: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        put(path)

    return spoil


SPOILT: tuple[Callable[[Path], None], ...] = (
    _cut,
    _flip,
    _bomb,
    _replace("file,label\n", "file,label\n\0"),
    _replace("000001.png,", "000001.png"),
    _replace("000001.png,", "../../../000001.png,"),
    _replace("000001.png,", "000002.png,"),
    _replace("blue", ""),
    _instead(TABLE, lambda path: None),
    _instead(TABLE, os.mkfifo),
    _instead(TABLE, lambda path: path.write_bytes(b"\xff\xfe" * 99)),
    _instead(TABLE, lambda path: path.write_text("file,label\n")),
    _instead(IMAGE, lambda path: None),
    _instead(IMAGE, os.mkfifo),
    _instead(IMAGE, lambda path: path.symlink_to("/etc/hostname")),
    _instead(IMAGE, lambda path: path.symlink_to(path)),
    _instead(IMAGE, lambda path: path.mkdir()),
    _instead(IMAGE, lambda path: path.write_bytes(b"")),
    _instead(IMAGE, lambda path: path.write_bytes(b"GIF89a" + bytes(99))),
    _instead("test", lambda path: None),
    _instead("test", lambda path: path.write_bytes(b"")),
    _instead("test", lambda path: path.symlink_to("nowhere")),
)
