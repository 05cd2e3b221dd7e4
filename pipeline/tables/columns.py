"""Find a table's columns by what is in them: files, classes and splits."""

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations, islice

import constants
from helper import printable
from pipeline.problem import Problem, RawDatasetError
from pipeline.tables.file_index import FileIndex, is_image
from pipeline.tables.reader import Table, is_number

SAMPLE = 300  # rows by which the files are found
# What columns are called, in lower case and without what is no letter or digit.
FILE_WORDS = set(
    "file filename files filepath image imagename imageid imagepath images imagefile img imgname imgid"  # noqa: SIM905
    " imgpath path photo picture id name".split()
)
LABEL_WORDS = set(
    "label labels class classes category categories target targets species diagnosis dx breed y"  # noqa: SIM905
    " groundtruth gt tag tags variety disease emotion".split()
)
AFTER_LABEL = set("id index idx name names no nr num number text code".split())  # noqa: SIM905
SPLIT_WORDS = set("split splits set subset partition datasplit fold".split())  # noqa: SIM905
SPLIT_NAMES = {  # folders may have the first of these names alone
    **constants.PARTS,
    "trn": "train",
    "tst": "test",
    "validate": "validation",
    "dev": "validation",
}
NO_AND_YES = {
    **dict.fromkeys(("0", "0.0", "false", ""), False),
    **dict.fromkeys(("1", "1.0", "true"), True),
}
ONE_TABLE = 'Keep two columns, "file" and "label", in a table called groundtruth.csv.'


@dataclass(frozen=True)
class Columns:
    """Where a table says what: numbers of columns, counted from 0.

    label: None where each class has a column of its own; then `one_hot` has these.
    names: of all columns, empty where they have none.
    """

    file: int
    label: int | None
    split: int | None
    one_hot: tuple[int, ...]
    names: tuple[str, ...]
    width: int

    @property
    def has_header(self) -> bool:
        return bool(self.names)


def find_columns(table: Table, index: FileIndex, beside: str = "") -> Columns | list[Problem]:
    """The columns of `table`, or why they cannot be told.

    `beside` is the folder, within that of `index`, that the table is about.
    """
    try:
        sample = list(islice(table.rows(), SAMPLE))
        width = _width(table, [cells for _, cells in sample])
        rows = [cells for _, cells in sample if len(cells) == width]
        names = _fitting(table.header or (), width, rows)
        file = _file_column(table, names, rows, index, beside)
        if table.separator and names and _names_a_file(names, file, index, beside):
            names = ()
        return _with_label(_Finder(table, names, file, width))
    except RawDatasetError as error:
        return error.problems


def _refusal(kind: str, text: str, cure: str) -> RawDatasetError:
    return RawDatasetError([Problem(kind, text, cure)])


def _width(table: Table, rows: list[list[str]]) -> int:
    """How many cells most rows have."""
    if not rows:
        raise _refusal(
            "empty",
            f"{table.title} lists no image.",
            'It needs at least one row of two columns, "file,label".',
        )
    width, _ = Counter(map(len, rows)).most_common(1)[0]
    if width == 1:
        cells = table.header or next(cells for cells in rows if len(cells) == 1)
        first = printable(cells[0].strip())[:80]
        raise _refusal(
            "columns",
            f'{table.title} has one column, first "{first}", expected at least two, "file,label".',
            "Add the labels, and commas, semicolons, tabs or | between the columns.",
        )
    if width > constants.MOST_COLUMNS:
        raise _refusal(
            "columns",
            f"{table.title} has {width:,} columns, at most {constants.MOST_COLUMNS:,} are read.",
            ONE_TABLE,
        )
    return width


def _fitting(header: tuple[str, ...], width: int, rows: list[list[str]]) -> tuple[str, ...]:
    """A name for each column: R writes none above the rows' own names, others none above the end."""
    if len(header) == width - 1:
        ends = {cells[-1].strip() for cells in rows}
        return (*header, "") if ends == {""} else ("", *header)
    return tuple(header[:width]) + ("",) * (width - len(header)) if header else ()


def _file_column(
    table: Table, names: tuple[str, ...], rows: list[list[str]], index: FileIndex, beside: str
) -> int:
    """The one that names most of the files that are there, or else looks most as if it did."""
    columns = range(len(rows[0]))
    files = [{_path(cells[at], beside) for cells in rows} & index.paths for at in columns]
    if 2 * max(map(len, files)) < len(rows):  # names alone would have been a quick answer
        files = [
            {path for cells in rows for path in index.candidates(cells[at], beside)[:1]}
            for at in columns
        ]
    images = [sum(is_image(cells[at].strip()) for cells in rows) for at in columns]
    named = [bool(names) and _plain(names[at]) in FILE_WORDS for at in columns]
    scores = [(len(files[at]), images[at], named[at]) for at in columns]
    best = max(columns, key=lambda at: scores[at])
    if not any(scores[best][:2]):
        raise _refusal(
            "missing",
            f"{table.title} names no file that is there: its first row is"
            f' "{_row_text(table, rows[0])}".',
            'One of its columns has to name the images, as "cat.png" or "images/cat.png".',
        )
    others = [at for at in columns if at != best and scores[at] == scores[best] and images[at]]
    if others and files[others[0]] != files[best]:
        both = f"{_called(names, best)} and {_called(names, others[0])}"
        raise _refusal("columns", f"{table.title}: {both} both name images.", ONE_TABLE)
    return best


def _path(cell: str, beside: str) -> str:
    return posixpath.join(beside, cell.strip())


def _row_text(table: Table, cells: list[str]) -> str:
    return printable((table.separator or ",").join(cells))[:80]


