"""How an image becomes pixels: its size, its fit, its background, and the largest that is decoded.

Reader processes get it as plain JSON.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

import constants

FITS = ("crop", "pad", "squeeze")
FIT_NOTES = {"crop": "cropped", "pad": "padded", "squeeze": "squeezed"}
# An image that is more than so many times too large is first made smaller by whole numbers, which
# takes a third of the time and changes no pixel visibly.
REDUCING_GAP = 3.0
MOST_REDUCED = 256  # times too large; beyond, Pillow's division no longer keeps a plain colour


class ImageError(ValueError):
    """What is wrong with an image, as the end of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class Preparation:
    """size: pixels, width and height of what comes out.
    fit: of an image that is not square, "crop" takes the square in its middle, "pad" adds background
        at two sides, "squeeze" changes its shape.
    background: red, green and blue of what shows through transparency, and beside a padded image.
    largest_image: pixels; an image with more is refused before it is decoded.
    """

    size: int
    fit: str = constants.FIT
    background: tuple[int, int, int] = constants.BACKGROUND
    largest_image: int = constants.MAX_IMAGE_PIXELS

    def as_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, said: dict[str, Any]) -> "Preparation":
        return cls(**{**said, "background": tuple(said["background"])})

    def check_size(self, width: int, height: int) -> None:
        check_size(width, height, self.largest_image)

    def notes(self, width: int, height: int) -> list[str]:
        """What is done to an image of this size that a person may not want."""
        said = [FIT_NOTES[self.fit]] if width != height else []
        return said + (["smaller"] if self.scale(width, height) > 1 else [])

    def scale(self, width: int, height: int) -> float:
        """How many times as large an image of this size becomes; squeezed, in its short side."""
        return self.size / (max if self.fit == "pad" else min)(width, height)

    def resized(self, image: Image.Image, shape: tuple[int, int]) -> Image.Image:
        """`image` as large as it will be; what is to be padded is not yet.

        `shape` is its width and height in its file, which may be larger, and say more exactly how
        wide it is for its height.
        """
        if image.size == (self.size, self.size):
            return image
        width, height = image.size
        target, box = (self.size, self.size), (0.0, 0.0, float(width), float(height))
        if self.fit == "crop":
            left, top = (width - min(width, height)) / 2, (height - min(width, height)) / 2
            box = (left, top, width - left, height - top)
        elif self.fit == "pad":
            scale, (width, height) = self.scale(*shape), shape
            target = (
                max(1, math.floor(width * scale + 0.5)),
                max(1, math.floor(height * scale + 0.5)),
            )
        method = Image.Resampling[constants.RESIZE.upper()]
        gap = REDUCING_GAP if max(image.size) < MOST_REDUCED * self.size else None
        return image.resize(target, method, box, gap)

    def padded(self, image: Image.Image) -> Image.Image:
        """An RGB image with background at two sides, if it needs any."""
        if image.size == (self.size, self.size):
            return image
        whole = Image.new("RGB", (self.size, self.size), self.background)
        whole.paste(image, ((self.size - image.width) // 2, (self.size - image.height) // 2))
        return whole


def check_size(width: int, height: int, largest: int) -> None:
    """Before anything is allocated for the pixels.

    Raises:
        ImageError: there are none, or more than `largest`.
    """
    if width < 1 or height < 1:
        raise ImageError(f"says that it is {width} x {height} pixels")
    if width * height > largest:
        raise ImageError(
            f"has {width} x {height} pixels, more than the {largest:,} allowed (--largest-image)"
        )
