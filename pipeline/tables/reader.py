"""Read a table's bytes: its separator, encoding and line ends are found in them."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import constants
from helper import printable
from pipeline.problem import Problem, RawDatasetError
from pipeline.tables.file_index import is_image

SEPARATORS = ",;\t|"
NO_NAME = re.compile(r"[\r\n]|\.\w{1,5}$")  # of a column: several lines, or a file's extension
SNIFFED = 2**14  # characters at a table's beginning, by which its separator is told
LONGEST_RECORD = 2**20  # characters of a line of JSON, which takes many times its length in memory
MARKS = (  # of encodings; that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Table:
    """A table's text, and how it is to be read.

    header: the cells of the first row where they may be names of columns; else None.
    separator: between cells; empty for JSON lines.
    """

    name: str
    text: str
    encoding: str
    separator: str
    header: tuple[str, ...] | None
    warnings: tuple[Problem, ...] = ()

    @property
    def title(self) -> str:
        return printable(self.name)

    def rows(self, has_header: bool | None = None) -> Iterator[tuple[int, list[str]]]:
        """The number of the first line, as an editor counts, and the cells of each row that is not empty.

        The rows are read anew each time: a table may be too large to be kept in pieces.

        Args:
            has_header: whether the first row is none of them; by default, where it may be a header.

        Raises:
            RawDatasetError: a row cannot be told from the next, or is no JSON.
        """
        if not self.separator:
            yield from _json_rows(self.name, self.text, self.header or ())
            return
        rows = _cells(self.name, self.text, self.separator)
        if self.header if has_header is None else has_header:
            next(rows, None)
        yield from rows


def read_table(content: bytes, name: str) -> Table:
    """The table that `content` spells; `name` is what problems call it, and ends in .jsonl for JSON lines.

    Raises:
        RawDatasetError: it is no text.
    """
    text, encoding, warnings = _decoded(content, name)
    if name.lower().endswith((".jsonl", ".ndjson")):
        return Table(name, text, encoding, "", _json_columns(name, text), warnings)
    separator = _separator(text)
    first = next(_cells(name, text, separator), None)
    header = tuple(cell.strip() for cell in first[1]) if first else ()
    may_be = may_be_header(header)
    return Table(name, text, encoding, separator, header if may_be else None, warnings)


def may_be_header(cells: tuple[str, ...]) -> bool:
    """Whether a first row may name the columns: words, no files. Of many, some may be called by numbers."""
    no_names = any(map(NO_NAME.search, cells)) or (len(cells) == 2 and any(map(is_number, cells)))
    return any(cells) and not no_names


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def refusal(kind: str, name: str, row: int | None, reason: str, cure: str) -> RawDatasetError:
    where = printable(name) if row is None else f"{printable(name)}, row {row}"
    return RawDatasetError([Problem(kind, f"{where}: {reason}", cure, file=name, row=row)])


def _decoded(content: bytes, name: str) -> tuple[str, str, tuple[Problem, ...]]:
    """The text, its encoding, and what had to be guessed for it."""
    encoding = next((known for mark, known in MARKS if content.startswith(mark)), "utf-8")
    cure = "Save the file as CSV in UTF-8."
    warnings: tuple[Problem, ...] = ()
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        # What ends within a character was cut off, as by a copy that goes on; no guess is right then.
        if encoding != "utf-8" or error.reason == "unexpected end of data":
            row = _row_of(content[: error.start].decode(encoding, "ignore"))
            reason = f"this is not {encoding.upper().removesuffix('-SIG')} text, or it is cut off."
            raise refusal("no text", name, row, reason, cure) from None
        text, encoding = _of_windows(content)
        warnings = (_guessed(name, text, encoding, error.start),)
    if "\0" in text:
        row = _row_of(text[: text.index("\0")])
        raise refusal("no text", name, row, "there is a NUL character.", cure)
    return text.removeprefix("\ufeff"), encoding, warnings


def _row_of(before: str) -> int:
    """The line that goes on behind that text."""
    return before.count("\n") + before.count("\r") - before.count("\r\n") + 1


def _of_windows(content: bytes) -> tuple[str, str]:
    try:
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:  # five bytes are no characters there
        return content.decode("latin-1"), "latin-1"


def _guessed(name: str, text: str, encoding: str, position: int) -> Problem:
    known, row = "Windows-1252" if encoding == "cp1252" else "Latin-1", _row_of(text[:position])
    around = text[max(0, position - 20) : position + 20]
    word = next(word for word in re.findall(r"\w+|[^\x00-\x7f]", around) if not word.isascii())
    return Problem(
        "encoding",
        f"{printable(name)} is not UTF-8 text and was read as {known}, first {printable(word)} (row {row}).",
        "If this word is wrong, save the file as CSV in UTF-8.",
        file=name,
        row=row,
    )


def _separator(text: str) -> str:
    """The one that splits most rows into as many cells as most others have, one of which names an image."""
    sample = text[:SNIFFED]
    if len(text) > SNIFFED:
        sample = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample
    return max(SEPARATORS, key=lambda separator: _fitness(sample, separator))


def _fitness(sample: str, separator: str) -> tuple[float, int, int]:
    rows: list[list[str]] = []
    try:
        rows += (cells for _, cells in _cells("", sample, separator))
    except RawDatasetError:
        pass  # the rows before may do, but do not stand for all
    widths = Counter(map(len, rows))
    width, count = max(widths.items(), key=lambda pair: (pair[1], pair[0]), default=(1, 0))
    if width == 1:
        return 0.0, 0, 0
    images = sum(any(is_image(cell.strip()) for cell in cells) for cells in rows)
    lines = sum(bool(line.strip()) for line in sample.splitlines())
    return count / max(lines, len(rows)), images, width


def _cells(name: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    before = 0
    try:
        for cells in reader:
            if "".join(cells).strip():
                yield before + 1, cells
            before = reader.line_num
    except csv.Error as error:
        raise refusal(
            "quotes", name, before + 1, f"{printable(error)}.", "Check the quotes of this row."
        ) from None


def _json_columns(name: str, text: str) -> tuple[str, ...]:
    """All keys, in the order in which they come up."""
    columns: dict[str, None] = {}
    for _, record in _json_records(name, text):
        columns.update(dict.fromkeys(record))
        if len(columns) > constants.MOST_COLUMNS:
            break
    return tuple(columns)


def _json_rows(name: str, text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    for number, record in _json_records(name, text):
        yield number, [_plain(record.get(column)) for column in columns]


def _json_records(name: str, text: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            record = _record(line)
        except (ValueError, RecursionError):
            reason = "this is no JSON object of a row."
            raise refusal("no JSON", name, number, reason, "Write one on each line.") from None
        yield number, record


def _record(line: str) -> dict:
    if len(line) > LONGEST_RECORD:
        raise ValueError("too long")
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("no object")
    if "\\u" in line:
        text = json.dumps(record, ensure_ascii=False)
        text.encode()  # half a character is in no text
        if "\\u0000" in text:
            raise ValueError("NUL")
    return record


def _plain(value: object) -> str:
    """A cell's text; empty for what no cell can hold."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else ""
