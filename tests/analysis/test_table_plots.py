from itertools import pairwise

import pytest

from pipeline.analysis import drawing, table_plots
from pipeline.analysis.table_plots import Column, Section
from testkit.pictures import HOSTILE, margin_is_white, opened

MODELS = [Column("model", right=False), Column("set", right=False)]


def section(lines, columns, title="trained on d", own=0, shares=None):
    shares = shares or [
        [(line + column) % 7 / 6 for column in range(columns)] for line in range(lines)
    ]
    return Section(title, "a note", [(f"model {i}", "set") for i in range(lines)], shares, own)


def matrix_png(sections, names, title="Models by datasets", subtitles=("one", "two")):
    return table_plots.matrix_plot(title, subtitles, MODELS, names, sections, {"Datasets": "d"})


@pytest.mark.slow
@pytest.mark.parametrize(("lines", "columns", "sections"), [(1, 1, 1), (9, 3, 3), (5, 10, 6)])
def test_a_matrix_of_any_size_is_a_picture_of_reasonable_size(lines, columns, sections):
    names = [f"20{number:02d}-01-01 00:00:00.000000" for number in range(columns)]
    png = matrix_png([section(lines, columns)] * sections, names)
    assert margin_is_white(png)
    assert max(opened(png).size) < 2500
    assert len(png) < 1_000_000


@pytest.mark.parametrize("name", [*HOSTILE, "W" * 60, "猫" * 60])
def test_any_name_is_drawn_within_the_matrix(name):
    lines = Section(name, name, [(name, name)], [[0.5, None]], None)
    assert margin_is_white(matrix_png([lines], [name, name], name, (name, name)))


@pytest.mark.parametrize("name", [*HOSTILE, "W" * 60, "猫" * 60])
def test_any_name_is_drawn_within_the_table(name):
    columns = [Column(name, right=False), Column("accuracy", bar=True), Column(name)]
    lines = Section(name, name, [(name, "50.0 %", name)], [[0.5]])
    assert margin_is_white(table_plots.table_plot(name, (name,), columns, [lines], {}))


def test_the_columns_of_a_table_do_not_overlap():
    columns = [Column("a"), Column("b", bar=True), Column("c", right=False)]
    sections = [Section("", "", [("W" * 60, "1", "iii"), ("x", "12345", "W" * 60)], [[0.1], [1.0]])]
    with drawing.house_style():
        places = table_plots.place_columns(columns, sections)
    for (left, room, column), (following, _, _) in pairwise(places):
        assert left + room + (table_plots.BAR if column.bar else 0) < following


def test_the_own_dataset_is_marked():
    pictures = {matrix_png([section(3, 2, own=own)], ["a", "b"]) for own in (None, 0, 1)}
    assert len(pictures) == 3


def test_the_fewer_mistakes_the_darker_a_cell():
    with drawing.house_style():
        figure = drawing.new_figure(3, 3)
        for share in (0.0, 0.5, 0.9, 0.99, 1.0):
            table_plots.draw_cell(figure, 1, 1, share)
    light = [sum(cell.get_facecolor()[:3]) for cell in figure.artists]
    assert light == sorted(light, reverse=True)
    assert len(set(light)) == 5
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["0.0 %", "50.0 %", "90.0 %", "99.0 %", "100.0 %"]


def test_what_was_not_tested_is_a_dash():
    with drawing.house_style():
        figure = drawing.new_figure(3, 3)
        table_plots.draw_cell(figure, 1, 1, None)
    assert [text.get_text() for text in figure.texts] == ["\N{EN DASH}"]
