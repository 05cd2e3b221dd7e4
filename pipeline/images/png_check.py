"""Is a file one whole, true PNG? Pillow decodes half a PNG, or a GIF named .png, without a word.

The structure is that of the PNG specification (third edition, https://www.w3.org/TR/png-3/):
a signature, then chunks of length, type, content and CRC, from IHDR over IDAT to IEND.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

import constants
from pipeline.images.preparation import ImageError, check_size
from pipeline.images.tiff_check import orientation_in

try:
    from isal import isal_zlib as zlib  # takes half the time
except ImportError:  # it is not there for every kind of machine
    import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BEGIN = 33  # bytes of the signature and the image header
IEND = b"\0\0\0\0IEND\xaeB`\x82"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
FILTERS = bytes(range(5))  # of a row, named by its first byte
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
HEAD, CHECKSUM = struct.Struct(">I4s"), struct.Struct(">I")  # of a chunk
KNOWN_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
MOST_CHUNKS = 100_000  # a list of 20 million empty chunks, which fit in a file, takes 6 GB
KEPT = 2**22  # most bytes of decompressed pixels that are kept, and held at once
PIECE = KEPT // 1024  # compressed bytes that make not many more: at the most 1,032 times as many


class Header(NamedTuple):
    """What a PNG says of itself."""

    width: int
    height: int
    depth: int  # bits per sample
    colour: int  # colour type
    interlace: int
    size: int  # bytes of the decompressed pixels
    colours: int = 0  # in its palette, if that is where its pixels point
    transparency: bytes = b""  # what its tRNS says, where that is in place and of a true length
    orientation: int = 1  # as Exif numbers them
    frames: int = 1  # of an animation


def validate_png(content: bytes, largest: int = constants.MAX_IMAGE_PIXELS) -> tuple[Header, bytes]:
    """Look at every byte of the PNG in `content`.

    Returns:
        its header and its pixels as they come out of zlib: rows that are still filtered. These are
        empty if they are more than KEPT. Whether they point into its palette, of `colours`, is
        left to who decodes them.

    Raises:
        ImageError: it is none, is cut off or damaged, or has more than `largest` pixels. The size
            is looked at before anything is decompressed.
    """
    if not content.startswith(SIGNATURE):
        raise ImageError("is not a PNG file" if content else "is empty")
    header, parts = _plain(content) or _any(content)
    check_size(header.width, header.height, largest)
    rows = _pixels(parts, header.size)
    # Pillow finds a wrong filter, too, if only one that it comes to.
    if not header.interlace and rows[:: header.size // header.height].strip(FILTERS):
        raise ImageError("has a row with a filter that no PNG has")
    return header, rows


def _plain(content: bytes) -> tuple[Header, list[memoryview]] | None:
    """Header and pixels of a PNG of three chunks, as most small ones are; None for any other.

    What is wrong with another is for `_any` to say, which takes longer.
    """
    end = len(content) - len(IEND) - CHECKSUM.size
    if int.from_bytes(content[BEGIN : BEGIN + 4]) != end - BEGIN - 8 or content[-12:] != IEND:
        return None
    data, header = memoryview(content)[BEGIN + 4 : end], _plain_header(content[:BEGIN])
    if (
        not header
        or data[:4] != b"IDAT"
        or zlib.crc32(data) != CHECKSUM.unpack_from(content, end)[0]
    ):
        return None
    return header, [data[4:]]


@lru_cache(maxsize=100)  # the images of a raw dataset are often of one kind
def _plain_header(begin: bytes) -> Header | None:
    header = _header(begin[16:29]) if begin[8:16] == b"\0\0\0\rIHDR" else None
    whole = zlib.crc32(begin[12:29]) == int.from_bytes(begin[29:])
    return header if whole and header and header.colour != 3 else None


def _any(content: bytes) -> tuple[Header, list[memoryview]]:
    """Header and pixels of any PNG, whose chunks all are as they should be."""
    chunks = _chunks(content)
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or len(chunks[0][1]) != 13:
        raise ImageError("does not begin with one image header (IHDR)")
    header = _header(bytes(chunks[0][1]))
    _check_order(kinds, header.colour)
    if header.colour == 3:
        header = header._replace(colours=_colours(dict(chunks)[b"PLTE"], header.depth))
    header = _with_extras(header, chunks, kinds)
    return header, [part for kind, part in chunks if kind == b"IDAT"]


def without_extras(content: bytes, transparency: bool = False) -> bytes:
    """A checked PNG without the chunks that are not needed for its pixels, but with `transparency`.

    Pillow gives up at a damaged or large text, profile or animation, and an animation can make it
    decode a part of the image only.
    """
    parts: list[bytes | memoryview] = [SIGNATURE]
    view, position = memoryview(content), len(SIGNATURE)
    while position < len(content):
        end = position + 12 + int.from_bytes(view[position : position + 4])
        kind = view[position + 4 : position + 8]
        if kind in KNOWN_CRITICAL or (transparency and kind == b"tRNS"):
            parts.append(view[position:end])
        position = end
    return b"".join(parts)


def _chunks(content: bytes) -> list[tuple[bytes, memoryview]]:
    """(type, content) of each chunk up to IEND, each with a CRC that fits."""
    view, chunks, position, kind = memoryview(content), [], len(SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(content):
            raise ImageError("is cut off: it has no end (IEND)")
        length, kind = HEAD.unpack_from(content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            raise ImageError("is cut off in the middle of a chunk")
        if zlib.crc32(view[position + 4 : end]) != CHECKSUM.unpack_from(content, end)[0]:
            raise ImageError(
                f"is damaged: the checksum of its chunk at byte {position} does not match"
            )
        chunks.append((kind, view[position + 8 : end]))
        position = end + 4
        if len(chunks) > MOST_CHUNKS:
            raise ImageError(f"has more than {MOST_CHUNKS:,} chunks")
    if position != len(content) or chunks[-1][1].nbytes:
        raise ImageError("goes on after its end (IEND)")
    return chunks


def _header(content: bytes) -> Header:
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(
        ">IIBBBBB", content
    )
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise ImageError(f"says that it is {width} x {height} pixels")
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise ImageError("has an image header (IHDR) that no PNG has")
    size = _filtered_size(width, height, depth * CHANNELS[colour], interlace)
    return Header(width, height, depth, colour, interlace, size)


def _with_extras(
    header: Header, chunks: list[tuple[bytes, memoryview]], kinds: list[bytes]
) -> Header:
    """What chunks beside the pixels say of how they are to be shown, where these are as they should be."""
    extras = {kind: bytes(part) for kind, part in chunks if kind in (b"tRNS", b"eXIf", b"acTL")}
    if extras:
        transparency = extras.get(b"tRNS", b"")
        before = kinds.index(b"PLTE") if header.colour == 3 else 0
        in_place = kinds.count(b"tRNS") == 1 and before < kinds.index(b"tRNS") < kinds.index(
            b"IDAT"
        )
        # Of 16 bits, of which the upper half is decoded, none can be compared with a colour's.
        most = {0: 2, 2: 6, 3: header.colours}.get(header.colour, 0) if header.depth <= 8 else 0
        right = len(transparency) in (range(1, most + 1) if header.colour == 3 else (most,))
        header = header._replace(
            transparency=transparency if in_place and right else b"",
            orientation=orientation_in(extras.get(b"eXIf", b"")),
            frames=max(1, int.from_bytes(extras.get(b"acTL", b"")[:4])),
        )
    return header


def _check_order(kinds: list[bytes], colour: int) -> None:
    for kind in kinds:
        if not kind.isalpha() or (kind[:1].isupper() and kind not in KNOWN_CRITICAL):
            raise ImageError(f"has a chunk of unknown kind {kind!r}")
    data = [place for place, kind in enumerate(kinds) if kind == b"IDAT"]
    if not data:
        raise ImageError("holds no pixels (IDAT)")
    if data[-1] - data[0] != len(data) - 1:
        raise ImageError("has its pixels (IDAT) in pieces that do not follow one another")
    palettes = [place for place, kind in enumerate(kinds) if kind == b"PLTE"]
    if len(palettes) > 1 or (palettes and (palettes[0] > data[0] or colour in (0, 4))):
        raise ImageError("has a palette (PLTE) out of place")
    if colour == 3 and not palettes:
        raise ImageError("has no palette (PLTE)")


def _colours(palette: memoryview, depth: int) -> int:
    colours, rest = divmod(palette.nbytes, 3)
    if rest or not 1 <= colours <= 256:
        raise ImageError("has a palette (PLTE) of a wrong length")
    if colours > 2**depth:
        raise ImageError(
            f"has a palette of {colours} colours, more than the {2**depth} of its depth {depth}"
        )
    return colours


def _filtered_size(width: int, height: int, bits: int, interlace: int) -> int:
    """Bytes of the decompressed pixels: each row has one byte that names its filter before it."""

    def size(columns: int, rows: int) -> int:
        return rows * (1 + (columns * bits + 7) // 8) if columns and rows else 0

    if not interlace:
        return size(width, height)
    return sum(
        size(-(-(width - left) // right_step), -(-(height - top) // down_step))
        for left, top, right_step, down_step in ADAM7
        if width > left and height > top
    )


def _pixels(parts: list[memoryview], expected: int) -> bytes:
    """The parts are one zlib stream of exactly `expected` bytes, with a checksum that fits; those bytes."""
    stream, size, kept = zlib.decompressobj(), 0, []
    step = PIECE if expected > KEPT else KEPT
    try:
        for part in parts:
            for start in range(0, part.nbytes, step):
                rows = stream.decompress(part[start : start + step], expected + 1 - size)
                size += len(rows)
                if size > expected:
                    raise ImageError("holds more pixels than it says")
                if stream.unconsumed_tail or stream.unused_data:
                    raise ImageError("has bytes after its pixels")
                if expected <= KEPT:
                    kept.append(rows)
    except zlib.error:
        raise ImageError("is damaged: its pixels do not decompress") from None
    if size < expected or not stream.eof:
        raise ImageError(f"holds {size:,} of {expected:,} bytes of pixels")
    return b"".join(kept)
