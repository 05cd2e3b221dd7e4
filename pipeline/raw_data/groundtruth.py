"""Read a split's groundtruth.csv: which image has which label.

Every row is accepted, or named with the reason why not.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import constants
from helper import printable
from pipeline.problem import RawDatasetError

INTEGER = re.compile(r"[0-9]{1,4000}")  # int() itself refuses more than 4,300 digits
LINE_BREAK = re.compile(r"[\r\n]")
ORDINARY = re.compile(r"[\w.-]+\.png", re.IGNORECASE)  # a name that needs no second look


@dataclass(slots=True)
class Row:
    number: int  # of its first line, as an editor counts
    file: str
    label: str


def read_rows(content: bytes, split: str, files: set[str]) -> list[Row]:
    """The rows of a split's groundtruth.csv, each with the bare name of its image.

    `files` are the names in the split's folder: a first row that could be a header is none if it names one.

    Raises:
        RawDatasetError: the file is no CSV in UTF-8, is empty, or a row is no "file,label" with
            a PNG of this split.
    """
    place = f"{split}/{constants.GROUNDTRUTH}"
    rows: list[Row] = []
    wrong: list[str] = []
    first_seen: dict[str, int] = {}
    labels: set[str] = set()
    row: Row | None
    filled = (one for one in _cells(content, place) if "".join(one[1]).strip())
    first = [(number, cells) for number, cells in islice(filled, 1) if not _is_header(cells, files)]
    for number, cells in chain(first, filled):
        if len(cells) == 2 and cells[1] in labels and ORDINARY.fullmatch(cells[0]):
            row, problem = Row(number, *cells), ""  # as nearly all are: no need to look closer
        else:
            row, problem = _row(place, number, cells, split)
        if row and (earlier := first_seen.setdefault(row.file, number)) != number:
            problem = (
                f"{place}, row {number}: {printable(row.file)} is listed in row {earlier} already."
                " Delete one of the two rows."
            )
        if problem and len(wrong) == constants.MOST_WRONG_ROWS:
            wrong.append(f"{place}, row {number}: this row and those after it were not looked at.")
            break
        if problem:
            wrong.append(problem)
        elif row:
            rows.append(row)
            labels.add(row.label)
    if not rows and not wrong:
        wrong.append(f'{place} lists no image. Each split needs at least one row "file,label".')
    if wrong:
        raise RawDatasetError(wrong)
    return rows


def _cells(content: bytes, place: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the first line, and the cells, of each row."""

    def refuse(row: int, reason: str) -> RawDatasetError:
        return RawDatasetError([f"{place}, row {row}: {reason}"])

    def row_at(position: int) -> int:
        return len((content[:position] + b".").splitlines())

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = "this is not UTF-8 text. Save the file as CSV in UTF-8."
        raise refuse(row_at(error.start), reason) from None
    if "\0" in text:
        reason = "there is a NUL character. Save the file as CSV in UTF-8."
        raise refuse(row_at(content.index(0)), reason)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    before = 0
    try:
        for cells in reader:
            yield before + 1, cells
            before = reader.line_num
    except csv.Error as error:
        raise refuse(before + 1, f"{error}. Check the quotes of this row.") from None


def _is_header(cells: list[str], files: set[str]) -> bool:
    """A first row such as "file,label": two words, the first of which names no file."""
    if len(cells) != 2:
        return False
    first, second = (cell.strip() for cell in cells)
    return (
        first not in files
        and "." not in first
        and second != ""
        and not second.lower().endswith(".png")
        and not _is_number(second)
        and not LINE_BREAK.search(first + second)
    )


def _row(place: str, number: int, cells: list[str], split: str) -> tuple[Row | None, str]:
    """The row, or why it is none."""
    where = f"{place}, row {number}"
    if len(cells) != 2:
        columns = f"{len(cells)} column{'s' * (len(cells) != 1)}"
        return None, f'{where}: {columns}, expected "file,label". Correct the row.'
    file, label = cells[0].strip(), cells[1].strip()
    if LINE_BREAK.search(file + label):
        return None, f"{where}: the row goes on over several lines. Check its quotes."
    parts = re.split(r"[/\\]", file)
    if not parts[-1].lower().endswith(".png"):
        return (
            None,
            f'{where}: "{printable(file)}" names no PNG. Only images named *.png are read; convert it.',
        )
    if len(parts) > 1 and parts[-2] != split:
        return (
            None,
            f'{where}: "{printable(file)}" is not in {split}/. Give the image\'s name in that folder.',
        )
    if not label:
        return None, f"{where}: the label of {printable(file)} is empty. Add it."
    if not INTEGER.fullmatch(label) and _is_number(label):
        return None, (
            f'{where}: "{printable(label)}" is no label. Labels are whole numbers of 0 or more, or names.'
        )
    return Row(number, parts[-1], label), ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number_labels(rows: dict[str, list[Row]]) -> tuple[dict[str, int], list[str]]:
    """The number of each label and the name of each class.

    Whole numbers stay as they are; names are sorted and numbered from 0.

    Raises:
        RawDatasetError: both kinds are there, a number is too large, or test has a label that train has not.
    """
    labels = {row.label for some in rows.values() for row in some}
    numbers = {label for label in labels if INTEGER.fullmatch(label)}
    if numbers and numbers != labels:
        raise RawDatasetError([_mixed(rows, numbers)])
    if numbers:
        number_of = {label: int(label) for label in numbers}
        names = [
            str(number) for number in range(min(max(number_of.values()), constants.MAX_CLASSES) + 1)
        ]
    else:
        names = sorted(labels)
        number_of = {name: number for number, name in enumerate(names)}
    found = [*_too_large(rows, number_of), *_unknown_in_test(rows, number_of)]
    if found:
        raise RawDatasetError(found)
    return number_of, names


def _mixed(rows: dict[str, list[Row]], numbers: set[str]) -> str:
    everything = [(split, row) for split, some in rows.items() for row in some]
    rare_is_number = sum(row.label in numbers for _, row in everything) * 2 <= len(everything)
    split, row = next(pair for pair in everything if (pair[1].label in numbers) == rare_is_number)
    kind, others = ("a number", "names") if rare_is_number else ("a name", "numbers")
    return (
        f'{split}/{constants.GROUNDTRUTH}, row {row.number}: the label "{printable(row.label)}" is {kind},'
        f" most others are {others}. Use numbers only or names only, in both splits."
    )


def _too_large(rows: dict[str, list[Row]], number_of: dict[str, int]) -> list[str]:
    return [
        f"{split}/{constants.GROUNDTRUTH}, row {row.number}: label {printable(row.label)} makes more than"
        f" {constants.MAX_CLASSES:,} classes. Number the classes from 0 without gaps, or use names."
        for split, some in rows.items()
        for row in some
        if number_of[row.label] >= constants.MAX_CLASSES
    ]


def _unknown_in_test(rows: dict[str, list[Row]], number_of: dict[str, int]) -> list[str]:
    known = {number_of[row.label] for row in rows["train"]}
    return [
        f"test/{constants.GROUNDTRUTH}, row {row.number}: no training image has the label"
        f' "{printable(row.label)}". Add training images of this class, or correct the label.'
        for row in rows["test"]
        if number_of[row.label] not in known
    ]
