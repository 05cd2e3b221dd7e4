"""tables: any table of labelled images is understood, or refused with one sentence for each cause."""

import json

import pytest

from pipeline.problem import RawDatasetError
from pipeline.tables.columns import Columns, find_columns
from pipeline.tables.file_index import FileIndex
from pipeline.tables.reader import Table, read_table
from pipeline.tables.rows import labelled_rows

IMAGES = [f"images/{number:03}.jpg" for number in range(40)]
TWO_COLUMNS = 'Keep two columns, "file" and "label", in a table called groundtruth.csv.'


def table(content: str | bytes, name: str = "labels.csv") -> Table:
    return read_table(content if isinstance(content, bytes) else content.encode(), name)


def text(header: str, row) -> str:
    """A table with a row for each of `IMAGES`, made from its number."""
    return "\n".join([header, *(row(number) for number in range(40))]).strip()


def columns_of(content: str | bytes, name: str = "labels.csv", beside: str = "") -> Columns:
    found = find_columns(table(content, name), FileIndex(set(IMAGES)), beside)
    assert isinstance(found, Columns), found
    return found


def complaint(content: str | bytes) -> str:
    (problem,) = find_columns(table(content), FileIndex(set(IMAGES)))
    return str(problem)


def read(content: str | bytes, paths=IMAGES, name: str = "labels.csv", beside: str = ""):
    """Rows, problems and warnings, the latter two as sentences."""
    source, index = table(content, name), FileIndex(set(paths))
    columns = find_columns(source, index, beside)
    assert isinstance(columns, Columns), columns
    rows, problems, warnings = labelled_rows(source, columns, index, beside)
    return (
        [(row.file, row.label, row.split, row.row) for row in rows],
        list(map(str, problems)),
        list(map(str, warnings)),
    )


# The reader.


@pytest.mark.parametrize("separator", ",;\t|")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_separator_line_ends_and_encoding_are_found(separator, end, encoding):
    rows = [["file", "label"], ["a.jpg", "né, or; not|"], ["b.jpg", "x"]]
    lines = [separator.join(f'"{cell}"' for cell in row) for row in rows]
    found = table(end.join(lines).encode(encoding))
    assert (found.separator, found.header) == (separator, ("file", "label"))
    assert list(found.rows()) == [(2, rows[1]), (3, rows[2])]
    assert [warning.kind for warning in found.warnings] == ["encoding"] * (encoding == "cp1252")


def test_a_separator_is_not_one_that_only_stands_in_the_names():
    assert table("file;label\na.jpg;Terrier, Border\nb.jpg;Hound, Basset\n").separator == ";"
    assert table("a.jpg;Terrier, Border\nb.jpg;Hound, Basset\n").separator == ";"
    assert table('a.jpg,"x;y"\nb.jpg,"y;z"\n').separator == ","
    # With another separator, the second row's quotes are wrong, and nothing behind them can be read.
    assert table('a.jpg|x, y\n"b.jpg"|x, z\nc.jpg\n').separator == "|"


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        ("file,label", True),
        ("image,0,1", True),
        (",x", True),
        ("cat,3", False),
        ("a.jpg,cat", False),
        ("cat,a.jpg", False),
        ("notes.txt,cat", False),
        ('"two\nlines",cat', False),
    ],
)
def test_a_first_row_is_a_header_only_if_it_may_be_one(first, is_header):
    assert (
        table(f"{first}\nb.jpg,{'1,0' if first.count(',') > 1 else 'x'}\n").header is not None
    ) == (is_header)


