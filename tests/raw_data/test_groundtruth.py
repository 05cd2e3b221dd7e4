"""groundtruth.py: any table is read whole, or refused with the reason and the first row it is true of."""

import codecs
import csv
import io
import random

import pytest

import constants
from pipeline.problem import RawDatasetError
from pipeline.raw_data.groundtruth import Row, number_labels, read_rows

FILES = {"a.png", "b.png", "c.png", "groundtruth.csv"}
PLACE = "train/groundtruth.csv"
NUL = "there is a NUL character. Save the file as CSV in UTF-8."
CUT_OFF = "this is not {} text, or it is cut off. Save the file as CSV in UTF-8."
NO_IMAGE = f'{PLACE} lists no image. It needs at least one row of two columns, "file,label".'


def rows(text: str | bytes, split: str = "train") -> list[tuple[int, str, str]]:
    content = text if isinstance(text, bytes) else text.encode()
    return [(row.number, row.file, row.label) for row in read_rows(content, split, FILES)]


def complaints(text: str | bytes) -> list[str]:
    """What is said against a CSV, without the file's name where it is the expected one."""
    with pytest.raises(RawDatasetError) as refused:
        rows(text)
    assert {problem.split for problem in refused.value.problems} == {"train"}
    return [
        str(problem).removeprefix(f"{PLACE}, ").removeprefix(f"{PLACE}: ")
        for problem in refused.value.problems
    ]


def labelled(*labels: str) -> list[Row]:
    return [Row(number, f"{number}.png", label) for number, label in enumerate(labels, start=1)]


def numbered(train: list[str], test: list[str] | None = None) -> tuple[dict[str, int], list[str]]:
    test = train[:1] if test is None else test
    number_of, names, _ = number_labels({"train": labelled(*train), "test": labelled(*test)})
    return number_of, names


def label_complaints(train: list[str], test: list[str] | None = None) -> list[str]:
    with pytest.raises(RawDatasetError) as refused:
        numbered(train, test)
    return list(map(str, refused.value.problems))


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
        "a.png;0\nb.png;1\n",
        "a.png\t0\r\nb.png\t1\r\n",
        "a.png|0\nb.png|1\n",
        "a,0\nb,1\n",
        "0,a.png\n1,b.png\n",
        "a.png,0\nb.png,1\n".encode("utf-16"),
        "a.png,0\nb.png,1\n".encode("utf-32"),
        codecs.BOM_UTF16_BE + "a.png,0\r\nb.png,1\r\n".encode("utf-16-be"),
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


@pytest.mark.parametrize(
    "text",
    [
        ",file,label,size\n0,a.png,cat,7\n1,b.png,dog,7.5\n",
        "label;comment;file\ncat;x, y;a\ndog;;b\n",
        "id\tset\tClass\tx\nb.png\t1\tdog\t0\na.png\t1\tcat\t1\n",
    ],
)
def test_further_columns_and_another_order_do_no_harm(text):
    assert sorted(row[1:] for row in rows(text)) == [("a.png", "cat"), ("b.png", "dog")]


def test_a_first_row_that_names_a_file_is_no_header():
    assert rows("b,cat\na,dog\n") == [(1, "b.png", "cat"), (2, "a.png", "dog")]
    assert rows("z,cat\na,dog\n") == [(2, "a.png", "dog")]
    assert rows("z,0\na,1\n")[0] == (1, "z", "0")
    assert complaints("z.txt,cat\na,dog\n")[0].startswith('1 row names no image, first "z.txt"')


def test_only_the_first_row_can_be_a_header():
    (row, _) = rows("file,label\nfile,label\na.png,0\n")
    assert row == (2, "file", "label")  # an image that may still come


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
    "path", ["/etc/a.png", "./a.png", "//a.png", "x/y/a", r"\\server\share\a.png"]
)
def test_a_path_of_another_machine_means_the_image_of_that_name(path):
    assert rows(f"b.png,1\n{path},0\n") == [(1, "b.png", "1"), (2, "a.png", "0")]


@pytest.mark.parametrize(
    "path",
    ["../a.png", "../x/../a.png", "test/a.png", "/data/test/a", r"..\a.png", "train/../test/z.png"],
)
def test_a_path_to_another_split_is_refused(path):
    assert complaints(f"b.png,1\n{path},0\n") == [
        f"1 row names a file in another folder, first {path} (row 2). Give its name in this folder."
    ]


@pytest.mark.parametrize(
    "path",
    ["..", "train/", "a.txt", "a.png/", "a.png.gz", "", "groundtruth.csv", "/etc/passwd.txt"],
)
def test_what_is_named_unlike_an_image_is_refused(path):
    assert complaints(f"b.png,1\n{path},0\n") == [
        f'1 row names no image, first "{path}" (row 2).'
        " An image is known by its extension, such as .png or .jpg."
    ]


