"""One checked image in, its pixels out: oriented, on a background, in RGB and of one size."""

import importlib
import io
import math
import os
import warnings
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from helper import printable
from pipeline.images import png_check
from pipeline.images.formats import Facts
from pipeline.images.preparation import ImageError, Preparation
from pipeline.images.tiff_check import orientation_in

# What Exif's numbers ask for, as in Pillow's ImageOps.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# By components: Pillow's mode, and how libjpeg is asked for it. Four are taken to be inverted, as
# Adobe's are, and all others that people have.
JPEG_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}
# libjpeg makes each 8 x 8 pixels 1, 2, 3 or 4 wide while it decodes, which takes less time, where it
# is asked for an eighth, a quarter, a third or a half: it takes the next that is not smaller.
JPEG_SCALES = {1: 8, 2: 4, 3: 3, 4: 2}
LEAST_CONTRAST = (
    16  # of 255; an image with less on its background is seen in its alpha alone, if there
)

Range = tuple[float, float]


class Prepared(NamedTuple):
    pixels: bytes
    notes: list[str]
    values: tuple[str, Range] | None  # of an image of more than 8 bits: of what sort, and its range


def prepare(
    content: bytes, facts: Facts, preparation: Preparation, ranges: dict[str, Range]
) -> Prepared:
    """The pixels of an image in any format but PNG that `formats.validate` has passed.

    `ranges` has by its sort what becomes black and white in an image of more than 8 bits; without,
    the darkest and the lightest in that image do.

    Raises:
        ImageError: it does not decode.
    """
    with silence() if facts.format != "JPEG" else nullcontext():
        return _prepare(content, facts, preparation, ranges)


@contextmanager
def silence() -> Iterator[None]:
    """Pillow warns of what stands beside the pixels, and libtiff writes to file 2 whatever it finds.

    It is one silence for the whole process, so two threads cannot have it at the same time.
    """
    with open(os.devnull, "wb") as nothing:
        kept = os.dup(2)
        try:
            os.dup2(nothing.fileno(), 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _prepare(
    content: bytes, facts: Facts, preparation: Preparation, ranges: dict[str, Range]
) -> Prepared:
    try:
        if facts.format == "JPEG":
            return finish(_decode_jpeg(content, facts, preparation), facts, preparation, ranges)
        image, facts = _decode(content, facts, preparation)
        return finish(image, facts, preparation, ranges)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"is damaged, or a {facts.format} of a sort that is not read") from None
    except Exception as error:  # whatever a decoder comes upon in damaged bytes
        raise ImageError(f"is damaged: {printable(str(error)) or type(error).__name__}") from None


def _decode_jpeg(content: bytes, facts: Facts, preparation: Preparation) -> Image.Image:
    """As Image.open() and draft() do, which take as long again for a small image."""
    wanted = 8 * preparation.scale(facts.width, facts.height)
    eighths = next((eighths for eighths in JPEG_SCALES if eighths >= wanted), 8)
    size = -(-facts.width * eighths // 8), -(-facts.height * eighths // 8)
    mode, raw = JPEG_MODES[facts.components]
    return Image.frombytes(mode, size, content, "jpeg", raw, "", JPEG_SCALES.get(eighths, 1), 0)


def _decode(content: bytes, facts: Facts, preparation: Preparation) -> tuple[Image.Image, Facts]:
    if facts.format == "HEIC":
        return _decode_heic(content), facts
    with Image.open(io.BytesIO(content), formats=[facts.format]) as image:
        preparation.check_size(*image.size)
        if facts.format == "AVIF":
            orientation = orientation_in(image.info.get("exif", b""))
            facts = facts._replace(frames=getattr(image, "n_frames", 1), orientation=orientation)
        elif facts.format == "WEBP":
            facts = facts._replace(orientation=orientation_in(image.info.get("exif", b"")))
        image.load()
        return image, facts


def _decode_heic(content: bytes) -> Image.Image:
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise ImageError(
            "is a HEIC photograph, which the package pillow-heif reads (pip install pillow-heif)"
        ) from None
    return pillow_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=True).to_pillow()


