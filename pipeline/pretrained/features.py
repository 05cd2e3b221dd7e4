"""What the frozen part of a model makes of images: computed once, then kept while the rest is trained."""

import math
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

import constants

BATCH = 64


def room_for(frozen: object, count: int, folder: Path) -> np.ndarray:
    """An array for the features of `count` images: in memory, or else in a file without a name.

    The kernel frees such a file when the process ends, however it ends.

    Raises:
        OSError: the disk is full.
    """
    shape = (count, *frozen.output_shape[1:])
    size = math.prod(shape) * 4
    if size <= constants.FEATURES_MEMORY:
        return np.empty(shape, np.float32)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        _fill(file, size)
        return np.memmap(file, np.float32, "r+", shape=shape)


def _fill(file: IO[bytes], size: int) -> None:
    """Make sure of so many bytes on the disk: to write to a map of what is not there yet would end the
    process, without a word."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    block = bytes(2**20)  # on a Mac, only what was written is sure to be there
    for start in range(0, size, len(block)):
        file.write(block[: size - start])
    file.flush()


def of(frozen: object, images: np.ndarray) -> np.ndarray:
    """Features of at most BATCH images."""
    # A batch of another size would be another graph, and to trace it takes seconds.
    full = np.concatenate(
        [images, np.zeros((BATCH - len(images), *images.shape[1:]), images.dtype)]
    )
    return np.asarray(frozen.predict_on_batch(full), np.float32)[: len(images)]
