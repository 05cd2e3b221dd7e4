"""Pictures of many runs: words and numbers in, PNG out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.analysis.drawing import (
    BLUE,
    EMPTY,
    FAINT,
    GREY,
    INK,
    MARGIN,
    ORANGE,
    RIGHT,
    Heading,
    fit,
    house_style,
    is_dark,
    new_figure,
    png,
    text_width,
    wrapped,
    write,
)
from pipeline.stage.text import percent

SIZE = 9.5  # points, of the text in a table
LINE = 0.27  # inches, from one line to the next
GAP = 0.3  # inches, between two columns
BAR = 0.9  # inches, the bar of a share of 1
BETWEEN = 0.16  # inches, between two groups of columns in a matrix
CELL = 0.72  # inches, the width of a cell in a matrix
LONGEST_NAME = 2.4  # inches; a longer cell is shortened
LEAST_WIDTH = 7.2  # inches, of a picture
WIDEST_REMARK = 10.0  # inches; a longer one takes another line


@dataclass
class Column:
    """`right`: where its cells stand. `bar`: beside them is room for the bars."""

    name: str
    right: bool = True
    bar: bool = False


@dataclass
class Section:
    """Lines of cells under a heading of their own.

    `shares`, 0 to 1, are beside each line: a bar in a table, cells in a matrix (None: no share).
    In a table, a share may be followed by the ends of its interval.
    `own` is the column of the matrix that is marked. `remarks` stand below the title. `heading`, if
    any, is over this section and those after it.
    """

    title: str
    note: str
    lines: Sequence[Sequence[str]]
    shares: Sequence[Sequence[float | None]]
    own: int | None = None
    heading: str = ""
    remarks: Sequence[str] = ()


def table_plot(
    title: str,
    subtitles: Sequence[str],
    columns: Sequence[Column],
    sections: Sequence[Section],
    metadata: dict[str, str],
    note: str = "",
) -> bytes:
    """Sections of lines under common columns, one of them with bars, as a PNG."""
    with house_style():
        places = place_columns(columns, sections)
        remarks = [text for section in sections for text in section.remarks]
        room = min(max((text_width(text, SIZE) for text in remarks), default=0.0), WIDEST_REMARK)
        width = max(right_of(places) + MARGIN, room + 2 * MARGIN + 0.1, LEAST_WIDTH)
        sections = [with_wrapped_remarks(section, width - 2 * MARGIN) for section in sections]
        heading = Heading(width, title, *subtitles, note=note)
        top = heading.height + 0.23 * heading.scale
        figure = new_figure(width, top + height_of(sections) + MARGIN)
        heading.draw(figure)
        for y, section in draw_sections(figure, top, places, sections):
            draw_bars(figure, y, section, places)
        return png(figure, metadata)


def matrix_plot(
    title: str,
    subtitles: Sequence[str],
    columns: Sequence[Column],
    names: Sequence[str],
    sections: Sequence[Section],
    metadata: dict[str, str],
    gaps: Sequence[int] = (),
) -> bytes:
    """Sections of lines, each with a coloured cell under each of the slanted `names`, as a PNG.

    There is a gap before the columns of these numbers.
    """
    with house_style():
        places = place_columns(columns, sections)
        names = [fit(name, LONGEST_NAME, SIZE) for name in names]
        slant = 0.71 * max(text_width(name, SIZE) for name in names) + 0.1
        start = right_of(places) + GAP
        lefts = [
            start + CELL * number + BETWEEN * sum(gap <= number for gap in gaps)
            for number in range(len(names))
        ]
        width = max(lefts[-1] + CELL + slant + MARGIN, LEAST_WIDTH)
        heading = Heading(width, title, *subtitles)
        top = heading.height + 0.23 * heading.scale + slant
        figure = new_figure(width, top + height_of(sections) + MARGIN)
        heading.draw(figure)
        for number, name in enumerate(names):
            draw_slanted(figure, lefts[number] + 0.45 * CELL, top + LINE, name)
        for y, section in draw_sections(figure, top, places, sections):
            draw_cells(figure, lefts, y, section)
        return png(figure, metadata)


def with_wrapped_remarks(section: Section, room: float) -> Section:
    lines = [line for text in section.remarks for line in wrapped(text, room, SIZE)]
    return replace(section, remarks=lines)


def place_columns(
    columns: Sequence[Column], sections: Sequence[Section]
) -> list[tuple[float, float, Column]]:
    """Each column with its left edge and its width, in inches."""
    lines = [line for section in sections for line in section.lines]
    left, places = MARGIN, []
    for number, column in enumerate(columns):
        texts = {column.name, *(line[number] for line in lines)}
        room = max(text_width(fit(text, LONGEST_NAME, SIZE), SIZE) for text in texts)
        places.append((left, room, column))
        left += room + GAP + (BAR if column.bar else 0)
    return places


def right_of(places: list[tuple[float, float, Column]]) -> float:
    left, room, column = places[-1]
    return left + room + (BAR if column.bar else 0)


def height_of(sections: Sequence[Section]) -> float:
    heights = (
        2 + 1.3 * bool(section.heading) + len(section.lines) + 0.9 * len(section.remarks)
        for section in sections
    )
    return LINE * sum(heights) + 0.5 * LINE


def draw_sections(
    figure: Figure, y: float, places: list, sections: Sequence[Section]
) -> Iterator[tuple[float, Section]]:
    """Draws what is text; yields where the first line of each section is."""
    for left, room, column in places:
        put(figure, left, y, room, column.name, column.right, GREY)
    y += 1.5 * LINE
    for section in sections:
        if section.heading:
            room = figure.get_size_inches()[0] - 2 * MARGIN
            box(figure, MARGIN, y - 0.06, room, 0.012, FAINT)
            write(figure, MARGIN, y + 0.02, section.heading, room, fontsize=SIZE, color=GREY)
            y += 1.3 * LINE
        draw_title(figure, y, section)
        y += 1.1 * LINE
        room = figure.get_size_inches()[0] - 2 * MARGIN
        for text in section.remarks:
            write(figure, MARGIN, y - 0.02, text, room, fontsize=SIZE, color=GREY)
            y += 0.9 * LINE
        for line in section.lines:
            for (left, room, column), text in zip(places, line, strict=True):
                put(figure, left, y, room, text, column.right)
            y += LINE
        yield y - LINE * len(section.lines), section
        y += 0.9 * LINE


def draw_title(figure: Figure, y: float, section: Section) -> None:
    room = figure.get_size_inches()[0] - 2 * MARGIN
    title = fit(section.title, 0.6 * room, 10.5, "bold")
    used = text_width(title, 10.5, "bold") + 0.15
    write(figure, MARGIN, y - 0.02, title, room, fontsize=10.5, weight="bold")
    write(figure, MARGIN + used, y, section.note, room - used, fontsize=SIZE, color=GREY)


def put(
    figure: Figure, x: float, y: float, room: float, text: str, right: bool, colour: str = INK
) -> None:
    """One line of text in a cell, to its right or its left."""
    across, down = figure.get_size_inches()
    place = (x + room if right else x) / across, 1 - y / down
    align = {"ha": "right" if right else "left", "va": "top"}
    figure.text(*place, fit(text, room, SIZE), color=colour, fontsize=SIZE, **align)


def draw_bars(figure: Figure, y: float, section: Section, places: list) -> None:
    width = figure.get_size_inches()[0] - 2 * MARGIN
    [bars] = [left + room + 0.12 for left, room, column in places if column.bar]
    for share, *interval in section.shares:
        box(figure, MARGIN, y - 0.065, width, 0.008, FAINT)
        box(figure, bars, y + 0.02, BAR, 0.1, FAINT)
        box(figure, bars, y + 0.02, BAR * share, 0.1, BLUE)
        if interval:
            low, high = interval
            box(figure, bars + BAR * low, y + 0.06, BAR * (high - low), 0.02, ORANGE)
            for end in interval:
                box(figure, bars + BAR * end - 0.01, y + 0.03, 0.02, 0.08, ORANGE)
        y += LINE


def draw_slanted(figure: Figure, x: float, y: float, name: str) -> None:
    across, down = figure.get_size_inches()
    slant = {"rotation": 45, "rotation_mode": "anchor", "ha": "left", "va": "bottom"}
    figure.text(x / across, 1 - y / down, name, color=INK, fontsize=SIZE, **slant)


def draw_cells(figure: Figure, lefts: Sequence[float], y: float, section: Section) -> None:
    y -= 0.065
    for number, shares in enumerate(section.shares):
        for column, share in enumerate(shares):
            draw_cell(figure, lefts[column], y + LINE * number, share)
    if section.own is not None:
        frame = {"edgecolor": INK, "linewidth": 1.4, "fill": False}
        height = LINE * len(section.lines)
        box(figure, lefts[section.own], y, CELL, height, "none", **frame)


def draw_cell(figure: Figure, x: float, y: float, share: float | None) -> None:
    """The darker, the fewer mistakes: from 90 to 99 % is as long a way as from 0 to 39 %."""
    colour = EMPTY if share is None else RIGHT(1 - (1 - share) ** 0.5)
    box(figure, x, y, CELL, LINE, colour, edgecolor="white", linewidth=1)
    text = "\N{EN DASH}" if share is None else percent(share)
    ink = GREY if share is None else "white" if is_dark(colour) else INK
    across, down = figure.get_size_inches()
    middle = (x + CELL / 2) / across, 1 - (y + 0.065) / down
    figure.text(*middle, text, color=ink, fontsize=SIZE, ha="center", va="top")


def box(
    figure: Figure, x: float, y: float, width: float, height: float, colour: object, **style
) -> None:
    across, down = figure.get_size_inches()
    corner = x / across, 1 - (y + height) / down
    style = {"facecolor": colour, "linewidth": 0, **style}
    figure.add_artist(Rectangle(corner, width / across, height / down, **style))
