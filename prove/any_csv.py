"""Any groundtruth.csv is accepted whole, or refused with the row and the reason.

Honest tables are written in all the ways that programs write them; then one thing is spoiled, or
bytes are changed by chance. What is accepted must hold each row of the table, in its order.
"""

import csv
import io
import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.problem import RawDatasetError
from pipeline.raw_data.raw_dataset import (
    FolderScan,
    problems,
    read,
    rows_of,
    scan,
)
from prove import Result
from testkit.raw_datasets import make_raw_dataset

TEST = 3  # images in the test split, all of one class
FILES = [f"{number:06d}.png" for number in range(9)]
PREFIXES = ("", "", "train/", "data/raw_dataset/train/", "..\\train\\")
HEADERS = ("", "file,label", '"file","label"', "image , class")
ENDS = ("\n", "\r\n", "\r")
NAMES = ("cat", "dog, or not", "猫")
NO_NUMBERS = ("nan", "NaN", "inf", "1e400", "-0", "-1", "+1", "1.5", "1e3", "1_0", "٣", " -0 ")
# What is written in place of a row, which then is refused with its number.
SPOILED: dict[str, Callable[[str, str], str]] = {
    **{f"label {text}": lambda file, _, text=text: f"{file},{text}" for text in NO_NUMBERS},
    "label of thousands of digits": lambda file, _: f"{file},{'9' * 5000}",
    "label beyond all classes": lambda file, _: f"{file},10000000",
    "no label": lambda file, _: f"{file},",
    "no file": lambda _, label: f",{label}",
    "one column": lambda file, _: file,
    "three columns": lambda file, label: f"{file},{label},{label}",
    "semicolon": lambda file, _: f"{file};0",
    "tab": lambda file, _: f"{file}\t0",
    "no PNG": lambda file, label: f"{file[:-4]}.gif,{label}",
    "other split": lambda file, label: f"test/{file[-10:]},{label}",
    "parent": lambda file, label: f"../{file[-10:]},{label}",
    "missing image": lambda _, label: f"999999.png,{label}",
    "NUL": lambda file, label: f"{file}\0,{label}",
    "open quote": lambda file, label: f'"{file},{label}',
    "letters after a quote": lambda file, label: f'"{file}"x,{label}',
    "line break in quotes": lambda file, label: f'"{file}\nx.png",{label}',
    "no UTF-8": lambda file, label: f"{file},\udcff{label}",
}
REASON = re.compile(r"(train|test)(/groundtruth\.csv)?(, row \d+)?(: | lists no image\.)")


@dataclass
class Table:
    """An honest table: its rows, and how they are written."""

    rows: list[tuple[str, str]]
    lines: list[str]
    place: list[int]  # of each row among the lines
    end: str
    bom: str

    def content(self) -> bytes:
        return (self.bom + self.end.join(self.lines)).encode("utf-8", "surrogateescape")


def prove(full: bool) -> Result:
    draw, tries, violations = random.Random(19), 1000 if full else 10, []
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        raw = make_raw_dataset(Path(folder) / "raw", train=len(FILES), test=TEST)
        for what, attempt in ATTEMPTS.items():
            for _ in range(tries):
                try:
                    problem = attempt(raw, draw)
                except Exception as error:
                    problem = f"{type(error).__name__}: {error}"
                if problem:
                    violations.append(f"{what}: {problem}")
    tried = tries * len(ATTEMPTS)
    figure = f"{tried:,} CSVs of {len(ATTEMPTS)} kinds, {len(violations)} crashes or silent drops"
    return Result(tried, tried - len(violations), figure, violations)


def _table(draw: random.Random) -> Table:
    labels = draw.sample(draw.choice([NAMES, ("0", "1", "002")]), 3) * 3
    rows = list(zip(draw.sample(FILES, len(FILES)), labels, strict=True))
    lines, place, prefix = [], [], draw.choice(PREFIXES)
    if header := draw.choice(HEADERS):
        lines.append(header)
    for file, label in rows:
        lines += [""] * (draw.random() < 0.1)
        place.append(len(lines))
        lines.append(",".join(_quoted(cell, draw) for cell in (prefix + file, label)))
    lines += [""] * draw.randrange(3)
    return Table(rows, lines, place, draw.choice(ENDS), draw.choice(["", "\ufeff"]))


def _quoted(cell: str, draw: random.Random) -> str:
    if "," in cell or draw.random() < 0.3:
        return draw.choice(['"{}"', ' "{}"']).format(cell.replace('"', '""'))
    return draw.choice(["{}", " {}", "{} "]).format(cell)


