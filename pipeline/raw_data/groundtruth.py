"""The project's own layout: train/ and test/, each with images and a groundtruth.csv of a row per image.

It is strict: what a table lists has to be there, and what is there has to be listed, so a copy that is
under way is never taken for the whole. Every row is accepted, or counted among those that are wrong for
the same reason.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from pathlib import Path

import constants
from helper import printable
from pipeline.images.image_reader import TRANSIENT_ERRNOS, read_raw
from pipeline.problem import Problem, RawDatasetError
from pipeline.raw_data.folder_scan import FolderScan, ScannedFolder, joined
from pipeline.stage.text import count
from pipeline.tables.columns import Columns, find_columns
from pipeline.tables.file_index import FileIndex
from pipeline.tables.reader import Table, read_table
from pipeline.tables.rows import RowReader

INTEGER = re.compile(r"[0-9]{1,4000}")  # int() itself refuses more than 4,300 digits
ENDINGS = frozenset(constants.IMAGE_SUFFIXES)  # of 4 or 5 characters: cut out faster than compared
EXAMPLES = 3  # labels that a problem names
NOT_PLAIN = "is not a plain file (a link, a folder or a device)"


@dataclass(slots=True)
class Row:
    number: int | None  # of its first line, as an editor counts; None where no table says it
    file: str
    label: str


def is_own_layout(look: FolderScan, base: str) -> bool:
    """Whether one of its splits has a groundtruth.csv."""
    splits = (look.folders.get(joined(base, split)) for split in constants.SPLITS)
    return any(split and constants.GROUNDTRUTH in _names(split) for split in splits)


def own_rows(
    folder: Path, look: FolderScan, base: str, warnings: list[Problem]
) -> dict[str, list[Row]]:
    """The rows of both splits, each with its image's path in the raw dataset.

    What was taken for granted is added to `warnings`.

    Raises:
        RawDatasetError: something is not there yet, or is wrong.
    """
    splits = {split: look.folders.get(joined(base, split)) for split in constants.SPLITS}
    if problems := _without_folder(splits):
        raise RawDatasetError(problems)
    rows: dict[str, list[Row]] = {}
    for name, split in splits.items():
        assert split is not None
        try:
            rows[name] = _rows_of(folder, base, name, split, warnings)
        except RawDatasetError as error:
            problems += error.problems
    if problems:
        raise RawDatasetError(problems)
    placed = {
        name: [Row(row.number, joined(joined(base, name), row.file), row.label) for row in some]
        for name, some in rows.items()
    }
    for name, some in rows.items():
        problems += _unmatched(name, some, look.folders[joined(base, name)])
    try:
        number_labels(placed)
    except RawDatasetError as error:
        problems += error.problems
    if problems:
        raise RawDatasetError(problems)
    return placed


def _names(split: ScannedFolder) -> set[str]:
    return {*split.files, *split.others, *split.subfolders}


def _without_folder(splits: dict[str, ScannedFolder | None]) -> list[Problem]:
    absent = [
        Problem("missing", f"{name}: there is no folder {name}/ yet.", split=name)
        for name, split in splits.items()
        if split is None
    ]
    return absent + [
        Problem(
            "unreadable",
            f"{name}: the folder {name}/ cannot be read: {split.trouble}.",
            "Make it readable.",
            split=name,
        )
        for name, split in splits.items()
        if split and split.trouble
    ]


def _rows_of(
    folder: Path, base: str, name: str, split: ScannedFolder, warnings: list[Problem]
) -> list[Row]:
    table = f"{name}/{constants.GROUNDTRUTH}"
    if constants.GROUNDTRUTH not in _names(split):
        raise RawDatasetError(
            [
                Problem(
                    "missing",
                    f"{table} is not there yet.",
                    'It needs a row "file,label" for each image.',
                    split=name,
                    file=table,
                )
            ]
        )
    if constants.GROUNDTRUTH not in split.files:
        cure = "Put the file itself there."
        raise RawDatasetError([Problem("not a file", f"{table} {NOT_PLAIN}.", cure, name, table)])
    try:
        path = folder / split.targets.get(constants.GROUNDTRUTH, joined(base, table))
        content = read_raw(str(path), constants.MOST_TABLE_BYTES)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
        text = f"{table} cannot be read: {error.strerror}."
        raise RawDatasetError(
            [Problem("unreadable", text, "Make it readable.", name, table)]
        ) from None
    return read_rows(content, name, set(split.files), warnings)


def _unmatched(name: str, rows: list[Row], split: ScannedFolder) -> list[Problem]:
    """Rows with no image and images with no row."""
    problems = []
    plain = split.images
    others = {*split.others, *split.subfolders}
    if linked := [row for row in rows if row.file in others]:
        first = linked[0]
        problems.append(
            Problem(
                "not a file",
                f"{name}/{constants.GROUNDTRUTH}, row {first.number}: {printable(first.file)} {NOT_PLAIN}.",
                "Copy the image itself there.",
                name,
                first.file,
                first.number,
                len(linked),
            )
        )
    if absent := [row for row in rows if row.file not in plain and row.file not in others]:
        first, verb = absent[0], "is" if len(absent) == 1 else "are"
        problems.append(
            Problem(
                "missing",
                f"{name}: {len(absent):,} of {count(len(rows), 'listed image')} {verb} not there yet,"
                f" first {printable(first.file)} (row {first.number}).",
                "",
                name,
                first.file,
                first.number,
                len(absent),
            )
        )
    if unlisted := sorted(plain - {row.file for row in rows}):
        verb = "has" if len(unlisted) == 1 else "have"
        problems.append(
            Problem(
                "missing",
                f"{name}: {len(unlisted):,} of {count(len(plain), 'image')} {verb} no row in"
                f" {constants.GROUNDTRUTH} yet, first {printable(unlisted[0])}.",
                "",
                name,
                unlisted[0],
                None,
                len(unlisted),
            )
        )
    return problems


def read_rows(
    content: bytes, split: str, files: Set[str], warnings: list[Problem] | None = None
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
        rows, reader = _checked_rows(table, columns, index)
        if problems := reader.problems():
            raise RawDatasetError(problems)
    except RawDatasetError as error:
        raise RawDatasetError([replace(one, split=split) for one in error.problems]) from None
    if warnings is not None:
        warnings += [replace(warning, split=split) for warning in table.warnings]
    return rows


def _checked_rows(table: Table, columns: Columns, index: FileIndex) -> tuple[list[Row], RowReader]:
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
