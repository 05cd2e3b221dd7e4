"""Is a JPEG whole? Pillow has nothing to say against one whose end is that of the picture in it.

ITU-T T.81: segments that each begin with a marker, from SOI over SOF (the size) and SOS (pixels
follow) to EOI.
"""

import re
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from pipeline.images.preparation import ImageError, check_size
from pipeline.images.tiff_check import orientation_in

SIGNATURE = b"\xff\xd8\xff"
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # that does not stand within pixels
SOF, SOS, EOI, APP1 = range(0xC0, 0xD0), 0xDA, 0xD9, 0xE1
NO_SOF = (0xC4, 0xC8, 0xCC)
READ_SOF = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
MOST_SCANS = 100  # each takes the time of all pixels; progressive ones have about ten


class JpegHeader(NamedTuple):
    width: int
    height: int
    components: int  # 1: gray, 3: colour, 4: CMYK
    orientation: int
    end: int  # of the last segment that was looked at


def read_header(content: bytes) -> JpegHeader:
    """What stands before the pixels."""
    orientation, position = 1, 2
    while True:
        marker, start, end = _segment(content, position)
        if marker in SOF and marker not in NO_SOF:
            return JpegHeader(*_frame(marker, content[start:end]), orientation, end)
        if marker == APP1 and orientation == 1 and content.startswith(b"Exif\0\0", start):
            orientation = orientation_in(content[start:end])
        if marker in (SOS, EOI):
            raise ImageError("is damaged: it does not say how large it is")
        position = end


def validate_jpeg(content: bytes, largest: int) -> JpegHeader:
    """Look at each segment of the JPEG in `content`.

    Raises:
        ImageError: it is cut off, or larger than `largest`, or of a sort that is not read.
    """
    header = _header_in(content[: content.find(b"\xff\xda")]) or read_header(content)
    check_size(header.width, header.height, largest)
    scans, marker, position = 0, 0, header.end
    while marker != EOI:
        marker, _, position = _segment(content, position)
        scans += marker == SOS
        if scans > MOST_SCANS:
            raise ImageError(f"has more than {MOST_SCANS} scans")
    if not scans:
        raise ImageError("holds no pixels")
    return header


@lru_cache(maxsize=10)  # many JPEGs differ in nothing before their pixels
def _header_in(begin: bytes) -> JpegHeader | None:
    """What `read_header` would say, with the end of the last whole segment; None if it needs more bytes."""
    try:
        header = read_header(begin)
    except ImageError:
        return None
    end = header.end
    with suppress(ImageError):
        while end < len(begin):
            marker, _, after = _segment(begin, end)
            if marker == EOI:
                break
            end = after
    return header._replace(end=end)


def _segment(content: bytes, position: int) -> tuple[int, int, int]:
    """Marker, begin and end of what is in the next segment."""
    found = MARKER.search(content, position)
    if not found:
        raise ImageError("is cut off: it has no end (EOI)")
    start = found.end()
    marker = content[start - 1]
    if marker == EOI:
        return marker, start, start
    end = start + int.from_bytes(content[start : start + 2])
    if end > len(content) or end < start + 2:
        raise ImageError("is cut off in the middle of a segment")
    return marker, start + 2, end


def _frame(marker: int, frame: bytes) -> tuple[int, int, int]:
    """Width, height and components."""
    if marker not in READ_SOF:
        raise ImageError("is a JPEG of a sort that is not read (lossless or arithmetic)")
    if len(frame) < 6:
        raise ImageError("is damaged: it does not say how large it is")
    if frame[0] != 8:
        raise ImageError(f"has {frame[0]} bits per sample, expected the 8 of most JPEGs")
    if frame[5] not in (1, 3, 4):
        raise ImageError(f"has {frame[5]} components, expected 1, 3 or 4")
    return int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3]), frame[5]
