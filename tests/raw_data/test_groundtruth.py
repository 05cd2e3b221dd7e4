"""groundtruth.py: any CSV is read whole, or refused with its row and the reason."""

import csv
import io
import random
import re

import pytest

import constants
from pipeline.problem import RawDatasetError, first_few
from pipeline.raw_data.groundtruth import Row, number_labels, read_rows

FILES = {"a.png", "b.png", "c.png", "groundtruth.csv"}
PLACE = "train/groundtruth.csv"
NOT_UTF_8 = "this is not UTF-8 text. Save the file as CSV in UTF-8."
NUL = "there is a NUL character. Save the file as CSV in UTF-8."


def rows(text: str | bytes, split: str = "train") -> list[tuple[int, str, str]]:
    content = text if isinstance(text, bytes) else text.encode()
    return [(row.number, row.file, row.label) for row in read_rows(content, split, FILES)]


def complaints(text: str | bytes) -> list[str]:
    """What is said against a CSV, without the file's name where it is the expected one."""
    with pytest.raises(RawDatasetError) as refused:
        rows(text)
    return [problem.removeprefix(f"{PLACE}, ") for problem in refused.value.problems]


def labelled(*labels: str) -> list[Row]:
    return [Row(number, f"{number}.png", label) for number, label in enumerate(labels, start=1)]


def numbered(train: list[str], test: list[str] | None = None) -> tuple[dict[str, int], list[str]]:
    test = train[:1] if test is None else test
    return number_labels({"train": labelled(*train), "test": labelled(*test)})


def label_complaints(train: list[str], test: list[str] | None = None) -> list[str]:
    with pytest.raises(RawDatasetError) as refused:
        numbered(train, test)
    return refused.value.problems


TWO_ROWS = [(1, "a.png", "0"), (2, "b.png", "1")]


@pytest.mark.parametrize(
    "text",
    [
        "a.png,0\nb.png,1\n",
        "a.png,0\nb.png,1",
        "a.png,0\r\nb.png,1\r\n",
        "a.png,0\rb.png,1\r",
        "\ufeffa.png,0\nb.png,1\n",
        '"a.png","0"\n"b.png","1"\n',
        '\ufeff"a.png",0\r\n"b.png",1\r\n',
        "  a.png ,\t0 \n b.png , 1\n",
        'a.png, "0"\n "b.png", "1"\n',
        "a.png,0\nb.png,1\n\n  \n,\n,,,\n",
    ],
)
def test_reads_the_ways_that_programs_write_two_columns(text):
    assert rows(text) == TWO_ROWS


@pytest.mark.parametrize(
    "header",
    [
        "file,label",
        "Image, Class ",
        '"file","label"',
        "\ufefffile,label",
        ",label",
        "file,label (0..9)",
    ],
)
def test_a_header_row_is_no_image_but_counts_as_a_row(header):
    assert rows(f"{header}\r\na.png,0\r\nb.png,1\r\n") == [(2, "a.png", "0"), (3, "b.png", "1")]


def test_a_first_row_that_names_a_file_is_no_header():
    assert complaints("groundtruth,cat\n") == [
        f'{PLACE} lists no image. Each split needs at least one row "file,label".'
    ]
    with pytest.raises(RawDatasetError, match='row 1: "picture" names no PNG'):
        read_rows(b"picture,cat\na.png,cat\n", "train", {"picture", "a.png"})


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        ("file,label,more", 'row 1: 3 columns, expected "file,label". Correct the row.'),
        ("a,5", 'row 1: "a" names no PNG. Only images named *.png are read; convert it.'),
        ("a,-1", 'row 1: "a" names no PNG. Only images named *.png are read; convert it.'),
        ("a,nan", 'row 1: "a" names no PNG. Only images named *.png are read; convert it.'),
        ("cat,a.png", 'row 1: "cat" names no PNG. Only images named *.png are read; convert it.'),
        ("a,", 'row 1: "a" names no PNG. Only images named *.png are read; convert it.'),
        ('file,"label\na.png,0"', "row 1: the row goes on over several lines. Check its quotes."),
    ],
)
def test_a_first_row_that_may_hold_data_is_no_header(first, problem):
    assert complaints(f"{first}\nb.png,1\n") == [problem]


def test_only_the_first_row_can_be_a_header():
    assert complaints("file,label\nfile,label\na.png,0\n") == [
        'row 2: "file" names no PNG. Only images named *.png are read; convert it.'
    ]
    assert complaints("\n\na.png,0\nfile,label\n") == [
        'row 4: "file" names no PNG. Only images named *.png are read; convert it.'
    ]


