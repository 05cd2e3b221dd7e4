"""Images and tables: which of the tables in a raw dataset says which class each image has."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import constants
from helper import printable
from pipeline.images.image_reader import TRANSIENT_ERRNOS, read_raw
from pipeline.problem import Problem, RawDatasetError
from pipeline.raw_data.folder_scan import FolderScan, joined
from pipeline.raw_data.groundtruth import Row
from pipeline.stage.text import count
from pipeline.tables.columns import Columns, find_columns
from pipeline.tables.file_index import FileIndex
from pipeline.tables.reader import Table, read_table
from pipeline.tables.rows import LabelledFile, labelled_rows

MOST_TABLES = 20  # a tree with more of them has a table for each image, or so


@dataclass
class FittingTable:
    """A table that names images and classes."""

    path: str
    table: Table
    columns: Columns

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def part(self) -> str:
        """The part that its name, or a folder that it lies in, says; "" for none."""
        return part_of_path(str(PurePosixPath(self.path).with_suffix("")))


def part_of_path(path: str) -> str:
    """The part that the innermost component of `path` with such a name says."""
    words = (constants.PARTS.get(word.casefold(), "") for word in reversed(path.split("/")))
    return next(filter(None, words), "")


class TableFiles:
    """The tables in the tree of a raw dataset."""

    def __init__(self, folder: Path, look: FolderScan):
        self.folder, self.look = folder, look
        self.images = look.images_below("")
        self.index = FileIndex(set(self.images))
        self.problems: list[Problem] = []
        self.fitting: list[FittingTable] = []
        paths = [
            joined(path, name)
            for path, some in look.folders.items()
            for name in sorted(some.files)
            if name.lower().endswith(constants.TABLE_SUFFIXES)
        ]
        if self.images and len(paths) <= MOST_TABLES:
            for path in paths:
                self._try(path)

    def _try(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        try:
            opened_as = self.folder / self.look.opened_as(path)
            table = read_table(read_raw(str(opened_as), constants.MOST_TABLE_BYTES), path)
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            text = f"{printable(path)} cannot be read: {error.strerror}."
            self.problems.append(Problem("unreadable", text, "Make it readable.", file=path))
            return
        except RawDatasetError as error:
            self.problems += error.problems
            return
        columns = find_columns(table, self.index, folder)
        if isinstance(columns, Columns):
            self.fitting.append(FittingTable(path, table, columns))
        else:
            self.problems += columns

    def contradict(self, by_folder: dict[str, list[Row]]) -> bool:
        """Whether the one table that names most of these images has other classes than their folders."""
        if len(self.fitting) != 1:
            return False
        rows = self._rows_of(self.fitting[0])[0]
        class_of = {row.file: row.label for row in rows}
        pairs = {
            (row.label, class_of[row.file])
            for some in by_folder.values()
            for row in some
            if row.file in class_of
        }
        by_both = sum(row.file in class_of for some in by_folder.values() for row in some)
        one_to_one = (
            len({folder for folder, _ in pairs}) == len(pairs) == len({c for _, c in pairs})
        )
        return by_both * 2 > len(self.images) and not one_to_one

    def _rows_of(
        self, fitting: FittingTable
    ) -> tuple[list[LabelledFile], list[Problem], list[Problem]]:
        return labelled_rows(fitting.table, fitting.columns, self.index, fitting.folder)

    def read(self) -> tuple[str, dict[str, list[Row]], list[str], list[Problem]] | None:
        """What the layout is called, the rows by part, the images set aside, and warnings.

        None where no table names images.

        Raises:
            RawDatasetError: it is not clear which table counts, or the one that does has a fault.
        """
        if not self.fitting:
            if self.problems:
                raise RawDatasetError(self.problems)
            return None
        read = {fitting.path: self._rows_of(fitting) for fitting in self.fitting}
        if len(self.fitting) > 1:  # one that says the same of all is a form to fill in
            self.fitting = [
                fitting
                for fitting in self.fitting
                if len({row.label for row in read[fitting.path][0]}) > 1
            ]
        parts = [fitting.part for fitting in self.fitting]
        if len(set(parts)) < len(parts) or (len(parts) > 1 and "" in parts) or not parts:
            raise RawDatasetError([self._several(list(read))])
        rows: dict[str, list[Row]] = defaultdict(list)
        problems: list[Problem] = []
        warnings: list[Problem] = []
        for fitting in self.fitting:
            some, wrong, odd = read[fitting.path]
            problems += wrong
            warnings += odd
            for row in some:
                part = row.split or part_of_path(row.file) or fitting.part or "train"
                rows[part].append(Row(row.row, row.file, row.label))
        if problems:
            raise RawDatasetError(problems)
        set_aside, unlisted = self._without_row(rows)
        if unlisted:
            warnings.append(_not_listed(unlisted, self.fitting))
        names = " and ".join(printable(fitting.path) for fitting in self.fitting)
        return f"images with {names}", dict(rows), set_aside, warnings

    def _several(self, paths: list[str]) -> Problem:
        names = [printable(path) for path in paths]
        return Problem(
            "several tables",
            f"{len(names)} tables name images and classes: {' and '.join(names[:3])}.",
            f"Say which one counts: leave one of them there, or write a {constants.GROUNDTRUTH} of two"
            ' columns, "file,label".',
            file=paths[0],
            count=len(names),
        )

    def _without_row(self, rows: dict[str, list[Row]]) -> tuple[list[str], list[str]]:
        """The images of an unlabelled test part, and the others that no table names."""
        named = {row.file for some in rows.values() for row in some}
        without = [file for file in self.images if file not in named]
        if "test" in rows:
            return [], without
        tests = [file for file in without if part_of_path(file.rpartition("/")[0]) == "test"]
        return tests, [file for file in without if file not in set(tests)]


def _not_listed(files: list[str], tables: list[FittingTable]) -> Problem:
    names = " or ".join(printable(fitting.path) for fitting in tables)
    verb = "is" if len(files) == 1 else "are"
    text = (
        f"{count(len(files), 'image')} {verb} not named in {names}, first"
        f" {printable(files[0])}: left out."
    )
    return Problem.about("not listed", text, files)
