"""Which format is it, by its content; how large; and is it whole? PNGs and JPEGs have modules of their own.

Each header is read before anything is decoded, and all that a file says of its own length is held
against its length. None of these formats has a checksum, so damage within the pixels may pass.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipeline.images import jpeg_check, png_check, tiff_check
from pipeline.images.jpeg_check import JpegHeader
from pipeline.images.preparation import ImageError, check_size

EXTENSIONS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "HEIC": (".heic", ".heif", ".hif"),
}
BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)
FORMATS = {extension: name for name, some in EXTENSIONS.items() for extension in some}
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, 0x3B
MOST_FRAMES = 100_000
MOST_BOXES = 100_000
BOXES_OF_BOXES = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # and the bytes before these


class Facts(NamedTuple):
    """What an image's header says."""

    format: str
    width: int
    height: int
    orientation: int = 1  # as Exif numbers them, as far as it is still to be applied
    frames: int = 1
    components: int = 0  # of a JPEG
    turned: bool = False  # whether Pillow applies an orientation by itself


def recognized(content: bytes) -> str:
    """The name of the format.

    Raises:
        ImageError: it is none of them.
    """
    if content.startswith(png_check.SIGNATURE):
        return "PNG"
    if content.startswith(jpeg_check.SIGNATURE):
        return "JPEG"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(tiff_check.SIGNATURES):
        return "TIFF"
    if content.startswith(b"BM") and content[14:18] in _BMP_HEADERS:
        return "BMP"
    if content[4:8] == b"ftyp":
        brands = [content[8:12], *struct.unpack("4s" * 8, content[16:48].ljust(32))]
        for brand in brands:
            if brand in BRANDS and (brand not in (b"mif1", b"msf1") or b"avif" not in brands):
                return BRANDS[brand]
    if not content:
        raise ImageError("is empty")
    raise ImageError("is no image that is read (PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF, HEIC)")


def named(file: str) -> str:
    """The format that the name of a file says; empty if it says none."""
    _, dot, extension = file.rpartition(".")
    return FORMATS.get(f"{dot}{extension.lower()}", "")


def read_header(content: bytes) -> Facts:
    """What the begin of a file says, which may be all of it.

    Raises:
        ImageError: it does not say it, or not in so many bytes.
    """
    name = recognized(content)
    try:
        return _READERS[name](content)
    except struct.error:
        raise ImageError("is cut off before its size") from None


def validate(content: bytes, largest: int) -> Facts:
    """Look through an image that is no PNG.

    Raises:
        ImageError: it is of no format that is read, is cut off, or is larger than `largest` pixels.
    """
    if content.startswith(jpeg_check.SIGNATURE):
        return _of_jpeg(jpeg_check.validate_jpeg(content, largest))
    facts = read_header(content)
    check_size(facts.width, facts.height, largest)
    try:
        if facts.format == "TIFF":
            tags = tiff_check.directories(content)
            tiff_check.check_first(tags[0], largest)
            for image in tags:
                tiff_check.check_pixels(content, image)
            facts = facts._replace(frames=len(tags))
        else:
            facts = facts._replace(frames=_CHECKS[facts.format](content, largest))
    except struct.error:
        raise ImageError("is cut off") from None
    return facts


def _png(content: bytes) -> Facts:
    width, height = struct.unpack_from(">II", content, 16)
    return Facts("PNG", width, height)


def _jpeg(content: bytes) -> Facts:
    return _of_jpeg(jpeg_check.read_header(content))


def _of_jpeg(header: JpegHeader) -> Facts:
    return Facts("JPEG", header.width, header.height, header.orientation, 1, header.components)


def _tiff(content: bytes) -> Facts:
    found = tiff_check.directories(content)
    if not found:
        raise ImageError("holds no image")
    turned = tiff_check.orientation_of(found) > 1
    return Facts("TIFF", *tiff_check.dimensions(found[0]), turned=turned)


# WebP: RIFF, the length of the rest, WEBP, then chunks of name, length and content.


def _webp(content: bytes) -> Facts:
    name = content[12:16]
    if name == b"VP8X":
        wide, high = content[24:27], content[27:30]
        return Facts("WEBP", int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1)
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return Facts("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return Facts("WEBP", width & 0x3FFF, height & 0x3FFF)
    raise ImageError("is damaged: it does not say how large it is")


def _webp_frames(content: bytes, largest: int) -> int:
    (length,) = struct.unpack_from("<I", content, 4)
    if 8 + length > len(content):
        raise ImageError(f"is cut off: it has {len(content):,} of {8 + length:,} bytes")
    position, frames = 12, 0
    while position + 8 <= 8 + length:
        name, size = struct.unpack_from("<4sI", content, position)
        frames += name == b"ANMF"
        position += 8 + size + size % 2
    if position != 8 + length + length % 2 or frames > MOST_FRAMES:
        raise ImageError("is damaged: its chunks are longer than it is")
    return max(1, frames)


# BMP: a header of 14 bytes, another one of one of these lengths, a palette, rows of pixels.

_BMP_HEADERS = [size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)]