@pytest.mark.parametrize(
    "path",
    [
        "data/raw_dataset/train/a.png",
        "train/a.png",
        "./train/a.png",
        "/home/somebody/raw_dataset/train/a.png",
        "../../train/a.png",
        r"C:\pictures\train\a.png",
        r"train\a.png",
    ],
)
def test_a_longer_path_that_ends_in_the_split_means_the_name_in_this_split(path):
    assert rows(f"{path},0\n") == [(1, "a.png", "0")]


@pytest.mark.parametrize(
    "path",
    [
        "../a.png",
        "../../etc/a.png",
        "/etc/a.png",
        "//a.png",
        "test/a.png",
        "train/../a.png",
        "train/x/a.png",
        "Train/a.png",
        r"\\server\share\a.png",
        r"..\a.png",
        "./a.png",
    ],
)
def test_a_path_to_elsewhere_is_refused(path):
    assert complaints(f"b.png,1\n{path},0\n") == [
        f'row 2: "{path}" is not in train/. Give the image\'s name in that folder.'
    ]


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "..",
        "train/",
        "a.jpg",
        "a.png/",
        "a.png.gz",
        "",
    ],
)
def test_what_is_named_unlike_a_png_is_refused(path):
    assert complaints(f"b.png,1\n{path},0\n") == [
        f'row 2: "{path}" names no PNG. Only images named *.png are read; convert it.'
    ]


def test_the_ending_may_be_in_capitals():
    assert rows("A.PNG,0\n") == [(1, "A.PNG", "0")]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ("a.png", "1 column"),
        ("a.png,0,1", "3 columns"),
        ("a.png;0", "1 column"),
        ("a.png\t0", "1 column"),
    ],
)
def test_one_or_three_columns_are_refused(row, columns):
    assert complaints(f"file,label\nb.png,1\n{row}\n") == [
        f'row 3: {columns}, expected "file,label". Correct the row.'
    ]


@pytest.mark.parametrize(
    "label",
    "nan NaN 1e400 -0 -1 1.5 1. .5 inf -inf Infinity +3 1e3 1_000 ١٢ ٣ \uff13 -1e-9".split(),  # noqa: SIM905
)
def test_a_number_that_is_no_class_is_refused(label):
    assert complaints(f"file,label\na.png,0\nb.png,{label}\n") == [
        f'row 3: "{label}" is no label. Labels are whole numbers of 0 or more, or names.'
    ]


def test_an_empty_label_is_refused():
    assert complaints("a.png,\nb.png,1\n") == ["row 1: the label of a.png is empty. Add it."]
    assert complaints('a.png,1\nb.png," "\n') == ["row 2: the label of b.png is empty. Add it."]


def test_a_file_that_is_listed_twice_is_refused_with_both_rows():
    again = "a.png is listed in row 2 already. Delete one of the two rows."
    assert complaints("file,label\na.png,0\n\nb.png,1\na.png,0\ntrain/a.png,1\n") == [
        f"row 5: {again}",
        f"row 6: {again}",
    ]


def test_each_wrong_row_is_named():
    assert complaints("a.png\n\nb.png,0\nx,y,z\nc.png,-1\n") == [
        'row 1: 1 column, expected "file,label". Correct the row.',
        'row 4: 3 columns, expected "file,label". Correct the row.',
        'row 5: "-1" is no label. Labels are whole numbers of 0 or more, or names.',
    ]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "file,label\n", ",\n", '""\n'])
def test_a_file_without_rows_is_refused(content):
    assert complaints(content) == [
        f'{PLACE} lists no image. Each split needs at least one row "file,label".'
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a.png,0\n".encode("utf-16"), f"row 1: {NOT_UTF_8}"),
        ("a.png,0\n".encode("utf-16-le"), f"row 1: {NUL}"),
        ("a.png,0\n".encode("utf-32"), f"row 1: {NOT_UTF_8}"),
        (b"a.png,0\nb.png,caf\xe9\n", f"row 2: {NOT_UTF_8}"),
        (b"a.png,0\r\nb.png,1\r\nc.png,caf\xe9\r\n", f"row 3: {NOT_UTF_8}"),
        (b"a.png,0\rb.png,1\rc.png,caf\xe9\r", f"row 3: {NOT_UTF_8}"),
        (b"a.png,0\nb.png,\xff", f"row 2: {NOT_UTF_8}"),
        (b"a.png,0\n\nb\0.png,1\n", f"row 3: {NUL}"),
        (b"a.png,0\r\rb.png,1\0\r", f"row 3: {NUL}"),
        (b"\xef\xbb\xbf\0", f"row 1: {NUL}"),
    ],
)
def test_what_is_no_utf_8_text_is_refused_with_its_row(content, problem):
    assert complaints(content) == [problem]


