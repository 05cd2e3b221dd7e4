"""Which size suits the images of a folder, told from some of their headers."""

import os
import statistics

import constants
from helper import open_regular
from pipeline.images import formats
from pipeline.images.image_reader import read_raw
from pipeline.images.preparation import ImageError
from pipeline.stage import devices

BEGIN = 2**16  # bytes, in which most files say how large their image is


def choose_image_size(folder: str, files: list[str], count: int) -> int:
    """The width and height that `count` images, all or some of which are `files` in `folder`, are made.

    At the most SIZE_SAMPLE headers are read, evenly spread over the sorted files. Files that cannot
    be read have no say.
    """
    ordered = sorted(files)
    step = max(1, -(-len(ordered) // constants.SIZE_SAMPLE))
    sides = [_short_side(f"{folder}/{file}") for file in ordered[::step]]
    sides = [side for side in sides if side]
    if not sides:
        return constants.IMAGE_SIZE
    return size_for(statistics.median(sides), count, devices.memory())


def size_for(short_side: float, count: int, memory: int) -> int:
    """By the median of the short sides; smaller where so many do not fit into their part of `memory`."""
    sizes = [*constants.IMAGE_SIZES.values(), constants.PHOTOGRAPH_SIZE]
    chosen = next(
        (size for most, size in constants.IMAGE_SIZES.items() if short_side <= most), sizes[-1]
    )
    room = memory * constants.IMAGES_MEMORY
    fitting = [size for size in sizes if size <= chosen and size * size * 3 * count <= room]
    return max(fitting, default=sizes[0])


def _short_side(path: str) -> int:
    """0 if it cannot be told."""
    try:
        descriptor = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            begin = os.read(descriptor, BEGIN)
        finally:
            os.close(descriptor)
        try:
            facts = formats.read_header(begin)
        except ImageError:
            if len(begin) < BEGIN:
                return 0
            facts = formats.read_header(read_raw(path, constants.MAX_IMAGE_BYTES))
    except (OSError, ImageError):
        return 0
    return min(facts.width, facts.height)
