"""A PNG writer that has nothing in common with the code under test, and damage of each kind."""

import itertools
import random
import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.images import png_check
from pipeline.images.png_check import validate_png, without_extras
from pipeline.images.preparation import ImageError

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
LEGAL = [
    *itertools.product([GREY], [1, 2, 4, 8, 16]),
    *itertools.product([PALETTE], [1, 2, 4, 8]),
    *itertools.product([RGB, GREY_ALPHA, RGBA], [8, 16]),
]
# Which pass of an interlaced PNG brings which pixel, as the specification draws it.
PASSES = np.array(
    [
        [1, 6, 4, 6, 2, 6, 4, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [5, 6, 5, 6, 5, 6, 5, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [3, 6, 4, 6, 3, 6, 4, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
        [5, 6, 5, 6, 5, 6, 5, 6],
        [7, 7, 7, 7, 7, 7, 7, 7],
    ]
)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + crc(kind + content)


def crc(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))


def header(width=5, height=4, depth=8, colour=RGB, compression=0, filters=0, interlace=0) -> bytes:
    content = struct.pack(">IIBBBBB", width, height, depth, colour, compression, filters, interlace)
    return chunk(b"IHDR", content)


def png(*chunks: bytes) -> bytes:
    return b"".join([png_check.SIGNATURE, *chunks, chunk(b"IEND")])


def packed(values: list[int], depth: int) -> bytes:
    """A row's samples; the bits that fill up its last byte are of no account, and so are ones."""
    bits = "".join(f"{value:0{depth}b}" for value in values)
    size = -(-len(bits) // 8)
    return int(bits.ljust(size * 8, "1"), 2).to_bytes(size)


def filtered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    line = [kind]
    for place, value in enumerate(row):
        left, corner = (row[place - step], above[place - step]) if place >= step else (0, 0)
        up = above[place]
        nearest = min((left, up, corner), key=lambda other: abs(left + up - corner - other))
        line.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) & 255)
    return bytes(line)


def lines(samples: np.ndarray, depth: int, rng: random.Random) -> bytes:
    """The filtered rows of (height, width, channels), each with a filter drawn by chance."""
    step, above, result = max(1, samples.shape[2] * depth // 8), None, b""
    for row in samples:
        content = packed(row.ravel().tolist(), depth)
        result += filtered(rng.randrange(5), content, above or bytes(len(content)), step)
        above = content
    return result


def interlaced_lines(samples: np.ndarray, depth: int, rng: random.Random) -> bytes:
    height, width, channels = samples.shape
    order = np.tile(PASSES, (2, 2))[:height, :width]
    result = b""
    for number in range(1, 8):
        rows = [samples[y][order[y] == number] for y in range(height)]
        if some := [row for row in rows if len(row)]:
            result += lines(np.array(some).reshape(len(some), -1, channels), depth, rng)
    return result


def pieces_of(content: bytes, rng: random.Random) -> list[bytes]:
    """`content` as several IDAT chunks, some of them perhaps empty."""
    cuts = sorted(rng.randrange(len(content) + 1) for _ in range(rng.randrange(4)))
    bounds = [0, *cuts, len(content)]
    return [chunk(b"IDAT", content[a:b]) for a, b in itertools.pairwise(bounds)]


def written(samples, depth, colour, interlace, rng, palette=b"") -> bytes:
    height, width, _ = samples.shape
    pixels = (interlaced_lines if interlace else lines)(samples, depth, rng)
    extras = [chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"tEXt", b"Title\0a cat")]
    transparent = {GREY: b"\0\1", RGB: b"\0\1\0\2\0\3", PALETTE: b"\x80"}
    return png(
        header(width, height, depth, colour, interlace=interlace),
        *rng.sample(extras, rng.randrange(3)),
        *([chunk(b"PLTE", palette)] if palette else []),
        *([chunk(b"tRNS", transparent[colour])] if colour in transparent else []),
        *pieces_of(zlib.compress(pixels, rng.randrange(10)), rng),
        *rng.sample([chunk(b"tIME", bytes([7, 230, 6, 8, 20, 57, 20]))], rng.randrange(2)),
    )


def as_rgb(samples: np.ndarray, depth: int, colour: int, palette: bytes) -> np.ndarray:
    if colour == PALETTE:
        return np.frombuffer(palette, np.uint8).reshape(-1, 3)[samples[..., 0]]
    eight = samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)
    if colour in (GREY, GREY_ALPHA):
        eight = eight[..., :1].repeat(3, axis=2)
    return eight[..., :3].astype(np.uint8)


