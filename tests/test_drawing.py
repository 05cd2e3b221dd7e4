import pytest
from pictures import texts_of

from pipeline import drawing


def test_dollar_signs_are_text_and_no_formula():
    with drawing.house_style():
        figure = drawing.new_figure(6, 4)
        drawing.write(figure, 1, 1, "$x^2$", 3)
    assert texts_of(figure) == ["$x^2$"]
    assert not figure.texts[0].get_parse_math()


def test_a_name_with_a_newline_stays_on_one_line():
    with drawing.house_style():
        assert drawing.fit("two\nlines", 3, 10) == "two\\nlines"


@pytest.mark.parametrize("room", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("name", ["W" * 300, "i" * 100_000, "many words " * 9, "猫" * 80])
def test_shortened_names_fit_their_room(name, room):
    with drawing.house_style():
        short = drawing.fit(name, room, 10)
        assert drawing.text_width(short, 10) <= room
    assert "…" in short


def test_names_that_fit_are_left_whole():
    with drawing.house_style():
        room = drawing.text_width("exactly this", 10)
        assert drawing.fit("exactly this", room, 10) == "exactly this"


def test_shortened_names_keep_both_ends():
    with drawing.house_style():
        short = drawing.fit("tabby cat " * 10 + "number 17", 2, 10)
    assert short.startswith("tabby cat")
    assert short.endswith("17")