def test_an_unterminated_quote_is_refused_with_the_row_in_which_it_begins():
    assert complaints('a.png,0\n"b.png,1\nc.png,2\n\n') == [
        "row 2: unexpected end of data. Check the quotes of this row."
    ]
    assert complaints('a.png,0\n"b.png"x,1\n') == [
        "row 2: ',' expected after '\"'. Check the quotes of this row."
    ]
    assert complaints(f"a.png,0\nb.png,{'x' * 200_000}\n") == [
        "row 2: field larger than field limit (131072). Check the quotes of this row."
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_row_over_several_lines_is_refused_and_later_rows_keep_their_number(end):
    lines = ["file,label", '"a.png,0', 'b.png",1', 'c.png,"cat', "", 'dog"', "d.png,-1", ""]
    assert complaints(end.join(lines)) == [
        "row 2: the row goes on over several lines. Check its quotes.",
        "row 4: the row goes on over several lines. Check its quotes.",
        'row 7: "-1" is no label. Labels are whole numbers of 0 or more, or names.',
    ]


def test_rows_after_a_quoted_line_break_at_the_edge_of_a_cell_keep_their_number():
    assert rows('"a.png\n",0\nb.png,1\n') == [(1, "a.png", "0"), (3, "b.png", "1")]


def test_what_an_error_quotes_cannot_write_to_the_terminal():
    assert complaints("\x1b[2J.jpg,0\na.png,0\n") == [
        r'row 1: "\x1b[2J.jpg" names no PNG. Only images named *.png are read; convert it.'
    ]


def test_whole_numbers_stay_as_they_are():
    number_of, names = numbered(["007", "3", "0", "7"])
    assert number_of == {"007": 7, "3": 3, "0": 0, "7": 7}
    assert names == ["0", "1", "2", "3", "4", "5", "6", "7"]


def test_names_are_sorted_and_numbered():
    assert numbered(["horse", "cat", "Ant", "cat", "été", "3rd"]) == (
        {"3rd": 0, "Ant": 1, "cat": 2, "horse": 3, "été": 4},
        ["3rd", "Ant", "cat", "horse", "été"],
    )


@pytest.mark.parametrize(
    ("train", "test", "problem"),
    [
        (
            ["0", "1", "cat"],
            ["1"],
            'train/groundtruth.csv, row 3: the label "cat" is a name, most others are',
        ),
        (
            ["cat", "3", "dog"],
            ["cat"],
            'train/groundtruth.csv, row 2: the label "3" is a number, most others',
        ),
        (
            ["0", "1"],
            ["1", "x\ty"],
            'test/groundtruth.csv, row 2: the label "x\\ty" is a name, most others',
        ),
        (
            ["cat", "dog"],
            ["0"],
            'test/groundtruth.csv, row 1: the label "0" is a number, most others are names',
        ),
    ],
)
def test_numbers_among_names_are_refused_with_file_and_row(train, test, problem):
    (said,) = label_complaints(train, test)
    assert said.startswith(problem)
    assert said.endswith(" Use numbers only or names only, in both splits.")


def test_a_test_label_that_train_does_not_have_is_refused():
    cure = "Add training images of this class, or correct the label."
    assert label_complaints(["cat", "dog"], ["dog", "cow", "Cat"]) == [
        f'test/groundtruth.csv, row 2: no training image has the label "cow". {cure}',
        f'test/groundtruth.csv, row 3: no training image has the label "Cat". {cure}',
    ]
    assert label_complaints(["0", "2"], ["02", "1"]) == [
        f'test/groundtruth.csv, row 2: no training image has the label "1". {cure}'
    ]


@pytest.mark.parametrize("label", ["10000", "1000000000", "9" * 18, "9" * 19, "9" * 4000])
def test_a_label_that_would_make_too_many_classes_is_refused(label):
    assert label_complaints(["0", *rows(f"a.png,{label}\n")[0][2:]]) == [
        f"train/groundtruth.csv, row 2: label {label} makes more than 10,000 classes."
        " Number the classes from 0 without gaps, or use names."
    ]


def test_the_largest_label_is_allowed():
    number_of, names = numbered([str(constants.MAX_CLASSES - 1)])
    assert number_of == {"9999": 9999}
    assert len(names) == 10_000


def test_too_many_names_are_refused():
    said = label_complaints([f"name {number:05}" for number in range(constants.MAX_CLASSES + 1)])
    assert len(said) == 1
    assert said[0].startswith("train/groundtruth.csv, row 10001: label name 10000 makes more than")


def test_the_error_says_the_first_few_and_how_many_more():
    assert first_few(list("abcde")) == list("abcde")
    assert first_few(list("abcdef")) == [*"abcde", "And 1 more."]
    assert len(first_few(["x"] * 1234)) == 6
    assert str(RawDatasetError(["One."] * 1234)) == "One. One. One. One. One. And 1,229 more."


# Fuzzing: thousands of CSVs made by small accidents.

SEEDS = [
    "file,label\na.png,0\nb.png,1\nc.png,2\n",
    '\ufeff"file","label"\r\n"train/a.png","cat"\r\n"b.png","dog, or not"\r\n',
    "a.png,007\n\nb.png,1e3\n../c.png,5\na.png,0\n",
    "image label\nétude.png,猫\n\n\nb.png;3\nx\\train\\c.png,x\n",
]
BITS = [
    *'",\n\r; \t\0/\\',
    "\r\n",
    "\n\n",
    '""',
    ",,",
    ".png",
    "nan",
    "-0",
    "\ufeff",
    "é",
    "\x85",
    "\u2028",
]
END_OF_LINE = re.compile(r"\r\n|\r|\n")


def accident(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) + 1)
    end = min(len(text), start + rng.randrange(6))
    kind = rng.randrange(4)
    if kind == 0:
        return text[:start] + rng.choice(BITS) + text[start:]
    if kind == 1:
        return text[:start] + text[end:]
    if kind == 2:
        return text[:start] + text[start:end] * 2 + text[end:]
    lines = text.splitlines(keepends=True)
    return "".join(rng.sample(lines, len(lines)))


