"""What the frozen part of a model makes of images: computed once, then kept while the rest is trained."""

import math
import os
import tempfile
from pathlib import Path

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
        # What is not there yet when it is written to would end the process, without a word.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.float32, "r+", shape=shape)


def of(frozen: object, images: np.ndarray) -> np.ndarray:
    """Features of at most BATCH images."""
    # A batch of another size would be another graph, and to trace it takes seconds.
    full = np.concatenate(
        [images, np.zeros((BATCH - len(images), *images.shape[1:]), images.dtype)]
    )
    return np.asarray(frozen.predict_on_batch(full), np.float32)[: len(images)]
