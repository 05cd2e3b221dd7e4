"""Files of images in, pixels out: each file checked, each image in RGB and of one size.

`python -m pipeline.images.image_reader` is a process that does this for `reader_processes.py`. Nothing here
needs NumPy, so that such a process is ready in the blink of an eye.
"""

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import NamedTuple

from PIL import Image

import constants
from helper import read_file
from pipeline.images import formats, image_decoder, png_check
from pipeline.images.formats import Facts
from pipeline.images.image_decoder import Range
from pipeline.images.image_stacks import Decoded, decode_together, most_together
from pipeline.images.png_check import Header
from pipeline.images.preparation import ImageError, Preparation

# No fault of an image: it passes.
TRANSIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EIO)

# Number among the files, content, what its header says, and the rows of a PNG.
Checked = tuple[int, bytes, Header | Facts, bytes]


class ReadResult(NamedTuple):
    """What is known of some files, by the number of each."""

    digests: list[bytes]  # equal for equal pixels
    file_digests: list[bytes]  # equal for equal files
    damaged: dict[int, str]  # why, as the end of a sentence
    notes: dict[int, list[str]]  # what was done to an image that a person may not expect
    values: dict[int, tuple[str, Range]]  # of images of more than 8 bits: their sort and range

    def extend(self, other: "ReadResult") -> None:
        """Add the result of the files that come next."""
        before = len(self.digests)
        self.digests.extend(other.digests)
        self.file_digests.extend(other.file_digests)
        self.damaged.update({before + number: why for number, why in other.damaged.items()})
        self.notes.update({before + number: some for number, some in other.notes.items()})
        self.values.update({before + number: some for number, some in other.values.items()})

    def replace(self, start: int, other: "ReadResult") -> None:
        """Put another result for the files from number `start` on, which were read again."""
        for number, digest in enumerate(other.digests):
            self.digests[start + number] = digest
            self.file_digests[start + number] = other.file_digests[number]
            self.notes[start + number] = other.notes.get(number, [])
        self.damaged.update({start + number: why for number, why in other.damaged.items()})


def empty_result() -> ReadResult:
    return ReadResult([], [], {}, {}, {})


def read_images(
    folder: str,
    files: list[str],
    preparation: Preparation,
    pixels: memoryview,
    ranges: dict[str, Range] | None = None,
) -> ReadResult:
    """Fill `pixels` with the images as RGB, made as `preparation` says.

    files: paths from `folder` on. `ranges` has by their sort what becomes black and white in images
    of more than 8 bits; without, the darkest and the lightest of each image do.

    Notes are "transparent" (now on the background), "only alpha" (it has hardly any contrast on the
    background, so its alpha is the image), "oriented" (as its Exif data ask), "frames" (the first of
    several was taken), "extension" (its name says another format), "16 bit", "32 bit" or "float"
    (scaled by the range), "16 bit colour" (the lower half of each value is dropped), "cropped",
    "padded" or "squeezed" (it is not square), "smaller" (made larger), "constant" (of one colour).

    Raises:
        OSError: one of TRANSIENT_ERRNOS. Any other trouble is said of the image that makes it.
    """
    Image.MAX_IMAGE_PIXELS = None  # preparation.largest_image holds instead
    nothing = bytes(constants.DIGEST_BYTES)
    result = ReadResult([nothing] * len(files), [nothing] * len(files), {}, {}, {})
    each = preparation.size**2 * 3
    alike = partial(_alike, preparation.size)
    for (header, _), group in groupby(_checked(folder, files, preparation, result), alike):
        some = list(group)
        for number, (image, notes) in _decoded(header, some, preparation, ranges or {}, result):
            pixels[number * each : (number + 1) * each] = image
            result.digests[number] = hashlib.sha256(image).digest()[: constants.DIGEST_BYTES]
            if image[0] == image[-3] and _is_constant(image):
                notes = [*notes, "constant"]
            if not files[number].endswith(".png") or not header:
                notes = [*notes, *_note_of_extension(files[number], some[0][2])]
            if notes:
                result.notes[number] = list(notes)
    return result


