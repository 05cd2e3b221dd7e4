"""Small images that are alike, decoded together: one call of Pillow's takes longer than one of them does."""

import struct
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image

from pipeline.images import image_decoder
from pipeline.images.formats import Facts
from pipeline.images.png_check import Header, zlib
from pipeline.images.preparation import ImageError, Preparation

PLAIN_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}  # Pillow's names, by a PNG's colour type
# About so many bytes of rows are decoded together. With more, malloc() asks the kernel for each
# piece of memory and gives it back, and the caches are too small.
TOGETHER = 2**16
MOST_STORED = 2**16 - 1  # bytes in a block of a zlib stream

Decoded = tuple[bytes | memoryview, Sequence[str]]  # pixels and notes


@lru_cache
def most_together(header: Header | Facts, size: int) -> int:
    """How many images with this header are decoded together, where `size` is wanted; 0: none are."""
    if header.orientation > 1:
        return 0
    if isinstance(header, Facts):
        fits = header.components in (1, 3) and (header.width, header.height) == (size, size)
        return TOGETHER // (size * size * 3) if fits else 0
    plain = header.depth == 8 and not header.interlace and header.colour in PLAIN_MODES
    return max(1, TOGETHER // header.size) if plain and not header.transparency else 0


def decode_together(
    header: Header | Facts, some: list[tuple[bytes, bytes]], preparation: Preparation
) -> list[Decoded]:
    """The pixels of images with one header, as if each were decoded alone; `some` are files and rows.

    Raises:
        ImageError: one of them does not decode.
    """
    if isinstance(header, Facts):
        return _decode_jpegs(header, [content for content, _ in some])
    return _decode_pngs(header, [rows for _, rows in some], preparation)


def _decode_jpegs(facts: Facts, contents: list[bytes]) -> list[Decoded]:
    """Of the size that is wanted."""
    mode, raw = image_decoder.JPEG_MODES[facts.components]
    width, height = facts.width, facts.height
    tall = Image.new(mode, (width, height * len(contents)))
    for number, content in enumerate(contents):
        decoder = Image.core.jpeg_decoder(mode, raw, "", 1, 0)
        decoder.setimage(tall.im, (0, number * height, width, (number + 1) * height))
        unfinished, error = decoder.decode(content)
        if unfinished >= 0 or error:
            raise ImageError("is damaged")
    return [(pixels, ()) for pixels in _pieces(tall, height, 0)]


def _decode_pngs(header: Header, some: list[bytes], preparation: Preparation) -> list[Decoded]:
    """They are put one below the other into one tall image, with a row of zeros between two: it
    stands for the nothing above an image's first row, which the filters of that row look at.
    """
    width, height = header.width, header.height
    mode, nothing = PLAIN_MODES[header.colour], bytes(header.size // height)
    stream = _stored(nothing.join(some))
    tall_size = width, len(some) * (height + 1) - 1
    tall = Image.frombytes(mode, tall_size, stream, "zip", mode, 0)
    if (width, height) == (preparation.size, preparation.size) and _is_opaque(tall, height):
        notes = ["frames"] if header.frames > 1 else []
        return [(pixels, notes) for pixels in _pieces(tall, height, 1)]
    facts = image_decoder.facts_of_png(header)
    crops = (tall.crop((0, top, width, top + height)) for top in range(0, tall.height, height + 1))
    return [image_decoder.finish(image, facts, preparation, {})[:2] for image in crops]


def _stored(content: bytes) -> bytes:
    """A zlib stream of `content` as it is (RFC 1950, 1951), which zlib itself takes longer to write."""
    parts = [b"\x78\x01"]
    for start in range(0, len(content), MOST_STORED):
        part = content[start : start + MOST_STORED]
        last = start + MOST_STORED >= len(content)
        parts += [struct.pack("<BHH", last, len(part), len(part) ^ MOST_STORED), part]
    return b"".join([*parts, zlib.adler32(content).to_bytes(4)])


def _is_opaque(tall: Image.Image, height: int) -> bool:
    """Whether the images in it are; the rows between them are transparent, if that is possible."""
    if not tall.mode.endswith("A"):
        return True
    between = tall.height // (height + 1) * tall.width
    return tall.getchannel("A").histogram()[255] == tall.height * tall.width - between


def _pieces(tall: Image.Image, height: int, between: int) -> list[memoryview]:
    """The pixels in RGB of each image in a tall one."""
    rgb = tall if tall.mode == "RGB" else tall.convert("RGB")
    view, line = memoryview(rgb.tobytes()), tall.width * 3
    starts = range(0, len(view), line * (height + between))
    return [view[start : start + line * height] for start in starts]
