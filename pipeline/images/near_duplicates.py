"""Which images show nearly the same: re-encoded, resized, a little brighter, mirrored.

An image's signature is its gray picture of 8 x 8 pixels, without its mean and of length 1. The dot
product of two signatures is their similarity; brightness and contrast do not change it. A mirrored
image counts as the image. What is cropped or turned is not recognized.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

SIDE = 8  # pixels of a signature's picture
LEAST_CONTRAST = (
    1.0  # gray levels (standard deviation); below, JPEG's errors would be the signature
)
LEAST_SIMILARITY = 0.98  # of near duplicates; JPEG's quality 60 leaves 0.996 of 99 % of CIFAR-10
CHANCE = 0.001  # look-alikes per image that may be taken for near duplicates by mistake
STEPS = 4  # how often the distance may be halved; copies as JPEG are mostly nearer than that
SAMPLE = 400  # images whose neighbours are counted to choose the threshold
BLOCK = 2**18  # values that are computed at once: they stay in the cache, and take little memory
MOST_PAIRS = 1_000_000  # with more, only those that join two groups are kept


class Pairs(NamedTuple):
    """Near duplicates: images `first` < `second` by number, the most similar pairs first."""

    first: np.ndarray  # int64 (pairs,)
    second: np.ndarray
    similarity: np.ndarray  # float32 (pairs,)


def signatures(images: np.ndarray) -> np.ndarray:
    """The signatures float32 (count, 64) of `images` uint8 (count, height, width, 3).

    Zeros, which are like nothing, for an image that is constant as far as 8 x 8 pixels show it.
    """
    count, height, width, channels = images.shape
    rows, columns = _area_means(height), _area_means(width)
    gray = np.kron(columns, np.full((1, channels), 1 / channels, np.float32)).T
    found = np.empty((count, SIDE * SIDE), np.float32)
    each = max(1, BLOCK // 4 // (height * width * channels))
    for start in range(0, count, each):
        block = images[start : start + each]
        narrow = block.reshape(-1, width * channels).astype(np.float32) @ gray
        small = np.matmul(rows, narrow.reshape(len(block), height, SIDE))
        found[start : start + each] = small.reshape(len(block), -1)
    found -= found.mean(1, keepdims=True)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    found *= np.where(length < LEAST_CONTRAST * SIDE, 0, 1 / np.maximum(length, 1))
    return found


def _area_means(length: int) -> np.ndarray:
    """(8, length): which part of each of `length` pixels goes into each of 8."""
    edges, pixels = np.linspace(0, length, SIDE + 1), np.arange(length)
    ends = np.minimum(edges[1:, None], pixels + 1)
    parts = np.maximum(0, ends - np.maximum(edges[:-1, None], pixels))
    return (parts * SIDE / length).astype(np.float32)


def near_duplicates(signatures: np.ndarray, threshold: float | None = None) -> Pairs:
    """All pairs of images that are more similar than `threshold`, by default `threshold_for` them.

    None is missed, up to a million pairs. Beyond it, each image still has a pair with its group.
    """
    images = np.flatnonzero(signatures.any(1))
    if len(images) < 2:
        return Pairs(images[:0], images[:0], signatures[:0, 0])
    halves = _halves(signatures[images])
    if threshold is None:
        threshold = _threshold(halves)
    order, runs = _neighbourhoods(halves, np.sqrt(2 * max(0.0, 1 - threshold)) + 1e-3)
    halves = halves[:, order]
    pairs, count, labels = [], 0, np.arange(len(images))
    for own, others in runs:
        similarity = _similarity(halves[:, own], halves[:, others])
        itself = np.arange(own.stop - own.start)
        similarity[itself, itself + own.start - others[0]] = 0
        near = np.flatnonzero(similarity.max(1) > threshold)  # most have no near one
        rows, columns = np.nonzero(similarity[near] > threshold)
        rows = near[rows]
        once = own.start + rows < others[columns]
        rows, columns = rows[once], columns[once]
        first, second = own.start + rows, others[columns]
        if count + len(rows) > MOST_PAIRS:
            labels, linking = _linking(labels, first, second)
            rows, columns, first, second = (
                part[linking] for part in (rows, columns, first, second)
            )
        count += len(rows)
        pairs.append((first, second, similarity[rows, columns]))
    return _sorted(pairs, images[order])


def _sorted(pairs: Sequence[tuple[np.ndarray, ...]], images: np.ndarray) -> Pairs:
    first, second, similarity = (np.concatenate(part) for part in zip(*pairs, strict=True))
    first, second = images[first], images[second]
    first, second = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((second, first, -similarity))
    return Pairs(first[order], second[order], similarity[order].clip(max=1))


def _halves(signatures: np.ndarray) -> np.ndarray:
    """(2, count, 32): the parts of signatures that mirroring leaves as they are, and that it negates.

    Similarity is the sum of the two parts' dot products, and that to the mirrored image is their
    difference. The larger one, the sum of the first and the other's size, costs as much as one alone.
    """
    pictures = signatures.reshape(-1, SIDE, SIDE)
    left, right = pictures[:, :, : SIDE // 2], pictures[:, :, : SIDE // 2 - 1 : -1]
    both = np.stack([left + right, left - right]).reshape(2, len(signatures), -1)
    return both * np.float32(np.sqrt(0.5))


def _similarity(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    same, negated = some[0] @ others[0].T, some[1] @ others[1].T
    same += np.abs(negated, out=negated)
    return same


def threshold_for(signatures: np.ndarray) -> float:
    """The similarity above which two of these images are hardly alike by chance; 0.98 or more.

    How many neighbours an image has grows with a power of their distance (1 - similarity), as far as
    they are different images that look alike. This power is measured between 0.84 and 0.96, where
    look-alikes are and copies hardly, and says how many look-alikes are to be expected above 0.98:
    none among photographs, hundreds among handwritten digits. Where it is more than one per 1,000
    images, the distance is halved, four times at the most. So the threshold depends on how alike different
    images are, and not on how many copies there are; and it changes by steps, so that a few images
    more or fewer leave it, and with it the groups, as they are.
    """
    return _threshold(_halves(signatures[signatures.any(1)]))


def _threshold(halves: np.ndarray) -> float:
    count = halves.shape[1]
    sample = np.unique(np.linspace(0, count - 1, SAMPLE).astype(int)) if count else np.arange(0)
    distance = 1 - LEAST_SIMILARITY
    near = wide = 0
    for start in range(0, count, BLOCK // SAMPLE):
        similarity = _similarity(halves[:, sample], halves[:, start : start + BLOCK // SAMPLE])
        within = [int((similarity > 1 - distance * factor).sum()) for factor in (2, 4, 8)]
        near, wide = near + within[1] - within[0], wide + within[2] - within[1]
    # Of a power m, twice the distance has 2**m times the neighbours, and so has the shell around it.
    growth = max(2.0, (wide + 1) / (near + 1))
    chance = near / max(1, len(sample)) / (growth - 1) / growth
    steps = 0
    while chance > CHANCE and steps < STEPS:
        chance, steps = chance / growth, steps + 1
    return 1 - distance / 2**steps


def _neighbourhoods(
    halves: np.ndarray, radius: float
) -> tuple[np.ndarray, Iterator[tuple[slice, np.ndarray]]]:
    """An order of the images, and in this order parts of them with all that may be near to each part.

    Signatures that are near to each other are near in every direction. So the images are sorted into
    cells as wide as the radius, in the three directions in which they differ most; what is near to an
    image lies in its own cell or in one beside it. A cell beside it is looked at from one side alone.
    """
    cells = np.floor(_coordinates(halves) / radius).astype(np.int64)
    cells -= cells.min(0) - 1
    widths = cells.max(0) + 2
    keys = (cells[:, 0] * widths[1] + cells[:, 1]) * widths[2] + cells[:, 2]
    order = np.argsort(keys, kind="stable")
    occupied, starts = np.unique(keys[order], return_index=True)
    # Cells in a row have keys in a row. The first row begins with the cell itself.
    rows = [0, widths[2], *((widths[1] + step) * widths[2] for step in (-1, 0, 1))]
    beyond = np.append(starts, len(order))
    runs = [
        (
            beyond[np.searchsorted(occupied, occupied + row - (row > 0))],
            beyond[np.searchsorted(occupied, occupied + row + 2)],
        )
        for row in rows
    ]

    def parts() -> Iterator[tuple[slice, np.ndarray]]:
        for cell, start in enumerate(starts):
            near = [np.arange(begin[cell], end[cell]) for begin, end in runs]
            others = np.concatenate(near)
            each = max(1, BLOCK // len(others))
            for part in range(start, beyond[cell + 1], each):
                yield slice(part, min(part + each, beyond[cell + 1])), others

    return order, parts()


def _coordinates(halves: np.ndarray) -> np.ndarray:
    """(count, 3): where each image lies in the three directions in which the images differ most.

    In the half that mirroring negates, a mirrored image lies on the other side of 0: the size counts.
    """
    same, negated = halves[0] - halves[0].mean(0), halves[1]
    columns = [part @ np.linalg.eigh(part.T @ part)[1][:, -3:] for part in (same, negated)]
    each = np.concatenate([columns[0], np.abs(columns[1])], axis=1)
    return each[:, np.argsort(each.std(0))[-3:]]


def groups(
    count: int, pairs: Pairs | None = None, digests: Sequence[bytes] | None = None
) -> np.ndarray:
    """For each of `count` images the lowest number of an image that it belongs with: int64 (count,).

    Images of one pair, or of equal digests, belong together, and so do all that are linked by others.
    """
    labels = np.arange(count)
    if digests is not None:
        first: dict[bytes, int] = {}
        labels = np.array([first.setdefault(digest, i) for i, digest in enumerate(digests)], int)
    return labels if pairs is None else _joined(labels, pairs.first, pairs.second)


def _linking(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`labels` after the groups of `first` and `second` were joined, and a few pairs that do the same."""
    kept = []
    while len(apart := np.flatnonzero(labels[first] != labels[second])):
        _, at = np.unique(np.maximum(labels[first], labels[second])[apart], return_index=True)
        kept.append(apart[at])
        labels = _joined(labels, first[kept[-1]], second[kept[-1]])
    return labels, np.concatenate([np.arange(0), *kept])


def _joined(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`labels`, each the lowest of its group, after the groups of `first` and `second` were joined."""
    while True:
        low, high = labels[first], labels[second]
        apart = low != high
        if not apart.any():
            return labels
        low, high = np.minimum(low, high)[apart], np.maximum(low, high)[apart]
        parents = np.arange(len(labels))
        np.minimum.at(parents, high, low)
        while not np.array_equal(parents, higher := parents[parents]):
            parents = higher
        labels = parents[labels]
