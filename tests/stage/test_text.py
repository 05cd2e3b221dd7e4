import csv
import io

import pytest

from pipeline.stage.text import csv_of, percent


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")],
)
def test_percent_never_rounds_to_all_or_nothing(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("name", ["=1+1", " +1", "-1", "@A1", "\uff1d1"])
def test_no_cell_of_a_table_is_a_formula(name):
    assert csv_of(["name"], [[name]]).decode() == f"name\n'{name}\n"


def test_each_row_of_a_table_is_one_line_of_its_cells():
    rows = [['a "quoted", name', 0.12345678, None], ["two\nlines\r\x1b\ud800", -1, "ü"]]
    [_, *lines] = csv.reader(io.StringIO(csv_of("abc", rows).decode()))
    assert lines == [
        ['a "quoted", name', "0.123457", ""],
        ["two\\nlines\\r\\x1b\\ud800", "-1", "ü"],
    ]