def _names_a_file(names: tuple[str, ...], file: int, index: FileIndex, beside: str) -> bool:
    """Whether the first row is no header, as it names a file, by chance of another name than "file"."""
    sure = _plain(names[file]) in FILE_WORDS and any(map(_is_label_word, names))
    return not sure and bool(index.candidates(names[file], beside))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _is_label_word(name: str) -> bool:
    """Such as "label", "Class ID", "image_label"; not "y_min"."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    if not words or "".join(words) in LABEL_WORDS:
        return bool(words)
    if len(words) > 1 and words[-1] in AFTER_LABEL:
        words.pop()
    return words[-1] in LABEL_WORDS - {"y"}


def _called(names: tuple[str, ...], column: int) -> str:
    name = names[column] if names else ""
    return f'"{printable(name)}"' if name else f"column {column + 1}"


@dataclass
class _Finder:
    table: Table
    names: tuple[str, ...]
    file: int
    width: int
    # What is in each of the other columns; none where there are too many values for classes.
    values: dict[int, set[str]] = field(default_factory=dict)
    count: int = 0

    def look_through(self, most_rows: int | None = None) -> None:
        self.values = {at: set() for at in range(self.width) if at != self.file}
        self.count = 0
        for _, cells in islice(self.table.rows(bool(self.names)), most_rows):
            if len(cells) != self.width:
                continue
            self.count += 1
            for at, seen in self.values.items():
                seen.add(cells[at].strip())
            if not self.count % 1000:
                self.values = {
                    at: seen
                    for at, seen in self.values.items()
                    if len(seen) <= constants.MAX_CLASSES
                }

    def said(self, column: int) -> set[str]:
        return self.values.get(column, set()) - {""}

    def is_split(self, column: int) -> bool:
        said = {word.lower() for word in self.said(column)}
        known = bool(self.names) and _plain(self.names[column]) in SPLIT_WORDS
        return bool(said) and said <= SPLIT_NAMES.keys() and (known or len(said) > 1)

    def is_binary(self, column: int) -> bool:
        said = {cell.lower() for cell in self.said(column)}
        return bool(said) and said <= NO_AND_YES.keys()

    def is_measure(self, column: int) -> bool:
        """Whether it holds numbers of which there may be any, such as an age or a temperature."""
        said = self.said(column)
        if not all(map(is_number, said)):
            return False
        whole = all(re.fullmatch(r"-?\d+", cell) for cell in said)
        return not whole and len(said) > 20

    def may_be_label(self, column: int) -> bool:
        """Whether it has the look of classes, whatever it is called."""
        said = self.said(column)
        if not 1 < len(said) <= self.count / 2 or self.is_measure(column):
            return False
        if self.names and _plain(self.names[column]) in SPLIT_WORDS | FILE_WORDS:
            return False
        if not all(map(is_number, said)):
            return True
        numbers = sorted(float(cell) for cell in said)
        return numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(said) - 1

    def say_the_same(self, one: int, other: int) -> bool:
        """Whether each value of the one goes with one value of the other, as a number and its name do."""
        pairs = {
            (cells[one].strip(), cells[other].strip())
            for _, cells in self.table.rows(bool(self.names))
            if len(cells) == self.width
        }
        return len(pairs) == len(self.values[one]) == len(self.values[other])

    def columns(
        self, label: int | None, split: int | None = None, one_hot: tuple[int, ...] = ()
    ) -> Columns:
        return Columns(self.file, label, split, one_hot, self.names, self.width)


def _with_label(finder: _Finder) -> Columns:
    """The columns, once that of the classes is found too."""
    if finder.width == 2:
        label = 1 - finder.file
        finder.look_through(SAMPLE)
        if finder.is_measure(label) or finder.count == len(finder.said(label)):
            finder.look_through()
        _check(finder, label)
        return finder.columns(label)
    finder.look_through()
    split = next(filter(finder.is_split, finder.values), None)
    rest = [at for at in finder.values if at != split and finder.said(at)]
    named = [at for at in rest if finder.names and _is_label_word(finder.names[at])]
    if not named:
        candidates = [at for at in rest if finder.may_be_label(at)]
        binary = tuple(filter(finder.is_binary, rest))
        if finder.names and len(binary) > 1 and set(candidates) <= set(binary):
            return finder.columns(None, split, binary)
    label = _one_of(finder, named or candidates)
    _check(finder, label)
    return finder.columns(label, split)


def _one_of(finder: _Finder, candidates: list[int]) -> int:
    """The class column. Of a number and a name that go together, the name."""
    table = finder.table
    if not candidates:
        columns = ", ".join(
            _called(finder.names, at) for at in range(min(finder.width, 8)) if at != finder.file
        )
        raise _refusal(
            "no classes",
            f"{table.title}: none of its columns ({columns}) has the look of classes.",
            ONE_TABLE,
        )
    for one, other in combinations(candidates, 2):
        if not finder.say_the_same(one, other):
            both = f"{_called(finder.names, one)} and {_called(finder.names, other)}"
            raise _refusal(
                "two classes", f"{table.title}: {both} may both hold the classes.", ONE_TABLE
            )
    texts = [at for at in candidates if not all(map(is_number, finder.said(at)))]
    return (texts or candidates)[0]


def _check(finder: _Finder, label: int) -> None:
    """See that there are classes in that column, not measurements or numbers of rows."""
    name, column = finder.table.title, _called(finder.names, label)
    said = finder.said(label)
    if finder.is_measure(label):
        some = printable(", ".join(sorted(said)[:2]))
        raise _refusal(
            "no classes",
            f"{name}: {column} holds {len(said):,} different numbers ({some}, ...), expected classes.",
            ONE_TABLE,
        )
    if finder.count == len(said) >= 20:
        raise _refusal(
            "no classes",
            f"{name}: {column} has another value in each of its {finder.count:,} rows, expected classes.",
            ONE_TABLE,
        )