def test_json_lines_are_a_table():
    lines = [
        {"file_name": "a.jpg", "label": 3},
        {"label": "x", "box": [1, 2], "file_name": "b.jpg"},
    ]
    found = table("\n\n".join(map(json.dumps, lines)), "metadata.jsonl")
    assert found.header == ("file_name", "label", "box")
    assert list(found.rows()) == [(1, ["a.jpg", "3", ""]), (3, ["b.jpg", "x", ""])]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{",
        "x",
        '{"a": "\\ud800"}',
        '{"a": "\\u0000"}',
        "[" * 100_000,
        f'{{"a": {"9" * 5000}}}',
        f'{{"a": "{"x" * 2**20}"}}',
    ],
    ids=lambda line: line[:10],
)
def test_a_line_that_is_no_object_of_a_row_is_refused(line):
    with pytest.raises(RawDatasetError) as refused:
        table(f'{{"a": 1}}\n{line}\n', "metadata.jsonl")
    assert str(refused.value) == (
        "metadata.jsonl, row 2: this is no JSON object of a row. Write one on each line."
    )


def test_a_name_that_no_terminal_should_get_is_spelled_out():
    with pytest.raises(RawDatasetError, match=r"^\\x1b\[2J.csv, row 1: there is a NUL"):
        table(b"\0", "\x1b[2J.csv")


# The index.


@pytest.mark.parametrize(
    ("cell", "beside", "path"),
    [
        ("a.jpg", "", "train/cat/a.jpg"),
        (" a ", "", "train/cat/a.jpg"),
        ("cat/a", "train", "train/cat/a.jpg"),
        ("./cat/a.jpg", "", "train/cat/a.jpg"),
        (r"C:\data\train\cat\a.jpg", "", "train/cat/a.jpg"),
        ("/home/her/pets/cat/a.jpg", "test", "train/cat/a.jpg"),
        ("train/a.jpg", "", "train/cat/a.jpg"),
        ("../train/cat/a.jpg", "tables", "train/cat/a.jpg"),
        ("../../../train/cat/a.jpg", "tables", "train/cat/a.jpg"),
        ("b.jpg", "train", "train/b.jpg"),
        ("b.jpg", "test", "test/b.jpg"),
        ("caf\u00e9", "", "test/cafe\u0301.png"),
        ("c.d", "", "c.d.png"),
        ("b.jpg", "", None),  # there are two
        ("test/a.jpg", "", None),  # the folder is there, the file is elsewhere
        ("../a.jpg", "train/cat", None),
        ("a.png", "", None),
        ("A.jpg", "", None),
        ("notes.txt", "", None),
        ("notes", "", None),
        ("", "", None),
        ("..", "", None),
        ("train/cat/", "", None),
        ("../" * 2000 + "z.jpg", "", None),
    ],
)
def test_a_cell_names_the_file_that_it_fits(cell, beside, path):
    paths = [
        "train/cat/a.jpg",
        "train/b.jpg",
        "test/b.jpg",
        "test/cafe\u0301.png",
        "c.d.png",
        "notes.txt",
    ]
    assert FileIndex(set(paths)).find(cell, beside) == path


def test_all_files_that_a_cell_may_name_can_be_asked_for():
    index = FileIndex({"x/1.jpg", "y/1.jpg", "y/1.png"})
    assert index.candidates("1.jpg") == ("x/1.jpg", "y/1.jpg")
    assert index.candidates("1", "y") == ("y/1.jpg", "y/1.png")
    assert index.candidates("2") == ()


# The columns.


@pytest.mark.parametrize(
    ("content", "file", "label"),
    [
        (
            text(
                "image_id,width,height,dx", lambda n: f"{n:03},{n % 7 + 90},{n % 5},{'ab'[n % 2]}"
            ),
            0,
            3,
        ),
        (text(",file,label", lambda n: f"{n},{n:03}.jpg,{'ab'[n % 2]}"), 1, 2),
        (text("file,label,", lambda n: f"{n:03}.jpg,{'ab'[n % 2]},"), 0, 1),
        (text("breed;note;path", lambda n: f"{'ab'[n % 2]};;images/{n:03}.jpg"), 2, 0),
        (text("filename,animal,age", lambda n: f"{n:03},{'ab'[n % 2]},{n * 1.37}"), 0, 1),
        (text("", lambda n: f"{n}|{n:03}.jpg|{'ab'[n % 2]}"), 1, 2),
        (text("", lambda n: f"{n % 4},{n:03}.jpg"), 1, 0),
        (text("name,class_id,class_name", lambda n: f"{n:03},{n % 2},{'ab'[n % 2]}"), 0, 2),
        (
            text("f,Image Label,y_min,y_max", lambda n: f"{n:03},{'ab'[n % 2]},{n % 3},{n % 9}"),
            0,
            1,
        ),
        (
            text("label", lambda n: f"r{n},{n:03}.jpg,{'ab'[n % 2]}").replace(
                "label", "file,label"
            ),
            1,
            2,
        ),
        (text("id,number", lambda n: f"{n:03},{n % 3}"), 0, 1),
    ],
)
def test_the_columns_of_files_and_classes_are_found(content, file, label):
    found = columns_of(content)
    assert (found.file, found.label) == (file, label)


