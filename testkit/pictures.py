"""What the tests of pictures share: names that no picture may stumble over, and looks at PNGs."""

from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

METADATA = {
    "Run": "2022-06-08 20:57:20.868637",
    "Dataset": "猫と犬 é",
    "Settings": "epochs = 2\nseed = 1",
}
HOSTILE = [
    "$x^2$",
    "$x^",
    "=cmd",
    "<script>",
    "two\nlines \x1b[31m",
    "猫 😀 قطة \u202egpj",
    "",
    "half \ud800",
    "w" * 5000,
]


def opened(png: bytes) -> Image.Image:
    image = Image.open(BytesIO(png), formats=["PNG"])
    image.load()
    return image


def pixels(png: bytes) -> np.ndarray:
    """uint8 (height, width, 3)."""
    return np.asarray(opened(png).convert("RGB"))


def margin_is_white(png: bytes, width: int = 20) -> bool:
    """Nothing is cut off: whatever left the picture would have to cross its edge."""
    frame = pixels(png).copy()
    frame[width:-width, width:-width] = 255
    return bool((frame == 255).all())


def has_colour(png: bytes, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(pixels(png).astype(int) - wanted).max(axis=-1) <= 2).any())


def texts_of(drawn: Figure | Axes) -> list[str]:
    return [text.get_text() for text in drawn.texts]
