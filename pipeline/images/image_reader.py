"""PNG files in, pixels out: each file checked, each image in RGB and of one size.

`python -m pipeline.images.image_reader` is a process that does this for `reader_processes.py`. Nothing here
needs NumPy, so that such a process is ready in the blink of an eye.
"""

import errno
import hashlib
import io
import json
import os
import sys
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from PIL import Image

import constants
from helper import read_file
from pipeline.images import png_check
from pipeline.images.png_check import Header, PngError

# No fault of an image: it passes.
TRANSIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EIO)
PLAIN_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}  # Pillow's names, by colour type
# About so many bytes of rows are decoded together. With more, malloc() asks the kernel for each
# piece of memory and gives it back, and the caches are too small.
TOGETHER = 2**16

Checked = tuple[int, bytes, Header, bytes]  # place among the files, content, header, rows


class ReadResult(NamedTuple):
    """What was found in some files, by the place of each."""

    digests: list[bytes]  # equal for equal pixels
    damaged: dict[int, str]  # why, as the end of a sentence


def read_images(folder: str, files: list[str], size: int, pixels: memoryview) -> ReadResult:
    """Fill `pixels` with the PNGs as `size` x `size` RGB. Transparency is dropped, 16 bits become 8.

    Raises:
        OSError: one of TRANSIENT_ERRNOS. Any other trouble is said of the image that makes it.
    """
    found, each = ReadResult([bytes(constants.DIGEST_BYTES)] * len(files), {}), size * size * 3
    checked = _checked((f"{folder}/{file}" for file in files), found.damaged)
    for (alike, _), group in groupby(checked, _kind):
        some = list(group)
        try:
            decoded = _decode_together(alike, some, size) if alike else [_decode(some[0], size)]
        except PngError as error:  # of one that is decoded alone, as what follows
            found.damaged[some[0][0]] = str(error)
            continue
        except OSError as error:  # Pillow's
            found.damaged[some[0][0]] = f"cannot be read: {error}"
            continue
        for (place, *_), image in zip(some, decoded, strict=True):
            pixels[place * each : (place + 1) * each] = image
            found.digests[place] = hashlib.sha256(image).digest()[: constants.DIGEST_BYTES]
    return found


def _checked(paths: Iterator[str], damaged: dict[int, str]) -> Iterator[Checked]:
    """Those files that are whole PNGs; says of the others in `damaged` why not."""
    for place, path in enumerate(paths):
        try:
            content = read_raw(path, constants.MAX_IMAGE_BYTES)
            yield place, content, *png_check.validate_png(content)
        except PngError as error:
            damaged[place] = str(error)
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            damaged[place] = f"cannot be read: {error.strerror or error}"


def read_raw(path: str, most: int) -> bytes:
    """The content of a file in raw data, where no link is followed in the last place."""
    return read_file(path, most, os.O_RDONLY | os.O_NOFOLLOW)


def _kind(one: Checked) -> tuple[Header | None, int]:
    """Equal for neighbours to be decoded together; without a header for one that is decoded alone."""
    place, _, header, rows = one
    most = _most_together(header) if rows else 0
    return (header, place // most) if most else (None, place)


@lru_cache
def _most_together(header: Header) -> int:
    if header.depth != 8 or header.interlace or header.colour not in PLAIN_MODES:
        return 0
    return max(1, TOGETHER // header.size)


def _decode_together(header: Header, some: list[Checked], size: int) -> list[bytes | memoryview]:
    """The pixels of plain PNGs with one header, as if each were decoded alone.

    One call of Pillow's takes longer than to decode a small image. So they are put one below the
    other into one tall image, with a row of zeros between two: it stands for the nothing above an
    image's first row, which the filters of that row look at.
    """
    width, height = header.width, header.height
    mode, nothing = PLAIN_MODES[header.colour], bytes(header.size // height)
    stream = zlib.compress(nothing.join(rows for *_, rows in some), level=0)
    tall_size = width, len(some) * (height + 1) - 1
    tall = Image.frombytes(mode, tall_size, stream, "zip", mode, 0)
    if mode != "RGB":
        tall = tall.convert("RGB")
    if (width, height) == (size, size):
        view, line = memoryview(tall.tobytes()), width * 3
        starts = range(0, len(view), line * (height + 1))
        return [view[start : start + line * height] for start in starts]
    tops = range(0, tall.height, height + 1)
    return [_resized(tall.crop((0, top, width, top + height)), size) for top in tops]


def _decode(checked: Checked, size: int) -> bytes:
    """The pixels of any checked PNG."""
    _, content, header, _ = checked
    only_pixels = io.BytesIO(png_check.without_extras(content))
    with Image.open(only_pixels, formats=["PNG"]) as opened:
        image: Image.Image = opened
        # What lies beyond the palette Pillow draws black, and others draw something else.
        if header.colours and image.getextrema()[1] >= header.colours:  # type: ignore[operator]  # of one band
            raise PngError(f"has pixels that point beyond its palette of {header.colours} colours")
        if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255
            image = Image.frombytes("L", image.size, image.tobytes("raw", "I;16B")[::2])
        return _resized(image.convert("RGB"), size)


def _resized(image: Image.Image, size: int) -> bytes:
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling[constants.RESIZE.upper()])
    return image.tobytes()


def main() -> int:
    """For each job in a line of stdin: its pixels into the shared file, then a line that says how it went.

    The file's number is the one argument. A job's pixels begin `start` bytes after its begin.
    """
    shared = int(sys.argv[1])
    for line in sys.stdin.buffer:
        job = json.loads(line)
        start = job.pop("start")
        pixels = bytearray(len(job["files"]) * job["size"] ** 2 * 3)
        try:
            digests, damaged = read_images(**job, pixels=memoryview(pixels))
            whole = os.pwrite(shared, pixels, start) == len(pixels)
        except OSError:
            whole = False
        if not whole:  # the other process will try, and say why not
            return 1
        said = {"digests": b"".join(digests).hex(), "damaged": list(damaged.items())}
        sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
