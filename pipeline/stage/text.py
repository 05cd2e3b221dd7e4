"""Numbers and errors as people read them."""

from pathlib import Path

from helper import UnusableFile, shown


def count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


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
