"""Only whole, true PNGs are accepted, and bombs are refused before they are decoded.

All 161 pictures of a set like PngSuite (colour types, depths, interlace, odd sizes, filters,
compression, chunks beside the pixels) pass. Then they are damaged: bits flipped, ends cut, chunks
removed, doubled and swapped, filters and palettes that do not suit the pixels. What passes all the
same must show the very same pixels, and so must the neighbours of what is refused.
"""

import itertools
import random
import struct
import tempfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import constants
from pipeline.images.image_reader import read_images
from pipeline.images.png_check import KEPT, validate_png
from pipeline.images.preparation import ImageError, Preparation
from prove import Result
from testkit import pngs as known
from testkit.pngs import GREY, LEGAL, PALETTE, RGB, RGBA, chunk, header, png

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
    with tempfile.TemporaryDirectory() as folder:
        attempts = itertools.chain(
            (partial(_passes, name, content, pixels) for name, content, pixels in pictures),
            (partial(_is_refused, name, content) for name, content, _ in known.DAMAGED),
            _damages(some),
            (partial(_is_refused, "size", content) for content in _too_large()),
            _wrong_rows(Path(folder), pictures),
            _palettes(Path(folder)),
            _large(Path(folder)),
        )
        for attempt in attempts:
            tried += 1
            try:
                problem = attempt()
            except Exception as error:
                problem = f"{attempt.args[0]}: {type(error).__name__}: {error}"
            if problem:
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
    return None if known.passes_unchanged(content, pixels) else f"{name}: refused"


def _is_refused(name: str, content: bytes) -> str | None:
    try:
        validate_png(content)
    except ImageError:
        return None
    return f"{name}: accepted"


def _unnoticed(_: str, content: bytes, pixels: np.ndarray) -> None:
    """Damage may pass where it does no harm: in a text, say."""
    known.passes_unchanged(content, pixels)


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


def _wrong_rows(folder: Path, pictures: list[Picture]) -> Iterator[partial]:
    """Each row of each picture with a filter that no PNG has; a byte too many, or too few;
    or without the last of the checksums, which all fit."""
    for name, content, pixels in pictures:
        head, parts = validate_png(content)[0], _chunks(content)
        data = [place for place, part in enumerate(parts) if part[4:8] == b"IDAT"]
        before, after = parts[: data[0]], parts[data[-1] + 1 :]
        rows = zlib.decompress(b"".join(parts[place][8:-4] for place in data))
        bits = head.depth * known.CHANNELS[head.colour]
        starts = _row_starts(pixels.shape, bits, head.interlace)
        wrong = {
            f"filter {kind} at byte {start}": rows[:start] + bytes([kind]) + rows[start + 1 :]
            for start, kind in itertools.product(starts, (5, 255))
        }
        wrong |= {"a byte more": rows + b"\0", "a byte fewer": rows[:-1]}
        streams = {what: zlib.compress(changed) for what, changed in wrong.items()}
        streams["no checksum"] = zlib.compress(rows)[:-4]
        for what, stream in streams.items():
            damaged = _joined([*before, chunk(b"IDAT", stream), *after])
            yield partial(_is_refused_alone, f"{name}, {what}", folder, damaged, content)


def _row_starts(shape: tuple[int, ...], bits: int, interlace: int) -> Iterator[int]:
    """Where in the decompressed pixels each row begins, pass by pass."""
    height, width, _ = shape
    passes = np.tile(known.PASSES, (6, 6)) if interlace else np.ones((height, width))
    start = 0
    for number in range(1, 8):
        for columns in (passes[:height, :width] == number).sum(axis=1).tolist():
            if columns:
                yield start
                start += 1 + (columns * bits + 7) // 8


def _is_refused_alone(name: str, folder: Path, content: bytes, neighbour: bytes) -> str | None:
    """As ingestion reads it, between two that are read as if it were not there."""
    size = validate_png(neighbour)[0].width
    images, damaged = _read(folder, [neighbour, content, neighbour], size)
    alone, _ = _read(folder, [neighbour], size)
    if damaged.keys() != {1}:
        return f"{name}: accepted, or its neighbours were refused: {damaged}"
    same = np.array_equal(images[::2], alone.repeat(2, axis=0))
    return None if same else f"{name}: its neighbours have other pixels"


def _read(folder: Path, contents: list[bytes], size: int) -> tuple[np.ndarray, dict[int, str]]:
    files = [f"{number}.png" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        (folder / file).write_bytes(content)
    images = np.zeros((len(files), size, size, 3), np.uint8)
    return images, read_images(
        str(folder), files, Preparation(size), images.reshape(-1).data
    ).damaged


def _palettes(folder: Path) -> Iterator[partial]:
    """Palettes that name just the colours that the pixels use, one fewer, and all or more than the
    depth can."""
    for depth, interlace, size in itertools.product((1, 2, 4, 8), (0, 1), (1, 3, 9, 13)):
        for highest in sorted({0, 1, 2 ** (depth - 1), 2**depth - 2, 2**depth - 1}):
            draw = random.Random(f"{depth} {interlace} {size} {highest}")
            indexes = np.array([draw.randint(0, highest) for _ in range(size * size)])
            indexes[draw.randrange(size * size)] = highest
            indexes = indexes.reshape(size, size, 1)
            for count in {highest, highest + 1, 2**depth, 2**depth + 1} - {0}:
                palette = draw.randbytes(3 * count)
                content = known.written(indexes, depth, PALETTE, interlace, draw, palette)
                name = (
                    f"{size} x {size}, depth {depth}, interlace {interlace}, {highest} of {count}"
                )
                true = highest < count <= 2**depth
                pixels = known.on_white(indexes, depth, PALETTE, palette) if true else None
                yield partial(_is_read, name, folder, content, pixels)


def _is_read(name: str, folder: Path, content: bytes, pixels: np.ndarray | None) -> str | None:
    """As ingestion reads it, with these pixels; or it is refused, where there are none."""
    images, damaged = _read(folder, [content], 1 if pixels is None else len(pixels))
    if damaged or pixels is None:
        return None if damaged and pixels is None else f"{name}: {damaged or 'accepted'}"
    return None if np.array_equal(images[0], pixels) else f"{name}: other pixels"


def _large(folder: Path) -> Iterator[partial]:
    """A file of more bytes than a picture may have, which says nothing until it is read; and pictures
    of more pixels than are kept while they are checked, whose last row alone is wrong."""
    yield partial(_is_too_large, "a file", folder / "0.png")
    side = int(KEPT**0.5) + 1
    row, red = bytes(1 + side), chunk(b"PLTE", b"red")
    for last, true in ((row, True), (bytes(side) + b"\1", False), (b"\5" + bytes(side), False)):
        data = chunk(b"IDAT", zlib.compress(row * (side - 1) + last))
        content = png(header(side, side, 8, PALETTE), red, data)
        pixels = np.full((1, 1, 3), list(b"red"), np.uint8) if true else None
        name = f"{side} x {side}, last row {last[0]}...{last[-1]}"
        yield partial(_is_read, name, folder, content, pixels)


def _is_too_large(name: str, path: Path) -> str | None:
    with open(path, "wb") as file:
        file.truncate(constants.MAX_IMAGE_BYTES + 1)
    damaged = read_images(
        str(path.parent), [path.name], Preparation(1), memoryview(bytearray(3))
    ).damaged
    return None if "are allowed" in damaged[0] else f"{name}: {damaged}"