def test_a_header_that_names_a_file_is_none():
    rows, *_ = read("001,cat\n002,dog\n")
    assert [row[:2] for row in rows] == [("images/001.jpg", "cat"), ("images/002.jpg", "dog")]
    rows, *_ = read("x,cat\ny,dog\n", ["x.jpg", "y.jpg"])
    assert [row[0] for row in rows] == ["x.jpg", "y.jpg"]
    rows, *_ = read("image,label\ny,dog\n", ["image.jpg", "y.jpg"])
    assert [row[0] for row in rows] == ["y.jpg"]


@pytest.mark.parametrize("word", ["split", "Set", "subset", "partition", "x"])
def test_the_column_of_the_splits_is_found(word):
    names = ["train", "Testing", "val", "valid"]
    rows, problems, _ = read(
        text(f"file,label,{word}", lambda n: f"{n:03}.jpg,{'ab'[n % 2]},{names[n % 4]}")
    )
    assert problems == []
    assert [row[2] for row in rows[:4]] == ["train", "test", "validation", "validation"]


def test_a_column_of_numbers_is_no_split():
    found = columns_of(text("file,label,set", lambda n: f"{n:03}.jpg,{'ab'[n % 2]},{n % 3}"))
    assert (found.label, found.split) == (1, None)


@pytest.mark.parametrize("yes", ["1", "1.0", "True"])
def test_a_column_for_each_class_is_a_label(yes):
    no = {"1": "0", "1.0": "0.0", "True": "False"}[yes]

    def row(number):
        return ", ".join(
            [f"{number:03}.jpg", *(yes if number % 3 == at else no for at in range(3))]
        )

    rows, problems, _ = read(
        text("filename, 7, dog, cow", row), name="_classes.csv", beside="images"
    )
    assert problems == []
    assert rows[:3] == [
        ("images/000.jpg", "7", None, 2),
        ("images/001.jpg", "dog", None, 3),
        ("images/002.jpg", "cow", None, 4),
    ]


