"""Only whole, true PNGs are accepted, and bombs are refused before they are decoded.

All 161 pictures of a set like PngSuite (colour types, depths, interlace, odd sizes, filters,
compression, chunks beside the pixels) pass. Then they are damaged: bits flipped, ends cut, chunks
removed, doubled and swapped. What passes all the same must show the very same pixels.
"""

import itertools
import random
import struct
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np

from pipeline.png_check import PngError, check
from prove import Result
from tests import test_png_check as known
from tests.test_png_check import GREY, LEGAL, PALETTE, RGB, RGBA, chunk, header, png

Picture = tuple[str, bytes, np.ndarray]
LARGE = (0, 1, 2**13, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
ANCILLARY = (
    (b"bKGD", bytes(6)),
    (b"cHRM", bytes(32)),
    (b"gAMA", struct.pack(">I", 35000)),
    (b"sBIT", b"\5\5\5"),
    (b"sRGB", b"\0"),
    (b"pHYs", struct.pack(">IIB", 1, 4, 0)),
    (b"tEXt", b"Title\0PngSuite"),
    (b"zTXt", b"Title\0\0" + zlib.compress(b"PngSuite" * 9)),
    (b"iTXt", b"Title\0\0\0en\0Title\0PngSuite"),
    (b"tIME", bytes([7, 208, 1, 1, 12, 34, 56])),
    (b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    (b"prVt", b"of nobody's knowledge"),
)


def prove(full: bool) -> Result:
    pictures = list(_pictures())
    some = pictures if full else pictures[::40]
    tried, violations = 0, []
    attempts = itertools.chain(
        (partial(_passes, name, content, pixels) for name, content, pixels in pictures),
        (partial(_is_refused, name, content) for name, content, _ in known.DAMAGED),
        _damages(some),
        (partial(_is_refused, "size", content) for content in _too_large()),
    )
    for attempt in attempts:
        tried += 1
        if problem := attempt():
            violations.append(problem)
    figure = f"{len(pictures)} true PNGs, {tried - len(pictures):,} others, {len(violations)} wrong"
    return Result(tried, tried - len(violations), figure, violations)


def _pictures() -> Iterator[Picture]:
    """The set: as many as PngSuite has, each with the pixels that it shows in RGB."""
    for (colour, depth), interlace in itertools.product(LEGAL, (0, 1)):
        yield _picture("kind", 8, 8, depth, colour, interlace)
    for size in (*range(1, 10), *range(32, 41)):
        yield _picture("size", size, size, 4, PALETTE, 0)
    for size in range(1, 17):
        yield _picture("size", size, size, 4, PALETTE, 1)
    for colour, interlace, only in itertools.product((GREY, RGB, RGBA), (0, 1), range(5)):
        yield _picture("filter", 7, 5, 8, colour, interlace, only)
    for which, (kind, content) in itertools.product((0, 1), enumerate(ANCILLARY)):
        yield _with_chunk(which, kind, *content)
    for seed in range(43):
        colour, depth = LEGAL[seed % len(LEGAL)]
        yield _picture(f"mixed {seed}", 1 + seed % 13, 1 + seed % 7, depth, colour, seed % 2)


def _picture(
    what: str,
    width: int,
    height: int,
    depth: int,
    colour: int,
    interlace: int,
    only: int | None = None,
) -> Picture:
    """A picture drawn by chance, with the filter `only` in each row, or with all of them."""
    name = f"{what} {width}x{height} colour {colour} depth {depth} interlace {interlace} {only}"
    draw = random.Random(name)
    if only is not None:
        draw.randrange = partial(_as_a_rule, draw.randrange, only)
    count = height * width * known.CHANNELS[colour]
    samples = np.array([int(draw.random() * 2**depth) for _ in range(count)])
    samples = samples.reshape(height, width, -1)
    palette = draw.randbytes(3 * 2**depth) if colour == PALETTE else b""
    content = known.written(samples, depth, colour, interlace, draw, palette)
    return name, content, known.as_rgb(samples, depth, colour, palette)


def _as_a_rule(chance, only: int, below: int) -> int:
    return only if below == 5 else chance(below)  # there are five filters


def _with_chunk(which: int, number: int, kind: bytes, content: bytes) -> Picture:
    """A picture with a chunk that does not change it, before its pixels or after them."""
    name, plain, pixels = _picture("chunk", 5, 4, 8, RGB, which)
    parts = _chunks(plain)
    place = 1 if which == 0 or kind != b"tEXt" else len(parts) - 1
    name, parts = f"{kind} {number} {name}", [*parts[:place], chunk(kind, content), *parts[place:]]
    return name, _joined(parts), pixels


def _chunks(content: bytes) -> list[bytes]:
    parts, position = [], 8
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        parts.append(content[position:end])
        position = end
    return parts


def _joined(parts: list[bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _passes(name: str, content: bytes, pixels: np.ndarray) -> str | None:
    try:
        return None if known.passes_unchanged(content, pixels) else f"{name}: refused"
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"


def _is_refused(name: str, content: bytes) -> str | None:
    try:
        check(content)
    except PngError:
        return None
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return f"{name}: accepted"


def _unnoticed(name: str, content: bytes, pixels: np.ndarray) -> str | None:
    """Damage may pass where it does no harm: in a text, say."""
    try:
        known.passes_unchanged(content, pixels)
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return None


def _damages(pictures: list[Picture]) -> Iterator[partial]:
    for name, content, pixels in pictures:
        for place, bit in itertools.product(range(len(content)), range(8)):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            yield partial(_is_refused, f"{name}, bit {place}.{bit}", bytes(flipped))
        for size in range(len(content)):
            yield partial(_is_refused, f"{name}, the first {size} bytes", content[:size])
        yield partial(_is_refused, f"{name}, a byte after it", content + b"\0")
        for what, parts in _rearranged(_chunks(content)):
            yield partial(_unnoticed, f"{name}, {what}", _joined(parts), pixels)


def _rearranged(parts: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    for place, part in enumerate(parts):
        before, after = parts[:place], parts[place + 1 :]
        yield f"without chunk {place}", before + after
        yield f"chunk {place} twice", [*before, part, part, *after]
    for one, other in itertools.combinations(range(len(parts)), 2):
        swapped = list(parts)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        yield f"chunks {one} and {other} swapped", swapped


def _too_large() -> Iterator[bytes]:
    """Sizes that no picture of a few bytes has, and one that decompresses to more than it says."""
    kinds = [(1, GREY, 0), (8, RGB, 1), (16, RGBA, 0)]
    for (width, height), (depth, colour, interlace) in itertools.product(
        itertools.product(LARGE, LARGE), kinds
    ):
        yield png(header(width, height, depth, colour, interlace=interlace), known.IDAT)
    yield png(header(), chunk(b"IDAT", zlib.compress(bytes(10**8))))