def prepare_png(
    content: bytes, header: png_check.Header, preparation: Preparation, ranges: dict[str, Range]
) -> Prepared:
    """The pixels of a checked PNG.

    Raises:
        ImageError: it has pixels that point beyond its palette, or does not decode.
    """
    only_pixels = io.BytesIO(png_check.without_extras(content, bool(header.transparency)))
    try:
        with Image.open(only_pixels, formats=["PNG"]) as image:
            # What lies beyond the palette Pillow draws black, and others draw something else.
            if header.colours and image.getextrema()[1] >= header.colours:  # type: ignore[operator]  # of one band
                raise ImageError(
                    f"has pixels that point beyond its palette of {header.colours} colours"
                )
            image.load()
            if header.colour == 0 and header.transparency:  # Pillow does not stretch it to 8 bits
                value = int.from_bytes(header.transparency) & (2**header.depth - 1)
                image.info["transparency"] = value * 255 // (2**header.depth - 1)
            prepared = finish(image, facts_of_png(header), preparation, ranges)
    except OSError as error:
        raise ImageError(f"cannot be read: {error}") from None
    if header.depth == 16 and header.colour:
        prepared.notes.append("16 bit colour")
    return prepared


def facts_of_png(header: png_check.Header) -> Facts:
    return Facts("PNG", header.width, header.height, header.orientation, header.frames)


def finish(
    image: Image.Image, facts: Facts, preparation: Preparation, ranges: dict[str, Range]
) -> Prepared:
    """All that comes after decoding."""
    shape = (facts.width, facts.height) if facts.format == "JPEG" else image.size
    notes, values = preparation.notes(*shape), None
    if sort := _sort_of_values(image.mode):
        image, own = _deep(image, sort)
        values = sort, own
        notes.append(sort)
        image = _in_8_bits(preparation.resized(image, shape), *ranges.get(sort, own))
    else:
        image = preparation.resized(_opaque(image, preparation.background, notes), shape)
    image = image if image.mode == "RGB" else image.convert("RGB")
    if facts.orientation in TURNS:
        image = image.transpose(TURNS[facts.orientation])
    if facts.orientation > 1 or facts.turned:
        notes.append("oriented")
    if facts.frames > 1:
        notes.append("frames")
    return Prepared(preparation.padded(image).tobytes(), notes, values)


def _sort_of_values(mode: str) -> str:
    if mode.startswith("I;16"):
        return "16 bit"
    return {"I": "32 bit", "F": "float"}.get(mode, "")


def _deep(image: Image.Image, sort: str) -> tuple[Image.Image, Range]:
    """With floats for pixels, and the range of these."""
    if image.mode != "F":
        image = image.convert("I").convert("F")
    elif not math.isfinite(sum(array("f", image.tobytes()))):
        raise ImageError("has pixels that are no finite numbers")
    low, high = image.getextrema()
    return image, (float(low), float(high))  # type: ignore[arg-type]  # of one band


def _in_8_bits(image: Image.Image, low: float, high: float) -> Image.Image:
    scale = 255 / (high - low) if high > low else 0.0
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _opaque(image: Image.Image, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    """In gray or RGB, with what is transparent on the background."""
    if not image.has_transparency_data:
        if image.mode in ("L", "RGB"):
            return image
        return image.convert("L" if image.mode == "1" else "RGB")
    image = image.convert("RGBA")
    alpha, colours = image.getchannel("A"), image.convert("RGB")
    low, high = alpha.getextrema()
    if low == 255:
        return colours
    whole = Image.new("RGB", image.size, background)
    whole.paste(colours, mask=alpha)
    contrast = max(highest - lowest for lowest, highest in whole.getextrema())  # type: ignore[misc]
    if contrast < LEAST_CONTRAST <= high - low:  # type: ignore[operator]
        notes.append("only alpha")
        return alpha
    notes.append("transparent")
    return whole