def _bmp(content: bytes) -> Facts:
    form = "<HH" if content[14:18] == _BMP_HEADERS[0] else "<ii"
    width, height = struct.unpack_from(form, content, 18)
    return Facts("BMP", width, abs(height))


def _bmp_frames(content: bytes, largest: int) -> int:
    length, start = struct.unpack_from("<I4xI", content, 2)
    facts, compression = _bmp(content), 0
    if content[14:18] == _BMP_HEADERS[0]:
        (bits,) = struct.unpack_from("<H", content, 24)
    else:
        bits, compression = struct.unpack_from("<HI", content, 28)
    if compression not in (1, 2):  # run lengths
        length = max(length, start + facts.height * ((facts.width * bits + 31) // 32 * 4))
    if length > len(content):
        raise ImageError(f"is cut off: it has {len(content):,} of {length:,} bytes")
    return 1


# GIF: the size, perhaps a palette, then images and extensions in pieces of up to 255 bytes, an end.


def _gif(content: bytes) -> Facts:
    return Facts("GIF", *struct.unpack_from("<HH", content, 6))


def _gif_frames(content: bytes, largest: int) -> int:
    frames, position = 0, 13 + _palette_bytes(content, 10)
    while (block := _byte(content, position)) != GIF_END:
        if block == GIF_IMAGE:
            left, top, width, height = struct.unpack_from("<HHHH", content, position + 1)
            check_size(left + width, top + height, largest)
            frames += 1
            position += 11 + _palette_bytes(content, position + 9)
        elif block == GIF_EXTENSION:
            position += 2
        else:
            raise ImageError(f"is damaged: there is no block at byte {position}")
        while size := _byte(content, position):
            position += size + 1
        position += 1
    if not 0 < frames <= MOST_FRAMES:
        raise ImageError(f"holds another number of images than 1 to {MOST_FRAMES:,}: {frames:,}")
    return frames


def _palette_bytes(content: bytes, position: int) -> int:
    flags = _byte(content, position)
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _byte(content: bytes, position: int) -> int:
    if position >= len(content):
        raise ImageError("is cut off: it has no end")
    return content[position]


# AVIF and HEIC: boxes of length, name and content, some of which hold boxes. The sizes of all images
# in it, also of those that others are put together from, are in boxes called ispe.


def _avif(content: bytes) -> Facts:
    return _of_boxes("AVIF", content)


def _heic(content: bytes) -> Facts:
    return _of_boxes("HEIC", content)


def _of_boxes(name: str, content: bytes) -> Facts:
    sizes = [
        struct.unpack_from(">II", content, start + 4)
        for kind, start, _ in _boxes(content)
        if kind == b"ispe"
    ]
    if not sizes:
        raise ImageError("does not say how large it is")
    return Facts(name, *max(sizes, key=lambda size: size[0] * size[1]))


def _boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of what is in each box, in those within others too."""
    position = count = 0
    while position < len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        start = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, start)
            start += 8
        end = position + length if length else len(content)
        count += 1
        if end < start or count > MOST_BOXES:
            raise ImageError("is damaged: its boxes are too short or too many")
        yield name, start, end
        # What is in a box of boxes fills it, so the next box after those is the one after it.
        position = start + BOXES_OF_BOXES[name] if name in BOXES_OF_BOXES else end


def _box_frames(content: bytes, largest: int) -> int:
    boxes = list(_boxes(content))
    if max(end for *_, end in boxes) > len(content):
        raise ImageError("is cut off in the middle of a box")
    if not {name for name, *_ in boxes} & {b"mdat", b"idat"}:
        raise ImageError("is cut off before its pixels")
    return 1  # AVIF's are counted where it is opened


_READERS: dict[str, Callable[[bytes], Facts]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "BMP": _bmp,
    "GIF": _gif,
    "TIFF": _tiff,
    "AVIF": _avif,
    "HEIC": _heic,
}
_CHECKS: dict[str, Callable[[bytes, int], int]] = {
    "WEBP": _webp_frames,
    "BMP": _bmp_frames,
    "GIF": _gif_frames,
    "AVIF": _box_frames,
    "HEIC": _box_frames,
}