def test_an_image_that_may_still_come_has_its_bare_name():
    assert rows("b.png,1\n/etc/passwd,0\nx/y.JPG,0\n\\dev\\zero,1\n")[1:] == [
        (2, "passwd", "0"),
        (3, "y.JPG", "0"),
        (4, "zero", "1"),
    ]


def test_names_match_whatever_their_unicode_form_is():
    read = read_rows("caf\u00e9.jpg,0\n".encode(), "train", {"cafe\u0301.jpg"})
    assert [row.file for row in read] == ["cafe\u0301.jpg"]


@pytest.mark.parametrize(
    ("row", "cells"),
    [("a.png", "1 cell"), ("a.png,0,1", "3 cells"), ("a.png;0", "1 cell")],
)
def test_a_row_with_fewer_or_more_cells_than_the_others_is_refused(row, cells):
    assert complaints(f"file,label\nb.png,1\nc.png,1\n{row}\n") == [
        f'1 row does not have 2 cells, first row 4 ({cells}: "{row}"). Correct this row.'
    ]


@pytest.mark.parametrize(
    "label",
    "nan NaN 1e400 -0 -1 1.5 1. .5 inf -inf Infinity +3 1e3 1_000 ١٢ ٣ \uff13 -1e-9 None".split(),  # noqa: SIM905
)
def test_a_class_may_be_called_like_a_number(label):
    assert rows(f"file,label\na.png,0\nb.png,{label}\n") == [(2, "a.png", "0"), (3, "b.png", label)]
    assert numbered(["0", label])[1] == sorted(["0", label])


def test_an_empty_label_is_refused():
    assert complaints("a.png,\nb.png,1\n") == ["1 row has no label, first a.png (row 1). Add it."]
    assert complaints('a.png,1\nb.png," "\n') == [
        "1 row has no label, first b.png (row 2). Add it."
    ]


def test_a_file_that_is_listed_twice_is_refused_with_both_rows():
    assert complaints("file,label\na.png,0\n\nb.png,1\na.png,0\ntrain/a.png,1\n") == [
        "2 rows name a file a second time, first a.png (row 5, before in row 2). Delete these rows."
    ]


def test_each_cause_is_named_once():
    text = "a.png\n\nb.png,0\nx,y,z\n../c.png,1\nc.png,\n" + "a.png\n" * 2
    assert complaints(f"b.png,1\nc.png,1\na.png,0\n{text}" + "x.png,1\n" * 86) == [
        '4 rows do not have 2 cells, first row 4 (1 cell: "a.png"). Correct these rows.',
        "86 rows name a file a second time, first b.png (row 6, before in row 1). Delete these rows.",
        "1 row names a file in another folder, first ../c.png (row 8). Give its name in this folder.",
        "1 row has no label, first c.png (row 9). Add it.",
    ]


def test_rows_after_very_many_wrong_ones_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(constants, "MOST_WRONG_ROWS", 3)
    assert complaints("a.png,1\n" + "b.png,\n" * 9) == [
        "3 rows have no label, first b.png (row 2). Add it.",
        "row 5 and those after it were not looked at.",
    ]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "file,label\n", ",\n", '""\n'])
def test_a_file_without_rows_is_refused(content):
    assert complaints(content) == [NO_IMAGE]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a.png,0\n".encode("utf-16-le"), f"row 1: {NUL}"),
        ("a.png,0\n".encode("utf-16")[:-1], f"row 1: {CUT_OFF.format('UTF-16')}"),
        ("a.png,0\nb.png,\u732b".encode()[:-1], f"row 2: {CUT_OFF.format('UTF-8')}"),
        (b"a.png,0\n\nb\0.png,1\n", f"row 3: {NUL}"),
        (b"a.png,0\r\rb.png,1\0\r", f"row 3: {NUL}"),
        (b"\xef\xbb\xbf\0", f"row 1: {NUL}"),
    ],
)
def test_what_is_no_text_is_refused_with_its_row(content, problem):
    assert complaints(content) == [problem]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_what_is_no_utf_8_is_read_as_windows_wrote_it_and_that_is_said(end):
    warnings: list = []
    content = end.join([b"a.png,0", b"b.png,caf\xe9 or \x80", b""])
    assert [row.label for row in read_rows(content, "train", FILES, warnings)] == ["0", "café or €"]
    (warning,) = warnings
    assert (warning.kind, warning.split, warning.row) == ("encoding", "train", 2)
    assert str(warning) == (
        f"{PLACE} is not UTF-8 text and was read as Windows-1252, first café (row 2)."
        " If this word is wrong, save the file as CSV in UTF-8."
    )
    assert rows(content.replace(b"\x80", b"\x81"))[1][2] == "café or \x81"  # as Latin-1


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
    lines = ["file,label", '"a.png,0', 'b.png",1', 'c.png,"cat', "", 'dog"', "b.png,", ""]
    assert complaints(end.join(lines)) == [
        "2 rows go on over several lines, first row 2. Check the quotes.",
        "1 row has no label, first b.png (row 7). Add it.",
    ]