def _checked(
    folder: str, files: list[str], preparation: Preparation, result: ReadResult
) -> Iterator[Checked]:
    """Those files that are whole images; says of the others in `result` why not."""
    for number, file in enumerate(files):
        try:
            content = read_raw(f"{folder}/{file}", constants.MAX_IMAGE_BYTES)
            digest = hashlib.sha256(content).digest()
            result.file_digests[number] = digest[: constants.DIGEST_BYTES]
            checked: tuple[Header | Facts, bytes]
            if content.startswith(png_check.SIGNATURE):
                checked = png_check.validate_png(content, preparation.largest_image)
            else:
                checked = formats.validate(content, preparation.largest_image), b""
            yield number, content, *checked
        except ImageError as error:
            result.damaged[number] = str(error)
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            result.damaged[number] = f"cannot be read: {error.strerror or error}"


def read_raw(path: str, most: int) -> bytes:
    """The content of a file in raw data, where no link is followed in the last place."""
    return read_file(path, most, os.O_RDONLY | os.O_NOFOLLOW)


def _alike(size: int, checked: Checked) -> tuple[Header | Facts | None, int]:
    """Equal for neighbours to be decoded together; without a header for one that is decoded alone."""
    number, _, header, rows = checked
    most = most_together(header, size) if rows or isinstance(header, Facts) else 0
    return (header, number // most) if most else (None, number)


def _decoded(
    header: Header | Facts | None,
    some: list[Checked],
    preparation: Preparation,
    ranges: dict[str, Range],
    result: ReadResult,
) -> Iterator[tuple[int, Decoded]]:
    """Those of `some` that decode, by their numbers."""
    if header:
        with suppress(ImageError):  # alone they say which of them it is
            together = decode_together(header, [checked[1::2] for checked in some], preparation)
            yield from zip((number for number, *_ in some), together, strict=True)
            return
    for number, content, own, _ in some:
        try:
            yield number, _decode_alone(number, content, own, preparation, ranges, result)
        except ImageError as error:
            result.damaged[number] = str(error)


def _decode_alone(
    number: int,
    content: bytes,
    header: Header | Facts,
    preparation: Preparation,
    ranges: dict[str, Range],
    result: ReadResult,
) -> Decoded:
    if isinstance(header, Header):
        prepared = image_decoder.prepare_png(content, header, preparation, ranges)
    else:
        prepared = image_decoder.prepare(content, header, preparation, ranges)
    if prepared.values:
        result.values[number] = prepared.values
    return prepared.pixels, prepared.notes


def _is_constant(image: bytes | memoryview) -> bool:
    whole = bytes(image)
    return whole == whole[:3] * (len(whole) // 3)


def _note_of_extension(file: str, header: Header | Facts) -> list[str]:
    """Whether a file's name says that it is of another format than it is."""
    name = header.format if isinstance(header, Facts) else "PNG"
    named = formats.named(file)
    return ["extension"] if named and named != name else []


def main() -> int:
    """For each job in a line of stdin: its pixels into the shared file, then a line that says how it went.

    The file's number is the one argument. A job's pixels begin `start` bytes after its begin.
    """
    shared = int(sys.argv[1])
    for line in sys.stdin.buffer:
        job = json.loads(line)
        start, preparation = job.pop("start"), Preparation.from_plain(job.pop("preparation"))
        pixels = bytearray(len(job["files"]) * preparation.size**2 * 3)
        try:
            result = read_images(**job, preparation=preparation, pixels=memoryview(pixels))
            whole = os.pwrite(shared, pixels, start) == len(pixels)
        except OSError:
            whole = False
        if not whole:  # the other process will try, and say why not
            return 1
        sys.stdout.buffer.write(json.dumps(as_plain(result)).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


def as_plain(result: ReadResult) -> dict:
    """For JSON, whose keys are texts."""
    return {
        "digests": b"".join(result.digests).hex(),
        "file_digests": b"".join(result.file_digests).hex(),
        "damaged": list(result.damaged.items()),
        "notes": list(result.notes.items()),
        "values": list(result.values.items()),
    }


def from_plain(said: dict) -> ReadResult:
    """
    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    values = {number: (sort, (low, high)) for number, (sort, (low, high)) in said["values"]}
    digests, file_digests = (_split(said[name]) for name in ("digests", "file_digests"))
    return ReadResult(digests, file_digests, dict(said["damaged"]), dict(said["notes"]), values)


def _split(digests: str) -> list[bytes]:
    whole, size = bytes.fromhex(digests), constants.DIGEST_BYTES
    return [whole[at : at + size] for at in range(0, len(whole), size)]


if __name__ == "__main__":
    sys.exit(main())
