"""Read a table row by row: which file has which label. What is wrong is said by cause, not by row."""

import posixpath
from collections import Counter
from dataclasses import dataclass, field

import constants
from helper import printable
from pipeline.problem import Problem
from pipeline.tables.columns import NO_AND_YES, SPLIT_NAMES, Columns
from pipeline.tables.file_index import FileIndex, is_image
from pipeline.tables.reader import Table

EXAMPLES = 5  # files that a problem names


@dataclass(slots=True)
class LabelledFile:
    """A row: its file, by its path in the raw dataset; `row` is its first line, as an editor counts."""

    file: str
    label: str
    split: str | None
    row: int


@dataclass(frozen=True)
class Cause:
    """Why rows are wrong: what is said of `{rows}` of them, and of the first one, `{first}`."""

    text: str
    cure: str = ""


CAUSES = {
    "missing": Cause("{rows} {name} files that are not there, first {first}."),
    "cells": Cause("{rows} {do} not have {width} cells, first {first}.", "Correct {them}."),
    "lines": Cause("{rows} {go} on over several lines, first {first}.", "Check the quotes."),
    "no image": Cause(
        "{rows} {name} no image, first {first}.",
        "An image is known by its extension, such as .png or .jpg.",
    ),
    "several": Cause(
        "{rows} {name} files of which there are several, first {first}.", "Write the folders too."
    ),
    "elsewhere": Cause(
        "{rows} {name} a file in another folder, first {first}.", "Give its name in this folder."
    ),
    "no label": Cause("{rows} {have} no label, first {first}.", "Add it."),
    "twice": Cause("{rows} {name} a file a second time, first {first}.", "Delete {them}."),
    "two labels": Cause(
        "{rows} {give} a file another label, first {first}.",
        "A file has one class: images of several cannot be learned from.",
    ),
    "multi-label": Cause(
        "{rows} {have} not exactly one class, first {first}.",
        "A file has one class: images of none or several cannot be learned from.",
    ),
    "no split": Cause("{rows} {have} no split, first {first}.", "Write train or test."),
    "unread": Cause("row {first} and those after it were not looked at."),
}
SINGULAR = {"do": "does", "have": "has", "name": "names", "go": "goes", "give": "gives"}


@dataclass
class _Wrong:
    count: int
    row: int
    first: str
    files: list[str] = field(default_factory=list)


