"""A raw dataset is never read half-copied, however it is copied and however long each pause is.

Eleven ways to copy, file by file and piece by piece, with looks of the stage at any moment, also
while it reads. A pause is longer than the settle time wherever the copy can be told to be a half
one; where the rows happen to match what is there, it is shorter.
"""

import os
import random
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import constants
from prove import Result, some, tried
from prove.drops import Bench, bench, content_of, contents, make, pieces, while_reading

LONG, SHORT = 5 * constants.SETTLE, 0.9 * constants.SETTLE
Steps = Iterator[float]  # after each step of a copy: the longest pause that may follow


def prove(full: bool) -> Result:
    cases = [(way, seed) for way in (*WAYS, *TOOLS) for seed in range(80)]
    return tried(_violation, some(cases, full, 60), "torn ingests: {broken} of {tried}")


def _violation(case: tuple[str, int]) -> str | None:
    way, seed = case
    draw = random.Random(f"{way} {seed}")
    with bench() as at:
        source, target = make(at.built / "whole", seed), at.raw / "dropped"
        expected = content_of(source)
        copy_with = TOOLS.get(way)
        steps = copy_with(at, draw) if copy_with else WAYS[way](_files(source), target, draw)
        _copy(at, steps, draw)
        found = contents(at.data)
    return None if found == [expected] else f"{way}, seed {seed}: {len(found)} datasets, or torn"


def _copy(at: Bench, steps: Steps, draw: random.Random) -> None:
    """Take the steps, with looks at any moment; in half of the copies, some steps fall into the
    reading of a look."""
    often = draw.choice([0, 0.2])
    with while_reading(lambda _: draw.random() < often and next(steps, None)):
        while (longest := next(steps, None)) is not None:
            until = at.now + draw.uniform(0, longest)
            while (pause := draw.uniform(0, constants.SETTLE)) < until - at.now:
                at.look(after=pause)
            at.now = max(at.now, until)
        at.look_until_quiet()


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _is_csv(name: str) -> bool:
    return name.endswith(constants.GROUNDTRUTH)


