"""Is a TIFF whole? Its directories of tags are read here, also for the orientation in Exif data.

TIFF 6.0 and BigTIFF: a header that says where the first directory is, then tag, type, number of
values and where these are, and where the pixels (strips or tiles) are.
"""

import struct
from typing import NamedTuple

from pipeline.images.preparation import ImageError

WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION = 256, 257, 258, 259, 274
STRIPS, STRIP_BYTES, TILES, TILE_BYTES = 273, 279, 324, 325
SAMPLES, TILE_WIDTH, TILE_HEIGHT = 277, 322, 323
WANTED = {WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, SAMPLES, TILE_WIDTH, TILE_HEIGHT} | {
    STRIPS,
    STRIP_BYTES,
    TILES,
    TILE_BYTES,
}
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ONE, TWO, FOUR, EIGHT = (1, 2, 6, 7), (3, 8), (4, 9, 11, 13), (5, 10, 12, 16, 17, 18)  # types
SIZES = {
    **dict.fromkeys(ONE, 1),
    **dict.fromkeys(TWO, 2),
    **dict.fromkeys(FOUR, 4),
    **dict.fromkeys(EIGHT, 8),
}
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
MOST_VALUES = 2_000_000  # of all tags of a directory: Pillow makes a number of each
MOST_DIRECTORIES = 100_000

Tags = dict[int, tuple[int, ...]]


class Layout(NamedTuple):
    """How numbers and directories are written."""

    order: str
    entries: str  # how many there are in a directory
    entry: struct.Struct  # tag, type, count; what follows is the value, or where it is
    offset: str


CLASSIC = ("H", "HHI", "I")
BIG = ("Q", "HHQ", "Q")


def directories(content: bytes) -> list[Tags]:
    """The wanted tags of each image in a TIFF.

    Raises:
        ImageError: it is damaged or cut off, or has more values than any true one.
    """
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    count, entry, offset = BIG if big else CLASSIC
    layout = Layout(order, count, struct.Struct(order + entry), offset)
    try:
        (position,) = struct.unpack_from(order + offset, content, 8 if big else 4)
        found: list[Tags] = []
        seen = set()
        while position and position not in seen and len(found) < MOST_DIRECTORIES:
            seen.add(position)
            tags, position = _directory(content, position, layout)
            found.append(tags)
    except (struct.error, OverflowError):
        raise ImageError("is cut off: a directory of its tags is not in it") from None
    return found


def _directory(content: bytes, position: int, layout: Layout) -> tuple[Tags, int]:
    """The tags at `position`, and where the next directory is; 0 if there is none."""
    (entries,) = struct.unpack_from(layout.order + layout.entries, content, position)
    position += struct.calcsize(layout.entries)
    room = struct.calcsize(layout.offset)
    size = layout.entry.size + room
    if position + entries * size + room > len(content):
        raise ImageError("is cut off: a directory of its tags is not in it")
    tags: Tags = {}
    values = 0
    for at in range(position, position + entries * size, size):
        tag, kind, count = layout.entry.unpack_from(content, at)
        length = count * SIZES.get(kind, 0)
        start = at + layout.entry.size
        if length > room:
            (start,) = struct.unpack_from(layout.order + layout.offset, content, start)
        if start + length > len(content):
            raise ImageError(f"is cut off: its tag {tag} is not in it")
        values += count if SIZES.get(kind, 1) > 1 else 0
        if values > MOST_VALUES:
            raise ImageError(f"has more than {MOST_VALUES:,} values in its tags")
        if count and tag in WANTED and kind in WHOLE_NUMBERS:
            form = f"{layout.order}{count}{WHOLE_NUMBERS[kind]}"
            tags[tag] = struct.unpack_from(form, content, start)
    following = struct.unpack_from(layout.order + layout.offset, content, position + entries * size)
    return tags, following[0]


def dimensions(tags: Tags) -> tuple[int, int]:
    if not tags.get(WIDTH) or not tags.get(HEIGHT):
        raise ImageError("does not say how large it is")
    return tags[WIDTH][0], tags[HEIGHT][0]


def check_pixels(content: bytes, tags: Tags) -> None:
    """All strips or tiles of an image are in the file.

    Raises:
        ImageError: they are not.
    """
    starts, lengths = _pieces(tags)
    if any(start + length > len(content) for start, length in zip(starts, lengths, strict=False)):
        raise ImageError("is cut off: some of its pixels are not in it")


def check_first(tags: Tags, largest: int) -> None:
    """The pixels of the image that will be decoded are as many as its size asks for.

    Raises:
        ImageError: they are fewer, or in pieces that are larger than `largest` pixels.
    """
    starts, lengths = _pieces(tags)
    if not starts or len(starts) != len(lengths):
        raise ImageError("does not say where its pixels are")
    tile = max(tags.get(TILE_WIDTH, ()), default=0) * max(tags.get(TILE_HEIGHT, ()), default=0)
    if TILES in tags and tile > max(largest, 2**20):
        raise ImageError("has larger tiles than an image may have pixels")
    if tags.get(COMPRESSION, (1,)) == (1,):
        width, height = dimensions(tags)
        bits = tags.get(BITS, (1,))
        per_pixel = sum(bits) if len(bits) > 1 else sum(bits) * max(tags.get(SAMPLES, (1,)))
        needed = height * ((width * per_pixel + 7) // 8)
        if sum(lengths) < needed:
            raise ImageError(f"holds {sum(lengths):,} of {needed:,} bytes of pixels")


def _pieces(tags: Tags) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where each strip or tile begins, and how many bytes it has."""
    if TILES in tags:
        return tags[TILES], tags.get(TILE_BYTES, ())
    return tags.get(STRIPS, ()), tags.get(STRIP_BYTES, ())


def orientation_in(exif: bytes) -> int:
    """What Exif data say of the orientation, 1 to 8; 1 where they are damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    if not exif.startswith(SIGNATURES):
        return 1
    try:
        return orientation_of(directories(exif)[:1])
    except ImageError:
        return 1


def orientation_of(found: list[Tags]) -> int:
    value = found[0].get(ORIENTATION, (1,)) if found else ()
    return value[0] if value and 1 <= value[0] <= 8 else 1
