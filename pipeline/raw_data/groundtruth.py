"""Read a split's groundtruth.csv: which image has which label. And number the labels.

Every row is accepted, or counted among those that are wrong for the same reason.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import constants
from helper import printable
from pipeline.problem import Problem, RawDatasetError
from pipeline.tables.columns import Columns, find_columns
from pipeline.tables.file_index import FileIndex
from pipeline.tables.reader import Table, read_table
from pipeline.tables.rows import RowReader

INTEGER = re.compile(r"[0-9]{1,4000}")  # int() itself refuses more than 4,300 digits
ENDINGS = frozenset(constants.IMAGE_SUFFIXES)  # of 4 or 5 characters: cut out faster than compared
EXAMPLES = 3  # labels that a problem names


@dataclass(slots=True)
class Row:
    number: int  # of its first line, as an editor counts
    file: str
    label: str


def read_rows(
    content: bytes, split: str, files: Collection[str], warnings: list[Problem] | None = None
) -> list[Row]:
    """The rows of a split's groundtruth.csv, each with the bare name of its image.

    `files` are the names in the split's folder. A row whose image is not among them is given back too:
    the image may still come. What was taken for granted is added to `warnings`.

    Raises:
        RawDatasetError: the file is no table, is empty, or a row is not of an image of this split.
    """
    elsewhere = [name for name in constants.SPLITS if name != split]
    index = FileIndex(files, elsewhere)
    try:
        table = read_table(content, f"{split}/{constants.GROUNDTRUTH}")
        columns = find_columns(table, index)
        if not isinstance(columns, Columns):
            raise RawDatasetError(columns)
        rows, reader = _rows(table, columns, index)
        if problems := reader.problems():
            raise RawDatasetError(problems)
    except RawDatasetError as error:
        raise RawDatasetError([replace(one, split=split) for one in error.problems]) from None
    if warnings is not None:
        warnings += [replace(warning, split=split) for warning in table.warnings]
    return rows


def _rows(table: Table, columns: Columns, index: FileIndex) -> tuple[list[Row], RowReader]:
    reader, files = RowReader(table, columns, index), index.paths
    rows: list[Row] = []
    first_seen: dict[str, int] = {}
    labels: set[str] = set()
    width, at_file = columns.width, columns.file
    at_label = columns.file if columns.label is None else columns.label
    enough = False
    for number, cells in table.rows(columns.has_header):
        if enough:
            reader.refuse("unread", number, f"{number}")
            break
        if (
            len(cells) == width
            and (label := cells[at_label]) in labels
            and (file := cells[at_file]) in files
            and (file[-4:] in ENDINGS or file[-5:] in ENDINGS)
        ):
            row = Row(number, file, label)  # as nearly all are: no need to look closer
        elif found := reader.read(number, cells, strict=True):
            row = Row(number, found.file, found.label)
            labels.add(row.label)
        else:
            enough = reader.is_enough
            continue
        if (earlier := first_seen.setdefault(row.file, number)) != number:
            again = f"{row.file} (row {number}, before in row {earlier})"
            reader.refuse("twice", number, again, row.file)
            enough = reader.is_enough
        else:
            rows.append(row)
    return rows, reader


def number_labels(
    rows: dict[str, list[Row]],
) -> tuple[dict[str, int], list[str], list[Problem]]:
    """The number of each label as the rows have it, the name of each class, and warnings.

    Numbers stay as they are where they are 0, 1, 2 ... without a gap. Else all labels are names, which
    are sorted and numbered from 0. Names are the same where they are in Unicode's form NFC.

    Raises:
        RawDatasetError: there are too many, or test has a label that train has not.
    """
    labels = {row.label for some in rows.values() for row in some}
    name_of = {label: unicodedata.normalize("NFC", label).strip() for label in labels}
    names = _in_order(set(name_of.values()))
    number_of_name = {name: number for number, name in enumerate(names)}
    if len(names) > constants.MAX_CLASSES:
        raise RawDatasetError([_too_many(names)])
    number_of = {label: number_of_name[name] for label, name in name_of.items()}
    if problems := _unknown(rows, number_of):
        raise RawDatasetError(problems)
    return number_of, names, _look_alikes(name_of)


def _in_order(names: set[str]) -> list[str]:
    """Sorted; as numbers where all are: 0, 1, 2 ... stay in their places, and so do 7, 007, 100."""
    if all(map(INTEGER.fullmatch, names)):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _too_many(names: list[str]) -> Problem:
    return Problem(
        "too many classes",
        f"there are {len(names):,} different labels, such as {_listed(names)}, at most"
        f" {constants.MAX_CLASSES:,} are allowed.",
        "See whether the labels are in the column that they were taken from.",
        count=len(names),
    )


def _unknown(rows: dict[str, list[Row]], number_of: dict[str, int]) -> list[Problem]:
    """Labels of another split that no training image has."""
    known = {number_of[row.label] for row in rows["train"]}
    problems = []
    for split, some in rows.items():
        unknown = [row for row in some if number_of[row.label] not in known]
        if not unknown:
            continue
        first, labels = unknown[0], Counter(row.label for row in unknown)
        kinds = "the label" if len(labels) == 1 else f"{len(labels):,} labels:"
        problems.append(
            Problem(
                "unknown label",
                f"{split}: no training image has {kinds} {_listed(labels)} ({len(unknown):,}"
                f" image{'s' * (len(unknown) != 1)}, first {printable(first.file)}, row"
                f" {first.number}).",
                "Add training images of each class, or correct the labels.",
                split=split,
                file=first.file,
                row=first.number,
                count=len(unknown),
                files=tuple(row.file for row in unknown[:5]),
            )
        )
    return problems


def _listed(labels: Iterable[str]) -> str:
    some = list(labels)
    text = ", ".join(f'"{printable(label)}"' for label in some[:EXAMPLES])
    return text if len(some) <= EXAMPLES else f"{text}, ..."


def _look_alikes(name_of: dict[str, str]) -> list[Problem]:
    """Names that a person may have meant to be one; and spellings that look the same and were made one."""
    alike, equal = defaultdict(set), defaultdict(set)
    for label, name in name_of.items():
        alike["".join(unicodedata.normalize("NFKC", name).casefold().split())].add(name)
        equal[name].add(label)
    several = [sorted(names) for names in alike.values() if len(names) > 1]
    joined = [name for name, labels in equal.items() if len(labels) > 1]
    warnings = []
    if several:
        pairs = "; ".join(sorted(_listed(names) for names in several)[:EXAMPLES])
        more = f", and {len(several) - EXAMPLES:,} more" if len(several) > EXAMPLES else ""
        warnings.append(
            Problem(
                "similar labels",
                f"class names differ only in case, spaces or Unicode form: {pairs}{more}.",
                "Each counts as a class of its own: if they are one, give them one name.",
                count=len(several),
            )
        )
    if joined:
        warnings.append(
            Problem(
                "joined labels",
                f"class names are written in several Unicode forms: {_listed(sorted(joined))}.",
                "Each counts as one class.",
                count=len(joined),
            )
        )
    return warnings