def on_white(samples: np.ndarray, depth: int, colour: int, palette: bytes) -> np.ndarray:
    """What a palette picture that `written` wrote shows on white: its first colour is half transparent."""
    pixels = as_rgb(samples, depth, colour, palette).astype(int)
    alpha = np.where(samples == 0, 0x80, 255)
    return ((pixels * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def decoded(content: bytes) -> np.ndarray:
    """What Pillow makes of it, as uint8 (height, width, 3)."""
    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        if image.mode == "I;16":
            return (np.asarray(image) >> 8).astype(np.uint8)[..., None].repeat(3, axis=2)
        return np.asarray(image.convert("RGB"))


# The small PNGs that the damage is done to.

PIXELS = np.random.default_rng(3).integers(0, 256, (4, 5, 3))
STREAM = zlib.compress(lines(PIXELS, 8, random.Random(1)))
IDAT, IEND = chunk(b"IDAT", STREAM), chunk(b"IEND")
SMALL_CHUNKS = [
    header(),
    chunk(b"tEXt", b"a\0b"),
    chunk(b"IDAT", STREAM[:30]),
    chunk(b"IDAT", STREAM[30:]),
]
SMALL = png(*SMALL_CHUNKS)
COLOURS = bytes(range(48))
INDEXES = np.arange(20).reshape(4, 5, 1) % 16
INDEXED_STREAM = zlib.compress(lines(INDEXES, 4, random.Random(2)))
INDEXED_CHUNKS = [
    header(depth=4, colour=PALETTE),
    chunk(b"gAMA", struct.pack(">I", 45455)),
    chunk(b"PLTE", COLOURS),
    chunk(b"tRNS", b"\x80\x40"),
    chunk(b"tEXt", b"a\0b"),
    chunk(b"IDAT", INDEXED_STREAM[:12]),
    chunk(b"IDAT", INDEXED_STREAM[12:]),
    chunk(b"tIME", bytes([7, 230, 6, 8, 20, 57, 20])),
    IEND,
]
INDEXED_RGB = as_rgb(INDEXES, 4, PALETTE, COLOURS)


def with_idat(stream: bytes, **changes) -> bytes:
    return png(header(**changes), chunk(b"IDAT", stream))


def saved_as(kind: str) -> bytes:
    file = BytesIO()
    Image.fromarray(PIXELS.astype(np.uint8)).save(file, kind)
    return file.getvalue()


def passes_unchanged(content: bytes, pixels: np.ndarray) -> bool:
    """Whether it is accepted. It fails if it is, with another size or with other pixels."""
    try:
        size = validate_png(content)[0][:2]
    except ImageError as error:
        assert len(str(error)) > 5
        return False
    assert size == (pixels.shape[1], pixels.shape[0])
    np.testing.assert_array_equal(decoded(without_extras(content)), pixels)
    return True


KINDS = [b"ABCD", b"JDAT", b"IDAU", b"ab d", b"a1cd", b"\0\0\0\0", b"tEX\xff"]
IMPOSSIBLE = [
    *({"colour": colour} for colour in (1, 5, 7, 255)),
    *({"depth": depth} for depth in (0, 1, 2, 3, 4, 7, 9, 32, 255)),
    {"colour": PALETTE, "depth": 16},
    {"colour": GREY_ALPHA, "depth": 4},
    {"colour": RGBA, "depth": 2},
    {"compression": 1},
    {"filters": 1},
    {"filters": 64},
    {"interlace": 2},
]
UNLIKE = [  # the header says something else than the pixels do
    {"width": 4},
    {"width": 6},
    {"height": 3},
    {"height": 5},
    {"depth": 16},
    {"colour": GREY},
    {"colour": RGBA},
    {"interlace": 1},
]
DAMAGED = [
    ("empty", b"", "is empty"),
    *((f"a {kind}", saved_as(kind), "is not a PNG file") for kind in ("GIF", "JPEG", "BMP")),
    ("text", b"file,label\n", "is not a PNG file"),
    ("zeros", bytes(200), "is not a PNG file"),
    ("a byte before", b"\n" + SMALL, "is not a PNG file"),
    ("line ends changed", SMALL.replace(b"\r\n", b"\n"), "is not a PNG file"),
    ("the signature only", SMALL[:8], "is cut off: it has no end (IEND)"),
    ("no end", SMALL[:-12], "is cut off: it has no end (IEND)"),
    ("cut in a chunk", SMALL[:70], "is cut off in the middle of a chunk"),
    ("cut before the last byte", SMALL[:-1], "is cut off: it has no end (IEND)"),
    ("a byte after", SMALL + b"\0", "goes on after its end (IEND)"),
    ("twice", SMALL + SMALL, "goes on after its end (IEND)"),
    ("an end that holds something", SMALL[:-12] + chunk(b"IEND", b"x"), "goes on after its end"),
    *(
        (
            f"wrong checksum of {name}",
            SMALL[: at - 1] + bytes([SMALL[at - 1] ^ 1]) + SMALL[at:],
            why,
        )
        for name, at, why in [
            ("IHDR", 33, "is damaged: the checksum of its chunk at byte 8 does not match"),
            ("tEXt", 48, "is damaged: the checksum of its chunk at byte 33 does not match"),
            ("IEND", len(SMALL), "is damaged: the checksum of its chunk"),
        ]
    ),
    ("length past the end", SMALL[:33] + b"\xff" * 4 + SMALL[37:], "is cut off in the middle"),
    ("no header", png(IDAT), "does not begin with one image header (IHDR)"),
    ("two headers", png(header(), header(), IDAT), "does not begin with one image header"),
    ("a late header", png(IDAT, header()), "does not begin with one image header (IHDR)"),
    ("a short header", png(chunk(b"IHDR", bytes(12)), IDAT), "does not begin with one image"),
    ("a long header", png(chunk(b"IHDR", bytes(14)), IDAT), "does not begin with one image"),
    ("no width", with_idat(STREAM, width=0), "says that it is 0 x 4 pixels"),
    ("no height", with_idat(STREAM, height=0), "says that it is 5 x 0 pixels"),
    *(
        (f"header with {change}", with_idat(STREAM, **change), "that no PNG has")
        for change in IMPOSSIBLE
    ),
    *((f"header with {change}", with_idat(STREAM, **change), "pixels") for change in UNLIKE),
    *(
        (f"chunk {kind!r}", png(header(), chunk(kind), IDAT), f"chunk of unknown kind {kind!r}")
        for kind in KINDS
    ),
    ("no pixels", png(header()), "holds no pixels (IDAT)"),
    ("empty pixels", with_idat(b""), "holds 0 of 64 bytes of pixels"),
    (
        "pixels split by another chunk",
        png(*SMALL_CHUNKS[:3], chunk(b"tEXt", b"a\0b"), SMALL_CHUNKS[3]),
        "has its pixels (IDAT) in pieces that do not follow one another",
    ),
    (
        "pixels in a wrong order",
        png(header(), *SMALL_CHUNKS[:1:-1]),
        "its pixels do not decompress",
    ),
    ("two palettes", png(header(), *[chunk(b"PLTE", COLOURS)] * 2, IDAT), "palette (PLTE) out of"),
    ("a late palette", png(header(), IDAT, chunk(b"PLTE", COLOURS)), "palette (PLTE) out of place"),
    (
        "a palette for grey",
        png(header(colour=GREY), chunk(b"PLTE", COLOURS), IDAT),
        "palette (PLTE) out of place",
    ),
    ("no palette", png(header(depth=4, colour=PALETTE), IDAT), "has no palette (PLTE)"),
    *(
        (
            f"a palette of {size} bytes",
            png(header(depth=4, colour=PALETTE), chunk(b"PLTE", bytes(size)), *INDEXED_CHUNKS[5:7]),
            "has a palette (PLTE) of a wrong length",
        )
        for size in (0, 2, 47, 771)
    ),
    *(
        (
            f"a palette of {2**depth + 1} colours for {depth} bits",
            png(
                header(depth=depth, colour=PALETTE),
                chunk(b"PLTE", bytes(3 * 2**depth + 3)),
                chunk(b"IDAT", zlib.compress(bytes(8))),
            ),
            f"has a palette of {2**depth + 1} colours, more than the {2**depth} of its depth {depth}",
        )
        for depth in (1, 2, 4)
    ),
    ("no zlib stream", with_idat(b"nothing of the kind"), "its pixels do not decompress"),
    ("zeros for pixels", with_idat(bytes(64)), "its pixels do not decompress"),
    ("wrong zlib checksum", with_idat(STREAM[:-1] + b"\0"), "its pixels do not decompress"),
    ("no zlib checksum", with_idat(STREAM[:-4]), "holds 64 of 64 bytes of pixels"),
    ("pixels cut off", with_idat(STREAM[:40]), "of 64 bytes of pixels"),
    ("a byte too few", with_idat(zlib.compress(bytes(63))), "holds 63 of 64 bytes of pixels"),
    ("a byte too many", with_idat(zlib.compress(bytes(65))), "holds more pixels than it says"),
    ("half the rows", with_idat(zlib.compress(bytes(32))), "holds 32 of 64 bytes of pixels"),
    ("bytes after the pixels", with_idat(STREAM + b"\0"), "has bytes after its pixels"),
    (
        "a chunk after the pixels",
        png(header(), IDAT, chunk(b"IDAT", b"more")),
        "has bytes after its pixels",
    ),
    ("two streams", with_idat(STREAM + STREAM), "has bytes after its pixels"),
    (
        "a zlib dictionary",
        with_idat(b"\x78\xbb" + bytes(4) + STREAM[2:]),
        "its pixels do not decompress",
    ),
    (
        "endless chunks",
        png(header(), chunk(b"tEXt") * png_check.MOST_CHUNKS, IDAT),
        "has more than 100,000 chunks",
    ),
]
