"""Of JPEGs, WebPs, BMPs, GIFs, TIFFs and AVIFs, too, only whole ones are read, and bombs are refused first.

A picture in 31 variants of its format is cut off at every byte: that is noticed before anything is
decoded. Where a last few bytes are of no account, the pixels are the very same. Each size in it is made
larger than is allowed: it is refused before anything is decoded. And bytes are changed by chance: no
reader crashes, what is wrong is said in one line, an image among others is read as it is alone, and its
neighbours keep their pixels.
"""

import random
import re
import struct
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

import constants
from pipeline.images import formats, image_decoder
from pipeline.images.image_reader import ReadResult, read_images
from pipeline.images.jpeg_check import SIGNATURE as JPEG
from pipeline.images.png_check import SIGNATURE as PNG
from pipeline.images.png_check import validate_png
from pipeline.images.preparation import ImageError, Preparation
from prove import Result
from testkit.images import SIZE, picture, saved, variants

SIDE = 16  # the height of the picture, so that a square of it is decoded together with others
UNUSED = 8  # bytes that a TIFF may end with and that nothing in it names
DAMAGES = 500  # of each variant
BOXES = re.compile(b"meta|moov|mdat")  # the large parts of an AVIF, behind their lengths
LARGE = (2**13, 2**14 - 1, 2**16 - 1, 2**31 - 1)


def prove(full: bool) -> Result:
    square = saved(picture().resize((SIDE, SIDE)), "JPEG", quality=95)
    pictures = variants() | {"JPEG square": square}
    tried, violations = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for attempt in _attempts(Path(folder), pictures, full):
            tried += 1
            try:
                problem = attempt()
            except Exception as error:
                problem = f"{attempt.args[0]}: {type(error).__name__}: {error}"
            if problem:
                violations.append(problem)
    figure = (
        f"{len(pictures)} whole images, {tried - len(pictures):,} others, {len(violations)} wrong"
    )
    return Result(tried, tried - len(violations), figure, violations)


def _attempts(folder: Path, pictures: dict[str, bytes], full: bool) -> Iterator[partial]:
    for name, content in pictures.items():
        pixels, result = _read(folder, [content])
        yield partial(_is_whole, name, result)
        step = 1 if full else max(1, len(content) // 60)
        unused = UNUSED if name.startswith("TIFF") else 0
        joints = {found.start() - 4 for found in BOXES.finditer(content)} - {-4}
        ends = range(len(content) - 20, len(content))
        for size in {*range(0, len(content), step), *joints, *ends}:
            cut, much = f"{name}, {size} of {len(content)} bytes", size < len(content) - unused
            yield partial(_is_noticed, cut, folder, content[:size], pixels[0], much)
        for number in range(DAMAGES if full else 20):
            yield partial(_harms_no_other, f"{name}, damage {number}", folder, content)
        for large in _too_large(name, content):
            yield partial(_is_refused_unopened, f"{name}, too large", large)


def _read(folder: Path, contents: list[bytes]) -> tuple[np.ndarray, ReadResult]:
    files = [str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        (folder / file).write_bytes(content)
    images = np.zeros((len(files), SIDE, SIDE, 3), np.uint8)
    return images, read_images(str(folder), files, Preparation(SIDE), images.reshape(-1).data)


def _is_whole(name: str, result: ReadResult) -> str | None:
    return f"{name}: {result.damaged}" if result.damaged else None


def _is_noticed(
    name: str, folder: Path, content: bytes, pixels: np.ndarray, much: bool
) -> str | None:
    """Cut off, where `much` is missing: before a decoder sees it."""
    shown, result = _read(folder, [content])
    try:
        check = validate_png if content.startswith(PNG) else formats.validate
        check(content, constants.MAX_IMAGE_PIXELS)
    except ImageError:
        return None if result.damaged else f"{name}: read"
    if much:
        return f"{name}: taken for whole"
    return None if np.array_equal(shown[0], pixels) else f"{name}: other pixels"


def _harms_no_other(name: str, folder: Path, content: bytes) -> str | None:
    draw, changed = random.Random(name), bytearray(content)
    for _ in range(draw.randint(1, 6)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    if draw.random() < 0.3:
        del changed[draw.randrange(len(changed)) :]
    damaged = bytes(changed)
    images, result = _read(folder, [content, damaged, content])
    alone, _ = _read(folder, [content])
    if result.damaged.keys() - {1}:
        return f"{name}: its neighbours are refused: {result.damaged}"
    if not all(why.isprintable() for why in result.damaged.values()):
        return f"{name}: {result.damaged}"
    if not np.array_equal(images[::2], alone.repeat(2, axis=0)):
        return f"{name}: its neighbours have other pixels"
    if damaged.startswith(JPEG):
        pixels = None if 1 in result.damaged else images[1].tobytes()
        return None if pixels == _jpeg(damaged) else f"{name}: among others it is not as alone"
    return None


def _jpeg(content: bytes) -> bytes | None:
    """The pixels of a JPEG that is decoded alone; None if it is damaged."""
    try:
        header = formats.validate(content, constants.MAX_IMAGE_PIXELS)
        return image_decoder.prepare(content, header, Preparation(SIDE), {}).pixels
    except ImageError:
        return None


def _too_large(name: str, content: bytes) -> Iterator[bytes]:
    """With another width and height wherever these stand, as each format writes them."""
    width, height = SIZE
    forms = {
        "JPEG": (">HH", (height, width)),
        "BMP": ("<ii", (width, height)),
        "GIF": ("<HH", (width, height)),
        "AVIF": (">II", (width, height)),
    }
    form, sizes = forms.get(name.split()[0], ("", ()))
    before = struct.pack(form, *sizes)
    for large in LARGE if form and before in content else ():
        if large < 2 ** (8 * struct.calcsize(form) // 2):
            yield content.replace(before, struct.pack(form, large, large))


def _is_refused_unopened(name: str, content: bytes) -> str | None:
    """Refused with no call of Pillow's."""
    with mock.patch.object(Image, "open", None), mock.patch.object(Image, "frombytes", None):
        try:
            formats.validate(content, constants.MAX_IMAGE_PIXELS)
        except ImageError:
            return None
    return f"{name}: accepted"