def filled_rows(text: str) -> list[list[str]]:
    cells = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    return [row for row in cells if any(cell.strip() for cell in row)]


def headers_among(found: list[list[str]], read: list[Row]) -> int:
    """1 where the first row was left out, as a header may be; what it holds is no image."""
    if len(found) == len(read):
        return 0
    assert not any(cell.strip().endswith(".png") for cell in found[0])
    return 1


def without_lines(text: str, numbers: set[int]) -> str:
    lines = [
        line
        for number, line in enumerate(END_OF_LINE.split(text.removeprefix("\ufeff")), start=1)
        if number not in numbers
    ]
    return "\n".join(lines)


def test_whatever_happens_to_a_csv_no_row_is_dropped_silently():
    rng = random.Random(19)
    accepted = named = whole = 0
    for _ in range(6000):
        text = rng.choice(SEEDS)
        for _ in range(rng.randrange(1, 5)):
            text = accident(text, rng)
        try:
            read = read_rows(text.encode(), "train", FILES)
        except RawDatasetError as error:
            found = [re.match(PLACE + r", row (\d+): \S", said) for said in error.problems]
            if len(found) == 1 and ('"' in text or "\0" in text):
                whole += 1
                continue
            if not all(found):
                assert error.problems == [
                    f'{PLACE} lists no image. Each split needs at least one row "file,label".'
                ]
                assert len(filled_rows(text.removeprefix("\ufeff"))) <= 1
                continue
            if '"' in text:
                continue
            # Without the rows that were named, the rest is accepted, one row for each line.
            rest = without_lines(text, {int(match[1]) for match in found})
            if not filled_rows(rest):
                continue
            named += 1
            try:
                read = read_rows(rest.encode(), "train", FILES)
            except RawDatasetError as again:
                assert "lists no image" in str(again)
                read = []
            text = rest
        else:
            accepted += 1
        filled = filled_rows(text.removeprefix("\ufeff"))
        assert len(read) + headers_among(filled, read) == len(filled)
    assert min(accepted, named, whole) > 500  # each way was taken often


def test_damaged_bytes_give_rows_or_a_reason():
    rng = random.Random(20)
    refused = 0
    for _ in range(3000):
        content = bytearray(rng.choice(SEEDS).encode(rng.choice(["utf-8", "utf-16", "utf-8"])))
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            assert rows(bytes(content))
        except RawDatasetError as error:
            refused += 1
            assert all(said.startswith(PLACE) for said in error.problems)
    assert 1000 < refused < 3000


def test_after_thousands_of_wrong_rows_no_further_row_is_looked_at(monkeypatch):
    monkeypatch.setattr(constants, "MOST_WRONG_ROWS", 3)
    found = complaints("a.png,1\n" + "b\n" * 9)
    assert len(found) == 4
    assert found[3] == "row 5: this row and those after it were not looked at."
    assert len(complaints("a.png,1\n" + "b\n" * 3)) == 3