def test_rows_after_a_quoted_line_break_at_the_edge_of_a_cell_keep_their_number():
    assert rows('"a.png\n",0\nb.png,1\n') == [(1, "a.png", "0"), (3, "b.png", "1")]


def test_what_an_error_quotes_cannot_write_to_the_terminal():
    assert complaints("\x1b[2J.txt,0\na.png,0\n") == [
        r'1 row names no image, first "\x1b[2J.txt" (row 1).'
        " An image is known by its extension, such as .png or .jpg."
    ]


def test_numbers_without_gaps_stay_as_they_are():
    assert numbered(["10", *"1234567890"], [])[0] == {str(number): number for number in range(11)}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["300", "100", "200"], ["100", "200", "300"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        (["007", "7", "0"], ["0", "007", "7"]),
        (["1", "0", "cat"], ["0", "1", "cat"]),
        (["9" * 4000, "0"], ["0", "9" * 4000]),
        (["9" * 5000, "0"], ["0", "9" * 5000]),
    ],
)
def test_other_numbers_are_names(labels, names):
    assert numbered(labels, []) == ({name: number for number, name in enumerate(names)}, names)


def test_names_are_sorted_and_numbered():
    assert numbered(["horse", "cat", "Ant", "cat", "été", "3rd"]) == (
        {"3rd": 0, "Ant": 1, "cat": 2, "horse": 3, "été": 4},
        ["3rd", "Ant", "cat", "horse", "été"],
    )


def test_names_are_the_same_in_every_unicode_form():
    number_of, names, (warning,) = number_labels(
        {"train": labelled("cafe\u0301", "caf\u00e9", "b")}
    )
    assert names == ["b", "caf\u00e9"]
    assert number_of == {"b": 0, "cafe\u0301": 1, "caf\u00e9": 1}
    assert str(warning) == (
        'class names are written in several Unicode forms: "caf\u00e9". Each counts as one class.'
    )


def test_names_that_look_alike_are_a_warning():
    labels = ["Cat", "cat", "ice bear", "icebear", "IceBear", "dog", "\uff44og", "cow"]
    _, names, (warning,) = number_labels({"train": labelled(*labels)})
    assert len(names) == len(labels)
    assert (warning.kind, warning.count) == ("similar labels", 3)
    assert str(warning) == (
        'class names differ only in case, spaces or Unicode form: "Cat", "cat";'
        ' "IceBear", "ice bear", "icebear"; "dog", "\uff44og".'
        " Each counts as a class of its own: if they are one, give them one name."
    )
    assert number_labels({"train": labelled("cat", "dog", "0")})[2] == []


def test_a_label_that_train_does_not_have_is_refused():
    cure = "Add training images of each class, or correct the labels."
    assert label_complaints(["cat", "dog"], ["dog", "cow", "Cat"]) == [
        'test: no training image has 2 labels: "cow", "Cat" (2 images, first 2.png, row 2). ' + cure
    ]
    assert label_complaints(["0", "2"], ["2", "1"]) == [
        f'test: no training image has the label "1" (1 image, first 2.png, row 2). {cure}'
    ]


def test_the_largest_number_of_classes_is_allowed():
    assert len(numbered([str(number) for number in range(constants.MAX_CLASSES)])[1]) == 10_000
    assert label_complaints(
        [f"name {number:05}" for number in range(constants.MAX_CLASSES + 1)]
    ) == [
        'there are 10,001 different labels, such as "name 00000", "name 00001", "name 00002", ...,'
        " at most 10,000 are allowed."
        " See whether the labels are in the column that they were taken from."
    ]


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


def filled_rows(text: str, separator: str) -> list[list[str]]:
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
    cells = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    return [row for row in cells if any(cell.strip() for cell in row)]


def holds_all(text: str, separator: str, read: list[Row]) -> bool:
    """Whether each row was read, but for a first one that names no image, as a header."""
    filled = filled_rows(text, separator)
    header = len(filled) > len(read)
    return len(read) + header == len(filled) and not (
        header and any(cell.strip().endswith(".png") for cell in filled[0])
    )


def test_whatever_happens_to_a_csv_no_row_is_dropped_silently():
    rng = random.Random(19)
    accepted = refused = 0
    for _ in range(6000):
        text = rng.choice(SEEDS)
        for _ in range(rng.randrange(1, 5)):
            text = accident(text, rng)
        try:
            read = read_rows(text.encode(), "train", FILES)
        except RawDatasetError as error:
            assert all(str(problem).startswith(PLACE) for problem in error.problems)
            refused += 1
        else:
            accepted += 1
            assert any(holds_all(text, separator, read) for separator in ",;\t")
    assert min(accepted, refused) > 1000  # each way was taken often


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
            assert all(str(problem).startswith(PLACE) for problem in error.problems)
    assert 1000 < refused < 3000
