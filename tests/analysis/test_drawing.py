import re

import numpy as np
import pytest

from pipeline.analysis import drawing
from testkit.pictures import pixels, texts_of


def test_dollar_signs_are_text_and_no_formula():
    with drawing.house_style():
        figure = drawing.new_figure(6, 4)
        drawing.write(figure, 1, 1, "$x^2$", 3)
    assert texts_of(figure) == ["$x^2$"]
    assert not figure.texts[0].get_parse_math()


def test_a_name_with_a_newline_stays_on_one_line():
    with drawing.house_style():
        assert drawing.fit("two\nlines", 3, 10) == "two\\nlines"


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("猫 and 犬", r"\u732b and \u72ac"),  # two characters, not two boxes that are alike
        ("🐈 👩\u200d👧", r"\U0001f408 \U0001f469\u200d\U0001f467"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x1b[31m", r"\x1b[31m"),
        ("half \ud800", r"half \ud800"),
        ("قطة חתול é Ω ❤", "قطة חתול é Ω ❤"),
    ],
)
def test_what_no_font_has_is_drawn_as_its_code(name, drawn, monkeypatch):
    monkeypatch.setitem(drawing.STYLE, "font.family", ["DejaVu Sans"])  # matplotlib brings it
    with drawing.house_style():
        for weight in ("normal", "bold"):
            assert drawing.fit(name, 9, 10, weight) == drawn


def test_what_a_fallback_has_is_drawn_as_it_is(monkeypatch):
    families = ["DejaVu Sans", "DejaVu Sans Mono"]  # matplotlib brings both; the second has it
    monkeypatch.setitem(drawing.STYLE, "font.family", families)
    with drawing.house_style():
        assert drawing.fit("\N{APL FUNCTIONAL SYMBOL I-BEAM}", 3, 10) == "⌶"


def ink(text: str) -> np.ndarray:
    """Where the picture of `text` is dark, cut to that."""
    with drawing.house_style():
        figure = drawing.new_figure(3, 1)
        drawing.write(figure, 0.5, 0.3, text, 2, fontsize=30)
        dark = pixels(drawing.png(figure, {})).min(axis=-1) < 128
    columns = np.flatnonzero(dark.any(axis=0))
    return dark[:, columns[0] : columns[-1] + 1]


def test_a_name_in_a_script_from_the_right_is_drawn_from_the_right():
    last = ink("ב")
    assert np.array_equal(ink("אב")[:, : last.shape[1]], last)
    assert ink("قطة").shape[1] < ink("ق ط ة").shape[1]  # and Arabic letters join


def test_a_code_is_never_cut():
    with drawing.house_style():
        for tenths in range(60):
            short = drawing.fit("\U0001f408" * 12, tenths / 10, 10)
            assert re.fullmatch(r"(\\U0001f408)*…?(\\U0001f408)*", short)


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


@pytest.mark.parametrize("room", [0.6, 2.0, 7.0])
def test_a_sentence_is_wrapped_and_none_of_its_words_is_lost(room):
    sentence = "1,399 of 7,000 test images are wrong; the 25 most confident 猫 $x^2$"
    with drawing.house_style():
        lines = drawing.wrapped(sentence, room, 10.5)
        assert max(drawing.text_width(line, 10.5) for line in lines) <= room
        if room > 0.6:
            assert " ".join(lines) == " ".join(
                drawing.fit(word, 9, 10) for word in sentence.split()
            )


@pytest.mark.parametrize("text", ["W" * 9000, "many words " * 9000, "", " \n "])
def test_a_sentence_without_end_takes_so_many_lines_and_no_more(text):
    with drawing.house_style():
        lines = drawing.wrapped(text, 3, 10.5)
        assert len(lines) <= drawing.MOST_LINES
        assert all(drawing.text_width(line, 10.5) <= 3 for line in lines)
        assert not lines or "…" in lines[-1]


def test_no_subtitle_of_a_heading_is_cut():
    subtitle = "12,345 of 1,000,000 test images are wrong (1.2 %); the 25 most confident " * 2
    with drawing.house_style():
        heading = drawing.Heading(6.8, "a title", subtitle, note="Note: " + subtitle)
        figure = drawing.new_figure(6.8, heading.height + 1)
        heading.draw(figure)
    assert " ".join(texts_of(figure)[1:]) == f"{subtitle.strip()} Note: {subtitle.strip()}"
    assert figure.texts[-1].get_color() == drawing.RED
