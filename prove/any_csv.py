"""Any groundtruth.csv is accepted whole, or refused with the row and the reason.

Honest tables are written in all the ways that programs write them: separators, encodings, line ends,
headers, paths, further columns; then one thing is spoiled, or bytes are changed by chance. What is
accepted must hold each row of the table, in its order.
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
from pipeline.raw_data.folder_scan import FolderScan, scan
from pipeline.raw_data.ingestion_settings import IngestionSettings
from pipeline.raw_data.layouts import recognize
from pipeline.raw_data.raw_dataset import read
from prove import Result
from testkit.raw_datasets import make_raw_dataset

TEST = 3  # images in the test split, all of one class
FILES = [f"{number:06d}.png" for number in range(9)]
PREFIXES = ("", "", "./", "train/", "data/raw_dataset/train/", "..\\train\\", "C:\\of\\others\\")
HEADERS = ((), ("file", "label"), ('"file"', '"label"'), ("image ", " class"), ("Path", "dx"))
SEPARATORS = ",,;\t|"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252")
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0")
ENDS = ("\n", "\r\n", "\r")
LABELS = (
    ("cat", "dog, or not", "猫"),
    ("chat", "chien, né", "éléphant | d'Asie"),
    ("0", "1", "002"),
    ("0", "1", "2"),
    ("nan", "inf", "None"),
    ("1e400", "-0", "1_0"),
    ("-1", "1.5", "9" * 5000),
    ("10000000", "٣", "cat"),
)
# What is written in place of a row, which then is refused with its number.
SPOILED: dict[str, Callable[[str, str], str]] = {
    "no label": lambda file, _: f"{file},",
    "no file": lambda _, label: f",{label}",
    "one column": lambda file, _: file,
    "three columns": lambda file, label: f"{file},{label},{label}",
    "another separator": lambda file, _: f"{file}/0",
    "no image": lambda file, label: f"{file[:-4]}.txt,{label}",
    "other split": lambda file, label: f"test/{file[-10:]},{label}",
    "parent": lambda file, label: f"../{file[-10:]},{label}",
    "missing image": lambda _, label: f"999999.png,{label}",
    "NUL": lambda file, label: f"{file}\0,{label}",
    "open quote": lambda file, label: f'"{file},{label}',
    "letters after a quote": lambda file, label: f'"{file}"x,{label}',
    "line break in quotes": lambda file, label: f'"{file}\nx.png",{label}',
}
IMAGE = re.compile(r"\.png\s*$", re.IGNORECASE)
REASON = re.compile(
    r"(train|test)(/groundtruth\.csv)?"
    r"(, row \d+: |: | lists no image\.| has one column| names no file that is there)"
)


@dataclass
class Table:
    """An honest table: its rows, and how they are written."""

    rows: list[tuple[str, str]]
    lines: list[str]
    place: list[int]  # of each row among the lines
    separator: str
    end: str
    encoding: str

    def content(self) -> bytes:
        return self.end.join(self.lines).encode(self.encoding)


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


def _table(draw: random.Random, more: bool = False) -> Table:
    """One with two columns, or with `more`."""
    labels = draw.sample(draw.choice(LABELS), 3) * 3
    rows = list(zip(draw.sample(FILES, len(FILES)), labels, strict=True))
    separator, prefix, order = draw.choice(SEPARATORS), draw.choice(PREFIXES), [0, 1]
    header = draw.choice(HEADERS[more:])
    cut = 4 if more and draw.random() < 0.5 else 0  # the extension may be left out
    if more:
        order = draw.sample(range(4), 4)
        header = (*header, *draw.choice([("", "age"), ("id", "width"), ("set", "comment")]))
    lines, place = [], []
    if header:
        lines.append(separator.join(header[column] for column in order))
    for number, (file, label) in enumerate(rows):
        lines += [""] * (draw.random() < 0.1)
        place.append(len(lines))
        further = (str(number), str(draw.choice([1.5, 20, 333]))) if more else ()
        cells = [prefix + file[: len(file) - cut], label, *further]
        lines.append(separator.join(_quoted(cells[at], separator, draw) for at in order))
    lines += [""] * draw.randrange(3)
    table = Table(rows, lines, place, separator, draw.choice(ENDS), draw.choice(ENCODINGS))
    try:
        table.content()
    except UnicodeEncodeError:
        table.encoding = "utf-8"
    return table


def _quoted(cell: str, separator: str, draw: random.Random) -> str:
    if separator in cell or draw.random() < 0.3:
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
    look = scan(raw)
    change(look)
    try:
        layout = recognize(raw, look)
        images = len(
            read(raw, look, layout, IngestionSettings(8), lambda _: None).splits["train"]["img"]
        )
    except RawDatasetError as error:
        return list(map(str, error.problems)), []
    rows = [(row.file.removeprefix("train/"), row.label) for row in layout.rows["train"]]
    return [] if images == len(rows) else [f"{images} images for {len(rows)} rows"], rows


def _honest(raw: Path, draw: random.Random) -> str | None:
    table = _table(draw, more=draw.random() < 0.5)
    said, rows = _found(raw, table)
    return None if rows == table.rows else f"{table.content()!r}: {said or rows}"


def _spoiled(spoil: Callable[[str, str], str]) -> Callable[[Path, random.Random], str | None]:
    def attempt(raw: Path, draw: random.Random) -> str | None:
        table, which = _table(draw), draw.randrange(len(FILES))
        line = table.place[which]
        table.lines[line] = spoil(*table.rows[which]).replace(",", table.separator)
        said, _ = _found(raw, table)
        # The first row without a file's name may be a header: then its image is in no row.
        first = not any(table.lines[:line])
        named = _names_row(said, line + 1) or (first and _names_file(said, table.rows[which][0]))
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
    said, _ = _found(raw, table, change=lambda look: look.folders["train"].files.pop(file))
    return None if _names_row(said, table.place[which] + 1) else f"{table.content()!r}: {said}"


def _with_image(raw: Path, draw: random.Random) -> str | None:
    more = {"more.png": (1, 1, 1, 1)}
    table = _table(draw)
    said, _ = _found(raw, table, change=lambda look: look.folders["train"].files.update(more))
    return None if _names_file(said, "more.png") else f"{table.content()!r}: {said}"


def _damaged(damage: Callable[[bytes, random.Random], bytes]) -> Callable:
    """An attempt at bytes that need not be a CSV: a reason for all, or all rows that are there."""

    def attempt(raw: Path, draw: random.Random) -> str | None:
        table = _table(draw)
        content = damage(table.content(), draw)
        said, rows = _found(raw, table, content)
        if said:
            return None if all(map(REASON.match, said)) else f"{content!r}: {said}"
        return None if _is_all_of(content, len(rows)) else f"{content!r}: {rows}"

    return attempt


def _is_all_of(content: bytes, rows: int) -> bool:
    """Whether a table of these bytes, as some separator has it, has so many rows and perhaps a header."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        wide = b"\0\0" in content[:4]
        text = content.decode("utf-32" if wide else "utf-16")
    else:
        text = next(filter(None, (_decoded(content, name) for name in ("utf-8-sig", "cp1252"))), "")
        text = text or content.decode("latin-1")
    for separator in set(SEPARATORS):
        lines = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        found = [row for row in lines if "".join(row).strip()]
        header = len(found) > rows and not any(map(IMAGE.search, found[0]))
        if len(found) - header == rows:
            return True
    return False


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return ""


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
    "another mark": _damaged(lambda content, draw: draw.choice(MARKS) + content),
    "Latin-1": _damaged(lambda content, _: content.replace(b"0", "é".encode("latin-1"))),
    "no text": _damaged(lambda content, draw: draw.randbytes(len(content))),
}