def test_several_classes_for_a_file_are_refused():
    _, problems, _ = read(text("file,red,big", lambda n: f"{n:03}.jpg,{n % 2},{n // 2 % 2}"))
    assert problems == [
        "labels.csv: 20 rows have not exactly one class, first 000.jpg (row 2)."
        " A file has one class: images of none or several cannot be learned from."
    ]
    rows, problems, warnings = read("002.jpg,cat\n001.jpg,dog\n001.jpg,cat\n002.jpg,cat\n")
    assert problems == [
        "labels.csv: 1 row gives a file another label, first images/001.jpg: dog (row 2), cat (row 3)."
        " A file has one class: images of several cannot be learned from."
    ]
    assert warnings == [
        "labels.csv: 1 row said again what a row before did, first images/002.jpg;"
        " each file counts once."
    ]
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", 'labels.csv lists no image. It needs at least one row of two columns, "file,label".'),
        (
            "file,label\n",
            'labels.csv lists no image. It needs at least one row of two columns, "file,label".',
        ),
        (
            text("", lambda n: f"{n:03}.jpg cat"),
            'labels.csv has one column, first "000.jpg cat", expected at least two, "file,label".'
            " Add the labels, and commas, semicolons, tabs or | between the columns.",
        ),
        (
            text("id,count", lambda n: f"z{n},{n % 3}"),
            'labels.csv names no file that is there: its first row is "z0,0". One of its columns has to'
            ' name the images, as "cat.png" or "images/cat.png".',
        ),
        (
            text("file,class,species", lambda n: f"{n:03}.jpg,{'ab'[n % 2]},{'abcd'[n % 4]}"),
            f'labels.csv: "class" and "species" may both hold the classes. {TWO_COLUMNS}',
        ),
        (
            text("", lambda n: f"{n:03}.jpg,{'ab'[n % 2]},{'abcd'[n % 4]}"),
            f"labels.csv: column 2 and column 3 may both hold the classes. {TWO_COLUMNS}",
        ),
        (
            text("file,age", lambda n: f"{n:03}.jpg,{n * 1.37:.2f}"),
            'labels.csv: "age" holds 40 different numbers (0.00, 1.37, ...), expected classes.'
            f" {TWO_COLUMNS}",
        ),
        (
            text(",file", lambda n: f"{n},{n:03}.jpg"),
            "labels.csv: column 1 has another value in each of its 40 rows, expected classes."
            f" {TWO_COLUMNS}",
        ),
        (
            text("file,age,height", lambda n: f"{n:03}.jpg,{n * 1.37:.2f},{n * 7}"),
            'labels.csv: none of its columns ("age", "height") has the look of classes.'
            f" {TWO_COLUMNS}",
        ),
    ],
)
def test_what_cannot_be_told_is_one_sentence(content, problem):
    assert complaint(content) == problem


def test_two_columns_of_images_are_refused():
    content = text(
        "left,right,label", lambda n: f"{n % 20:03}.jpg,{n % 20 + 20:03}.jpg,{'ab'[n % 2]}"
    )
    assert complaint(content) == f'labels.csv: "left" and "right" both name images. {TWO_COLUMNS}'


# The rows.


def test_files_that_are_not_there_are_one_problem_that_may_pass():
    source = table("001.jpg;cat\n" + "".join(f"x{n}.jpg;dog\n" for n in range(1200)))
    index = FileIndex(set(IMAGES))
    rows, (problem,), _ = labelled_rows(source, find_columns(source, index), index)
    assert [row.file for row in rows] == ["images/001.jpg"]
    assert (
        str(problem)
        == "labels.csv: 1,200 rows name files that are not there, first x0.jpg (row 2)."
    )
    assert (problem.kind, problem.count, problem.row) == ("missing", 1200, 2)
    assert problem.files == ("x0.jpg", "x1.jpg", "x2.jpg", "x3.jpg", "x4.jpg")


def test_each_cause_is_one_problem():
    lines = [
        "file,label,split",
        "1.jpg,cat,train",
        "2.jpg,cat,?",
        "3.jpg,,test",
        "4.jpg,cat",
        "x.txt,a,train",
    ]
    paths = [
        "a/1.jpg",
        "b/1.jpg",
        "2.jpg",
        "3.jpg",
        "4.jpg",
        "5.jpg",
        "6.jpg",
        "7.jpg",
        "8.jpg",
        "9.jpg",
    ]
    lines += [f"{n}.jpg,cat,test" for n in range(5, 10)]
    source, index = table("\n".join(lines)), FileIndex(set(paths))
    columns = Columns(0, 1, 2, (), ("file", "label", "split"), 3)
    rows, problems, _ = labelled_rows(source, columns, index)
    assert len(rows) == 5
    assert [(problem.kind, problem.row) for problem in problems] == [
        ("several", 2),
        ("no split", 3),
        ("no label", 4),
        ("cells", 5),
        ("no image", 6),
    ]
    assert str(problems[0]) == (
        "labels.csv: 1 row names files of which there are several, first 1.jpg (row 2):"
        " a/1.jpg and b/1.jpg. Write the folders too."
    )