def _copied(names: list[str], files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """The files one after the other, each in pieces, as `cp -r` and any slow writer do."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        yield LONG
        yield from _written(target / name, files[name], draw)


def _written(path: Path, content: bytes, draw: random.Random) -> Steps:
    """A CSV is cut anywhere, an image too; only a cut within a row can look like a whole one."""
    anywhere = range(1, len(content))
    row_ends = [end for end in anywhere if content[end - 1] == 10]
    within = _is_csv(path.name) and draw.random() < 0.5
    ends = row_ends if _is_csv(path.name) and not within else anywhere
    for piece in pieces(content, draw, ends):
        with open(path, "ab") as file:
            file.write(piece)
        yield SHORT if within else LONG


def _csv_first(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    return _copied(sorted(files, key=_is_csv, reverse=True), files, target, draw)


def _csv_last(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    return _copied(sorted(files, key=_is_csv), files, target, draw)


def _any_order(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    return _copied(draw.sample(sorted(files), len(files)), files, target, draw)


def _temporary_names(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """As rsync does: a hidden file beside, then its name."""
    for name in draw.sample(sorted(files), len(files)):
        path = target / name
        hidden = path.with_name(f".{path.name}.{draw.randrange(10**6)}")
        beside = str(hidden.relative_to(target))
        yield from _copied([beside], {beside: files[name]}, target, draw)
        hidden.rename(path)
        yield LONG


def _made_room_first(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """Each file gets its size first and its bytes later; the groundtruth comes at the end."""
    names = sorted(files, key=_is_csv)
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(len(files[name]))
        yield LONG
    for name in names:
        with open(target / name, "r+b") as file:
            for piece in pieces(files[name], draw, range(1, len(files[name]))):
                file.write(piece)
                file.flush()
                os.utime(target / name, ns=(0, draw.randrange(2**50)))
                # Within a CSV's last label: short, as above.
                yield SHORT if _is_csv(name) else LONG


def _renamed(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """Built beside and renamed into place, in one go or split by split."""
    beside = target.parent.parent / "beside"
    for _ in _copied(sorted(files), files, beside, draw):
        pass
    if draw.random() < 0.5:
        yield LONG
        beside.rename(target)
    else:
        target.mkdir()
        for split in draw.sample(constants.SPLITS, 2):
            (beside / split).rename(target / split)
            yield LONG
    yield LONG


def _in_step(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """An image, its row, an image, its row: the rows match what is there again and again."""
    for split in ("test", "train"):
        (target / split).mkdir(parents=True)
        head, *rows = files[f"{split}/{constants.GROUNDTRUTH}"].splitlines(keepends=True)
        with open(target / split / constants.GROUNDTRUTH, "wb", buffering=0) as table:
            table.write(head)
            for row in rows:
                name = f"{split}/{row.split(b',')[0].decode()}"
                yield from _written(target / name, files[name], draw)
                table.write(row)
                yield SHORT


def _rewritten(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """The rows match what is there after each image: its table is made anew, and renamed into place."""
    for split in constants.SPLITS:
        (target / split).mkdir(parents=True)
    for split in draw.sample(constants.SPLITS, 2):
        table, hidden = target / split / constants.GROUNDTRUTH, target / split / ".new"
        head, *rows = files[f"{split}/{constants.GROUNDTRUTH}"].splitlines(keepends=True)
        for count, row in enumerate(rows, start=1):
            name = row.split(b",")[0].decode()
            hidden.write_bytes(files[f"{split}/{name}"])
            hidden.rename(target / split / name)
            yield LONG
            hidden.write_bytes(head + b"".join(rows[:count]))
            hidden.rename(table)
            yield SHORT if count < len(rows) else LONG


def _label_cut(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """The last label of all comes in two parts, and so is another name for a moment."""
    last = f"train/{constants.GROUNDTRUTH}"
    yield from _copied(sorted(files.keys() - {last}), files, target, draw)
    label = files[last].rstrip().rpartition(b",")[2]
    end = files[last].rindex(label) + draw.randrange(1, len(label))
    (target / last).write_bytes(files[last][:end])
    yield SHORT
    (target / last).write_bytes(files[last])
    yield LONG


def _row_by_row(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """All images, then the rows, one at a time."""
    tables = [name for name in files if _is_csv(name)]
    yield from _copied([name for name in files if not _is_csv(name)], files, target, draw)
    for name in tables:
        for row in files[name].splitlines(keepends=True):
            with open(target / name, "ab") as table:
                table.write(row)
            yield LONG


def _unzipped(files: dict[str, bytes], target: Path, draw: random.Random) -> Steps:
    """Member by member in the archive's order; each gets its old time afterwards."""
    archive = target.parent.parent / "dropped.zip"
    with zipfile.ZipFile(archive, "w") as new:
        for name in draw.sample(sorted(files), len(files)):
            new.writestr(name, files[name])
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            packed.extract(name, target)
            yield LONG
            os.utime(target / name, (1e9, 1e9))
            yield LONG


def _with_tool(*command: str) -> Callable[[Bench, random.Random], Steps]:
    """A real tool, while the stage looks as fast as it can."""

    def steps(at: Bench, draw: random.Random) -> Steps:
        places = {"FROM": str(at.built / "whole"), "TO": str(at.raw / "dropped")}
        words = [places.get(word, word) for word in command]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as tool:
            while tool.poll() is None:
                yield draw.uniform(0, SHORT / 20)
        yield LONG

    return steps


WAYS = {
    "CSV first": _csv_first,
    "CSV last": _csv_last,
    "any order": _any_order,
    "temporary names": _temporary_names,
    "room made first": _made_room_first,
    "renamed": _renamed,
    "in step": _in_step,
    "rewritten": _rewritten,
    "label cut": _label_cut,
    "row by row": _row_by_row,
    "unzipped": _unzipped,
}
TOOLS = {
    "cp -r": _with_tool("cp", "-r", "FROM", "TO"),
    "mv": _with_tool("mv", "FROM", "TO"),
}