def _found(
    raw: Path,
    table: Table,
    content: bytes | None = None,
    change: Callable[[FolderScan], object] = lambda _: None,
) -> tuple[list[str], list[tuple[str, str]]]:
    """What is said against the table, and the rows that are read if nothing is."""
    (raw / "train" / "groundtruth.csv").write_bytes(table.content() if content is None else content)
    with open(raw / "test" / "groundtruth.csv", "w", newline="") as file:
        csv.writer(file).writerows((image, table.rows[0][1]) for image in FILES[:TEST])
    stock = scan(raw)
    change(stock)
    if said := problems(raw, stock):
        return said, []
    try:
        images = len(read(raw, stock, 8, lambda _: None).splits["train"]["img"])
    except RawDatasetError as error:
        return error.problems, []
    rows = [(row.file, row.label) for row in rows_of(raw, "train", stock.splits["train"])]
    return [] if images == len(rows) else [f"{images} images for {len(rows)} rows"], rows


def _honest(raw: Path, draw: random.Random) -> str | None:
    table = _table(draw)
    said, rows = _found(raw, table)
    return None if rows == table.rows else f"{table.content()!r}: {said or rows}"


def _spoiled(spoil: Callable[[str, str], str]) -> Callable[[Path, random.Random], str | None]:
    def attempt(raw: Path, draw: random.Random) -> str | None:
        table, which = _table(draw), draw.randrange(len(FILES))
        line = table.place[which]
        table.lines[line] = spoil(*table.rows[which])
        said, _ = _found(raw, table)
        # The first row without a file's name may be a header: then its image is in no row.
        named = _names_row(said, line + 1) or (not line and _names_file(said, table.rows[which][0]))
        return None if named else f"row {line + 1}, {table.content()!r}: {said}"

    return attempt


def _names_row(said: list[str], number: int) -> bool:
    return any(re.search(rf"\brow {number}\b", one) for one in said) and all(
        map(REASON.match, said)
    )


def _twice(raw: Path, draw: random.Random) -> str | None:
    table, which = _table(draw), draw.randrange(len(FILES))
    table.lines.append(table.lines[table.place[which]])
    said, _ = _found(raw, table)
    return None if _names_row(said, len(table.lines)) else f"{table.content()!r}: {said}"


def _without_row(raw: Path, draw: random.Random) -> str | None:
    table, which = _table(draw), draw.randrange(len(FILES))
    del table.lines[table.place[which]]
    said, _ = _found(raw, table)
    return None if _names_file(said, table.rows[which][0]) else f"{table.content()!r}: {said}"


def _names_file(said: list[str], file: str) -> bool:
    return any(file in one for one in said)


def _without_image(raw: Path, draw: random.Random) -> str | None:
    table, which = _table(draw), draw.randrange(len(FILES))
    file = table.rows[which][0]
    said, _ = _found(raw, table, change=lambda stock: stock.splits["train"].files.pop(file))
    return None if _names_row(said, table.place[which] + 1) else f"{table.content()!r}: {said}"


def _with_image(raw: Path, draw: random.Random) -> str | None:
    more = {"more.png": (1, 1, 1, 1)}
    table = _table(draw)
    said, _ = _found(raw, table, change=lambda stock: stock.splits["train"].files.update(more))
    return None if _names_file(said, "more.png") else f"{table.content()!r}: {said}"


def _damaged(damage: Callable[[bytes, random.Random], bytes]) -> Callable:
    """An attempt at bytes that need not be a CSV: a reason for all, or all rows that are there."""

    def attempt(raw: Path, draw: random.Random) -> str | None:
        table = _table(draw)
        content = damage(table.content(), draw)
        said, rows = _found(raw, table, content)
        if said:
            return None if all(map(REASON.match, said)) else f"{content!r}: {said}"
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        there = [row for row in csv.reader(text, skipinitialspace=True) if "".join(row).strip()]
        header = len(there) > len(rows) and ".png" not in there[0][0].lower()
        return None if len(there) - header == len(rows) else f"{content!r}: {rows}"

    return attempt


def _bytes_changed(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        changed[draw.randrange(len(changed))] = draw.choice([draw.randrange(256), *b'",\n\r\0 '])
    return bytes(changed)


def _bytes_put_in(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    more = draw.choice(['"', ",", "\n", '""', "\0", "\x85", "\u2028", "\ufeff", ".png", "nan"])
    return content[:place] + more.encode() + content[place:]


ATTEMPTS: dict[str, Callable[[Path, random.Random], str | None]] = {
    "honest": _honest,
    **{what: _spoiled(spoil) for what, spoil in SPOILED.items()},
    "row twice": _twice,
    "row missing": _without_row,
    "image missing": _without_image,
    "image in no row": _with_image,
    "bytes changed": _damaged(_bytes_changed),
    "bytes put in": _damaged(_bytes_put_in),
    "cut": _damaged(lambda content, draw: content[: draw.randrange(len(content))]),
    "UTF-16": _damaged(lambda content, _: content.decode("utf-8").encode("utf-16")),
    "Latin-1": _damaged(lambda content, _: content.replace(b"0", "é".encode("latin-1"))),
    "no text": _damaged(lambda content, draw: draw.randbytes(len(content))),
}
