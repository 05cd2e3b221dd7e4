"""Values of a JSON object that may be anybody's, by type: what is of another counts as not said."""

import json
from functools import lru_cache

import constants

HIGHEST = 1e300  # of the numbers that can be computed with
LONGEST = 1e12  # seconds; 30,000 years
MOST = 2**53  # of what is counted


def json_object(text: bytes) -> dict:
    """The object that `text` spells, or {} where it spells none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def table_in(content: dict, key: str) -> dict:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def list_in(content: dict, key: str) -> list:
    value = content.get(key)
    return value if isinstance(value, list) else []


def texts_in(content: dict, key: str) -> list[str]:
    return [text for text in list_in(content, key) if isinstance(text, str)]


def text_in(content: dict, key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def file_name_in(content: dict, key: str) -> str | None:
    """A text that names a file in a folder, and none beyond it, and is no longer than names may be."""
    name = text_in(content, key)
    if name in (None, "", ".", "..") or "/" in name or "\0" in name:
        return None
    return name if len(name.encode("utf-8", "surrogatepass")) <= constants.MOST_IN_NAME else None


def number_in(content: dict, key: str) -> float | None:
    """A number that can be computed with: no true, no nan, no 1 with a thousand zeros."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < HIGHEST else None


def is_number(value: object) -> bool:
    return number_in({"": value}, "") is not None


def whole_in(content: dict, key: str) -> int | None:
    """How many of something there are."""
    value = content.get(key)
    return value if type(value) is int and 0 <= value < MOST else None


def seconds_in(content: dict, key: str) -> float | None:
    number = number_in(content, key)
    return number if number is not None and 0 <= number <= LONGEST else None


def share_in(content: dict, key: str) -> float | None:
    number = number_in(content, key)
    return number if number is not None and 0 <= number <= 1 else None


def scalars_in(content: dict, key: str) -> dict[str, str | float]:
    """The texts and numbers of a table, which JSON can hold again."""
    table = table_in(content, key)
    found = {
        name: number_in(table, name) if text_in(table, name) is None else table[name]
        for name in table
        if isinstance(name, str)
    }
    return {name: value for name, value in found.items() if value is not None}


def preparation_in(said: dict, key: str = "preparation") -> dict:
    """How images become the pixels of a dataset or of a model's input, as far as it is said."""
    prepared, ranges = table_in(said, key), table_in(table_in(said, key), "ranges")
    limits = {sort: [one for one in list_in(ranges, sort) if is_number(one)] for sort in ranges}
    colour = [part for part in list_in(prepared, "background") if type(part) is int]
    return {
        **({"fit": fit} if (fit := text_in(prepared, "fit")) else {}),
        **({"background": colour} if len(colour) == 3 else {}),
        **(
            {"ranges": limits}
            if (limits := {k: v for k, v in limits.items() if len(v) == 2})
            else {}
        ),
    }


def names_in(content: dict, key: str) -> tuple[str, ...]:
    return names_of(list_in(content, key))


def names_of(values: list) -> tuple[str, ...]:
    """Class names, all of them or none."""
    if not all(isinstance(value, str) or type(value) is int for value in values):
        return ()
    return _shared(*map(str, values))


def outcomes_in(report: dict) -> int | None:
    """A bit for each test image; None where they are not as many as the images, or those that are 1 not
    as many as is said."""
    text, images, errors = (
        text_in(report, "right"),
        whole_in(report, "test_images"),
        whole_in(report, "errors"),
    )
    if text is None or images is None or errors is None:
        return None
    try:
        packed = bytes.fromhex(text)
    except ValueError:
        return None
    bits = int.from_bytes(packed) >> (-images % 8)
    fits = len(packed) == -(-images // 8) and bits.bit_count() == images - errors
    return bits if fits else None


@lru_cache(maxsize=1000)
def _shared(*names: str) -> tuple[str, ...]:
    """One copy of the class names, which thousands of reports have in common."""
    return names
