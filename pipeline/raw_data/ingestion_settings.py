"""How raw datasets become datasets: from the options of the stage, and per raw dataset from a file in it.

The file is `ingestion.toml`, so that the choice travels with the data:

    image_size = 64            # pixels, or "auto"
    fit = "pad"                # crop, pad or squeeze
    background = [0, 0, 0]     # red, green, blue, under what is transparent
    test_share = 0.25          # held out for testing where there is no test part
"""

import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import constants
from helper import printable, read_file
from pipeline.images.preparation import FITS
from pipeline.problem import Problem, RawDatasetError

FILE = "ingestion.toml"


@dataclass(frozen=True)
class IngestionSettings:
    """How a raw dataset becomes a dataset.

    image_size: pixels, width and height; 0 to choose it by the images.
    fit: what is done about images that are not square: "crop", "pad" or "squeeze".
    background: red, green and blue, 0 to 255, under what is transparent.
    test_share: the share of the images that is held out where there is no test part.
    largest_image: pixels that an image may have.
    strict: whether one damaged image keeps a raw dataset out also where no table lists it.
    """

    image_size: int = 0
    fit: str = constants.FIT
    background: tuple[int, int, int] = constants.BACKGROUND
    test_share: float = constants.TEST_SHARE
    largest_image: int = constants.MAX_IMAGE_PIXELS
    strict: bool = False

    def as_plain(self) -> dict[str, Any]:
        return {**asdict(self), "background": list(self.background)}

    def with_file(self, folder: Path) -> "IngestionSettings":
        """These settings, with those that the raw dataset in `folder` has of its own.

        Raises:
            RawDatasetError: its file says something that is not allowed.
        """
        try:
            content = read_file(folder / FILE, constants.MOST_SET_BYTES)
        except FileNotFoundError:
            return self
        except OSError as error:
            raise _refusal(
                f"{FILE} cannot be read: {error.strerror}.", "Make it readable."
            ) from None
        try:
            values = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            raise _refusal(f"{FILE} is no TOML: {printable(error)}.", "Correct it.") from None
        for key, value in values.items():
            if key not in ALLOWED:
                raise _refusal(
                    f"{FILE} says {printable(key)}, expected {', '.join(ALLOWED)}.",
                    "Correct or remove it.",
                )
            if problem := wrong_value(key, value):
                raise _refusal(f"{FILE}: {problem}.", "Correct it.")
        return replace(self, **_typed(values))

    @classmethod
    def of(cls, values: dict[str, Any], largest_image: int, strict: bool) -> "IngestionSettings":
        """The settings with these values, all of which are right."""
        return cls(**_typed(values), largest_image=largest_image, strict=strict)


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    typed = dict(values)
    if typed.get("image_size") == "auto":
        typed["image_size"] = 0
    if "background" in typed:
        typed["background"] = tuple(typed["background"])
    return typed


def wrong_value(key: str, value: Any) -> str:
    """What is wrong with the value of a setting, or ""."""
    allowed, sentence = ALLOWED[key]
    return "" if allowed(value) else f"{key} is {printable(value)}, expected {sentence}"


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


ALLOWED: dict[str, tuple[Any, str]] = {
    "image_size": (
        lambda value: value == "auto" or _is_whole(value, 1, constants.MAX_IMAGE_SIZE),
        f'"auto" or a whole number from 1 to {constants.MAX_IMAGE_SIZE}',
    ),
    "fit": (lambda value: value in FITS, " or ".join(FITS)),
    "background": (
        lambda value: (
            isinstance(value, list | tuple)
            and len(value) == 3
            and all(_is_whole(part, 0, 255) for part in value)
        ),
        "three whole numbers from 0 to 255: red, green, blue",
    ),
    "test_share": (
        lambda value: (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1
        ),
        "a number between 0 and 1",
    ),
}


def _refusal(text: str, cure: str) -> RawDatasetError:
    return RawDatasetError([Problem("settings", text, cure, file=FILE)])
