"""What all pictures share: one look, and text that stays within its room. Knows no picture."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font, get_font_names

DPI = 130
SUBTITLE = 10.5  # points, where a heading is not scaled
MOST_LINES = 9  # of one sentence in a picture
MARGIN = 0.4  # inches, on every side of every picture
INK, GREY, FAINT, EMPTY = "#1f2933", "#5f6c7b", "#e3e8ee", "#f4f6f8"
BLUE, ORANGE, RED, GREEN = "#2f6690", "#d9822b", "#b23a2e", "#3c7d5a"
RIGHT = LinearSegmentedColormap.from_list("right", ["#dfeaf3", "#a3c1da", "#1f4e79"])
MOST_CHARACTERS = 200  # of a name that are measured before it is cut to the room there is

# Scripts and symbols that the bundled DejaVu Sans lacks, as common systems supply them. Only those
# installed are asked for: matplotlib logs a complaint about each that is not. Fonts of coloured emoji
# are not among them, since it cannot draw from those.
FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Microsoft YaHei"),
    *("Malgun Gothic", "PingFang SC", "Hiragino Sans", "Arial Unicode MS", "Noto Sans Arabic"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Segoe UI Emoji", "Symbola"),
)
INSTALLED = set(get_font_names())
STYLE = {
    "font.family": ["DejaVu Sans", *(font for font in FALLBACKS if font in INSTALLED)],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.edgecolor": "#b8c2cc",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a class may be called $x^2$, or $x^
    "text.usetex": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """One look for all pictures, put back afterwards."""
    with rc_context(STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


class Heading:
    """A title on one line, and below it sentences, each on as many lines as it takes.

    `note` is what the reader has to know in order not to be misled.
    """

    def __init__(self, width: float, title: str, *subtitles: str, note: str = ""):
        self.title, self.scale, self.room = title, heading_scale(width), width - 2 * MARGIN
        self.lines = [
            (line, colour)
            for text, colour in (*((text, GREY) for text in subtitles), (note, RED))
            for line in wrapped(text, self.room, SUBTITLE * self.scale)
        ]

    @property
    def height(self) -> float:
        """Inches from the picture's upper edge to the lower one of the last line."""
        return (0.69 + 0.23 * len(self.lines)) * self.scale

    def draw(self, figure: Figure) -> None:
        y = 0.36 * self.scale
        write(figure, MARGIN, y, self.title, self.room, fontsize=14 * self.scale, weight="bold")
        for number, (line, colour) in enumerate(self.lines):
            y = (0.72 + 0.23 * number) * self.scale
            size = SUBTITLE * self.scale
            write(figure, MARGIN, y, line, self.room, fontsize=size, color=colour)


def heading_scale(width: float) -> float:
    """Large pictures are looked at from further away."""
    return max(1.0, width / 12)


def axes_at(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes whose top left corner is x, y inches from the figure's top left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))


def write(figure: Figure, x: float, y: float, text: str, room: float, **style) -> None:
    """One line of text, at most `room` inches wide, placed as `axes_at` places axes."""
    across, down = figure.get_size_inches()
    text = fit(text, room, style.get("fontsize", STYLE["font.size"]), style.get("weight", "normal"))
    figure.text(x / across, 1 - y / down, text, va="top", **style)


def wrapped(text: str, room: float, size: float) -> list[str]:
    """`text` on lines of at most `room` inches; only a word that has no room on one is shortened."""
    lines: list[str] = []
    for word in ("".join(spelled(word, "normal")) for word in text.split()):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        elif len(lines) == MOST_LINES:
            return [*lines[:-1], fit(f"{lines[-1]} …", room, size)]
        else:
            lines.append(fit(word, room, size))
    return lines


def fit(text: str, room: float, size: float, weight: str = "normal") -> str:
    """`text` on one line, with its middle left out where it is wider than `room` inches.

    The middle, because long names of sibling classes often differ at their ends.
    """
    signs = spelled(text, weight)
    whole = "".join(signs)
    if len(signs) <= MOST_CHARACTERS and text_width(whole, size, weight) <= room:
        return whole

    def shortened(kept: int) -> str:
        start, end = signs[: kept - kept // 3], signs[len(signs) - kept // 3 :]
        return "".join(start).rstrip() + "…" + "".join(end).lstrip()

    lengths = range(min(len(signs), MOST_CHARACTERS))
    too_long = bisect(lengths, room, key=lambda kept: text_width(shortened(kept), size, weight))
    return shortened(max(too_long - 1, 0))


def spelled(text: str, weight: str) -> list[str]:
    """The characters of `text`, each that is not printable or in no font as its code, such as \\u732b.

    The boxes that stand for missing characters are alike: the names of two classes would be, too.
    """
    drawable = characters(tuple(STYLE["font.family"]), weight)
    return [
        c if c.isprintable() and ord(c) in drawable else c.encode("unicode_escape").decode()
        for c in str(text)
    ]


@lru_cache
def characters(families: tuple[str, ...], weight: str) -> set[int]:
    """Those that one of these fonts has."""
    paths = (findfont(FontProperties(family=family, weight=weight)) for family in families)
    return {code for path in paths for code in get_font(path).get_charmap()}


@lru_cache(maxsize=10_000)  # a table measures the same words again and again
def text_width(text: str, size: float, weight: str = "normal") -> float:
    font = FontProperties(size=size, weight=weight)
    return RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)[0] / DPI


def is_dark(colour: Sequence[float] | np.ndarray) -> bool | np.ndarray:
    """Whether text on this RGB colour, or on each of an array of them, should be white."""
    return np.asarray(colour)[..., :3] @ (0.299, 0.587, 0.114) < 0.5


def png(figure: Figure, metadata: dict[str, str]) -> bytes:
    """The picture as a file's bytes, `metadata` as its text entries."""
    buffer = BytesIO()
    # A lone surrogate (half a character, as a file name can hold) has no form in a PNG.
    texts = {k: str(v).encode("utf-8", "backslashreplace").decode() for k, v in metadata.items()}
    figure.savefig(buffer, format="png", dpi=DPI, metadata=texts)
    return buffer.getvalue()
