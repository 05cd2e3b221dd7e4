"""Numbers, errors and tables as people read them."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from helper import UnusableFile, printable, shown

# What a spreadsheet takes for the beginning of a formula, also in full width.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def count(number: int, thing: str, things: str = "") -> str:
    """Such as "1 image" or "1,399 images"; `things` is what several are called, where it is no mere s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def percent(share: float) -> str:
    """Rounded, but never to a 0 or 100 that it is not."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def figure(value: str | float | None, form: str) -> str:
    """A number in that format, a word as it is, and a dash for what is not known."""
    if value is None:
        return "\N{EN DASH}"
    return value if isinstance(value, str) else format(value, form)


def cannot_read(error: OSError) -> str:
    """Which file, why, and what to do, as a sentence."""
    what = shown(Path(error.filename)) if error.filename else "it"
    cure = "Put another file there" if isinstance(error, UnusableFile) else "Make it readable"
    return f"{what} cannot be read: {error.strerror or error}. {cure}."


def cell(value: object) -> object:
    """Text on one line that no spreadsheet computes with; a number without digits nobody needs."""
    if isinstance(value, float):
        return round(value, 6)
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else printable(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A table with that first line, whatever names are in its cells."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return buffer.getvalue().encode()