class RowReader:
    """Reads rows one by one and keeps account of those that are wrong."""

    def __init__(self, table: Table, columns: Columns, index: FileIndex, beside: str = ""):
        self.table, self.columns, self.index, self.beside = table, columns, index, beside
        self._wrong: dict[str, _Wrong] = {}

    @property
    def is_enough(self) -> bool:
        """Whether so many rows are wrong that no further one is worth a look.

        Far more of them may name files that are not there: a copy may only have begun.
        """
        missing = self._wrong["missing"].count if "missing" in self._wrong else 0
        others = sum(wrong.count for wrong in self._wrong.values()) - missing
        return others >= constants.MOST_WRONG_ROWS or missing >= constants.MOST_MISSING

    def read(self, number: int, cells: list[str], strict: bool = False) -> LabelledFile | None:
        """The row, or None where something is wrong with it.

        Args:
            strict: whether the files are to lie in one folder; a row whose file is not there is then
                given back, with the bare name.
        """
        columns = self.columns
        if len(cells) != columns.width:
            cell = "cell" if len(cells) == 1 else "cells"
            text = (self.table.separator or ",").join(cells)[:60]
            self.refuse("cells", number, f'row {number} ({len(cells)} {cell}: "{text}")')
            return None
        file, label = cells[columns.file].strip(), self._label(cells)
        if any(end in file or end in label for end in "\r\n"):
            self.refuse("lines", number, f"row {number}")
            return None
        path = posixpath.join(self.beside, file)
        if path not in self.index.paths or not is_image(path):
            path = self._found(number, file, strict)
        if not path:
            return None
        if not label:
            kind = "no label" if columns.label is not None else "multi-label"
            self.refuse(kind, number, f"{file} (row {number})", file)
            return None
        split = None
        if columns.split is not None:
            split = SPLIT_NAMES.get(cells[columns.split].strip().lower())
            if not split:
                self.refuse("no split", number, f"{file} (row {number})", file)
                return None
        return LabelledFile(path, label, split, number)

    def _label(self, cells: list[str]) -> str:
        """Empty where there is none, or several."""
        if self.columns.label is not None:
            return cells[self.columns.label].strip()
        known = [
            self.columns.names[at]
            for at in self.columns.one_hot
            if NO_AND_YES[cells[at].strip().lower()]
        ]
        return known[0] if len(known) == 1 else ""

    def _found(self, number: int, cell: str, strict: bool) -> str:
        """The path of the file that `cell` names, or nothing where that is wrong."""
        found = self.index.candidates(cell, self.beside)
        where = f"{cell} (row {number})"
        if len(found) == 1:
            return found[0]
        name = posixpath.basename(cell.replace("\\", "/"))
        extension = posixpath.splitext(name)[1]
        if found:
            self.refuse("several", number, f"{where}: {found[0]} and {found[1]}", cell)
        elif name in ("", ".", "..") or (extension and not is_image(name)):
            self.refuse("no image", number, f'"{cell}" (row {number})', cell)
        elif strict and self.index.is_elsewhere(cell):
            self.refuse("elsewhere", number, where, cell)
        elif strict:
            return name
        else:
            self.refuse("missing", number, where, cell)
        return ""

    def refuse(self, kind: str, number: int, first: str, file: str = "") -> None:
        """Count a row that is wrong; of the first one of a kind, keep what is to be said."""
        wrong = self._wrong.get(kind)
        if not wrong:
            wrong = self._wrong[kind] = _Wrong(0, number, printable(first))
        wrong.count += 1
        if file and len(wrong.files) < EXAMPLES:
            wrong.files.append(file)

    def problems(self) -> list[Problem]:
        """One for each cause."""
        return [self._problem(kind, wrong) for kind, wrong in self._wrong.items()]

    def _problem(self, kind: str, wrong: _Wrong) -> Problem:
        single, name = wrong.count == 1, self.table.name
        words = {word: SINGULAR[word] if single else word for word in SINGULAR}
        words["them"] = "this row" if single else "these rows"
        words["rows"] = "1 row" if single else f"{wrong.count:,} rows"
        words["width"], words["first"] = f"{self.columns.width:,}", wrong.first
        return Problem(
            kind,
            f"{self.table.title}: {CAUSES[kind].text.format(**words)}",
            CAUSES[kind].cure.format(**words),
            file=name,
            row=wrong.row,
            count=wrong.count,
            files=tuple(wrong.files),
        )


def labelled_rows(
    table: Table, columns: Columns, index: FileIndex, beside: str = ""
) -> tuple[list[LabelledFile], list[Problem], list[Problem]]:
    """The rows of a table, each file once; what is wrong with others; and what was taken for granted.

    A row whose file is not there makes a problem of the kind "missing": it may still come.
    """
    reader = RowReader(table, columns, index, beside)
    rows: dict[str, LabelledFile] = {}
    again: Counter[str] = Counter()
    for number, cells in table.rows(columns.has_header):
        if reader.is_enough:
            reader.refuse("unread", number, f"{number}")
            break
        row = reader.read(number, cells)
        if row is None:
            continue
        earlier = rows.setdefault(row.file, row)
        if (earlier.label, earlier.split) != (row.label, row.split):
            said = f"{row.file}: {earlier.label} (row {earlier.row}), {row.label} (row {number})"
            reader.refuse("two labels", number, said, row.file)
        elif earlier is not row:
            again[row.file] += 1
    warnings = list(table.warnings)
    if again:
        warnings.append(_repeated(table, again))
    return list(rows.values()), reader.problems(), warnings


def _repeated(table: Table, again: Counter[str]) -> Problem:
    files = tuple(again)[:EXAMPLES]
    rows = again.total()
    return Problem(
        "repeated",
        f"{table.title}: {rows:,} row{'s' * (rows != 1)} said again what a row before did, first"
        f" {printable(files[0])}; each file counts once.",
        file=table.name,
        count=rows,
        files=files,
    )
