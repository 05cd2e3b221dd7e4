"""Read a split's groundtruth.csv: which image has which label.

Every row is accepted, or named with the reason why not.
"""

import csv
import io
import re
from dataclasses import dataclass

import constants
from helper import UserError, printable

INTEGER = re.compile(r"[0-9]{1,4000}")  # int() itself refuses more than 4,300 digits
LINE_BREAK = re.compile(r"[\r\n]")


class RawDatasetError(UserError):
    """What is wrong with a raw dataset: `problems`, one sentence each."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__(" ".join(first_few(problems)))


@dataclass
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
    rows, wrong, first_seen = [], [], {}
    filled = [
        (number, cells)
        for number, cells in _cells(content, place)
        if any(cell.strip() for cell in cells)
    ]
    if filled and _is_header(filled[0][1], files):
        del filled[0]
    for number, cells in filled:
        row, problem = _row(place, number, cells, split)
        if row and (earlier := first_seen.setdefault(row.file, number)) != number:
            problem = (
                f"{place}, row {number}: {printable(row.file)} is listed in row {earlier} already."
                " Delete one of the two rows."
            )
        if problem:
            wrong.append(problem)
        else:
            rows.append(row)
    if not rows and not wrong:
        wrong.append(f'{place} lists no image. Each split needs at least one row "file,label".')
    if wrong:
        raise RawDatasetError(wrong)
    return rows


def _cells(content: bytes, place: str) -> list[tuple[int, list[str]]]:
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
    rows, before = [], 0
    try:
        for cells in reader:
            rows.append((before + 1, cells))
            before = reader.line_num
    except csv.Error as error:
        raise refuse(before + 1, f"{error}. Check the quotes of this row.") from None
    return rows


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
    everything = [(split, row) for split, some in rows.items() for row in some]
    numbers = [(split, row) for split, row in everything if INTEGER.fullmatch(row.label)]
    if numbers and len(numbers) != len(everything):
        raise RawDatasetError([_mixed(everything, numbers)])
    if numbers:
        largest = max(int(row.label) for _, row in numbers)
        number_of = {row.label: int(row.label) for _, row in numbers}
        names = [str(number) for number in range(min(largest, constants.MAX_CLASSES) + 1)]
    else:
        names = sorted({row.label for _, row in everything})
        number_of = {name: number for number, name in enumerate(names)}
    found = [*_too_large(everything, number_of), *_unknown_in_test(rows, number_of)]
    if found:
        raise RawDatasetError(found)
    return number_of, names


def _mixed(everything: list[tuple[str, Row]], numbers: list[tuple[str, Row]]) -> str:
    is_number = {id(row) for _, row in numbers}
    rare_is_number = len(numbers) * 2 <= len(everything)
    split, row = next(pair for pair in everything if (id(pair[1]) in is_number) == rare_is_number)
    kind, others = ("a number", "names") if rare_is_number else ("a name", "numbers")
    return (
        f'{split}/{constants.GROUNDTRUTH}, row {row.number}: the label "{printable(row.label)}" is {kind},'
        f" most others are {others}. Use numbers only or names only, in both splits."
    )


def _too_large(everything: list[tuple[str, Row]], number_of: dict[str, int]) -> list[str]:
    return [
        f"{split}/{constants.GROUNDTRUTH}, row {row.number}: label {printable(row.label)} makes more than"
        f" {constants.MAX_CLASSES:,} classes. Number the classes from 0 without gaps, or use names."
        for split, row in everything
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


def first_few(sentences: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = len(sentences) - constants.MOST_PROBLEMS
    return (
        sentences if more <= 0 else [*sentences[: constants.MOST_PROBLEMS], f"And {more:,} more."]
    )
