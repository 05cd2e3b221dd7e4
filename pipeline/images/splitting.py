"""Which images are held out: as the test part of a dataset, and for validation in training.

Images of one group (equal or nearly equal ones, see `near_duplicates.groups`) are on one side, so
that no model is tested on what it was fitted on.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.images.near_duplicates import groups, near_duplicates, signatures


def held_out(
    digests: Sequence[bytes], labels: np.ndarray, groups: np.ndarray, share: float
) -> np.ndarray:
    """Which images are the test part, by their content: bool (count,).

    An image is in the test part if a hash of its digest, as a number from 0 to 1, is below `share`.
    So it is on the same side in every version of a dataset, whatever is added, removed or renamed.
    For a group the lowest digest in it decides. The price is that a class is held out in its share
    only about: of 100 images of which a fifth is asked for, 12 to 28 in 95 of 100 cases. To take
    exactly 20 would mean to rank the images, and then each new one would move another across.

    Each class has images in train, and a class of two or more groups has some in both parts, if
    there is a choice that robs no other class of its only ones. Where the hashes alone would not do:
    the group nearest to the other side changes sides. These are the exceptions:
    - a group that was moved for such a class (with a fifth for the test, 1 % of classes of 20 groups,
      33 % of 5, all of 1) may move back when the class gets or loses images;
    - a group that gets a member with a lower digest, loses the lowest, or is joined with another
      group, follows its new lowest digest.

    Arguments:
        digests: of each image, what it is known by; equal for equal content.
        labels, groups: int (count,), the class of each image and the group that it belongs to.
        share: of the images, for the test; with 0, none is held out.
    """
    if not share or not len(labels):
        return np.zeros(len(labels), bool)
    lowest: dict[int, bytes] = {}
    for digest, group in zip(digests, groups.tolist(), strict=True):
        lowest[group] = min(lowest.get(group, digest), digest)
    numbers = sorted(lowest, key=lambda group: lowest[group])
    chance = np.array([_between_0_and_1(lowest[group]) for group in numbers])
    index = {group: i for i, group in enumerate(numbers)}
    of_image = np.array([index[group] for group in groups.tolist()])
    test = chance < share
    _move_for_tiny_classes(test, chance, np.unique(np.stack([labels, of_image]), axis=1))
    return test[of_image]


def _between_0_and_1(digest: bytes) -> float:
    """Of its own hash: where a digest is the lowest of a group, its first bytes are low, too."""
    return int.from_bytes(hashlib.sha256(b"test part" + digest).digest()[:7]) / 2**56


def _move_for_tiny_classes(test: np.ndarray, chance: np.ndarray, members: np.ndarray) -> None:
    """Give each class a group in train and, if it has two or more, one in test, where there is none.

    members: (2, count), each pair of a class and a group that has images of the class, by class.
    """
    labels, starts, sizes = np.unique(members[0], return_index=True, return_counts=True)
    parts = dict(zip(labels.tolist(), np.split(members[1], starts[1:]), strict=True))
    in_test = np.add.reduceat(test[members[1]].astype(int), starts)
    for label in labels[in_test == sizes].tolist():
        part = parts[label]
        if test[part].all():
            test[part[chance[part].argmax()]] = False
    in_test = np.add.reduceat(test[members[1]].astype(int), starts)
    for label in labels[(in_test == 0) & (sizes > 1)].tolist():
        part = parts[label]
        if test[part].any():  # for the sake of a class before
            continue
        for group in part[chance[part].argsort()]:
            classes = members[0, members[1] == group].tolist()
            if all(np.count_nonzero(~test[parts[one]]) > 1 for one in classes):
                test[group] = True
                break


def alike(images: np.ndarray) -> np.ndarray:
    """The groups of equal and nearly equal images among uint8 (count, height, width, 3)."""
    found = signatures(images)
    digests = [str(number).encode() for number in range(len(images))]
    for number in np.flatnonzero(~found.any(1)).tolist():
        digests[number] = hashlib.sha256(images[number].tobytes()).digest()
    return groups(len(images), near_duplicates(found), digests)


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """All rows in a random order whose every beginning and every end has each class in its share.

    A beginning as long as there are classes has one of each. scikit-learn's train_test_split
    refuses a part that leaves fewer rows over than there are classes.
    """
    shuffled = np.random.default_rng(seed % 2**64).permutation(len(labels))
    return _by_class(shuffled, labels, np.ones(len(labels), int))


def _by_class(order: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`order`, sorted by how much of its class comes before each row (of that many images)."""
    before = np.empty(len(labels))
    in_classes = order[np.argsort(labels[order], kind="stable")]
    _, starts, rows = np.unique(labels[in_classes], return_index=True, return_counts=True)
    sums = np.cumsum(sizes[in_classes]) - sizes[in_classes]
    totals = np.add.reduceat(sizes[in_classes], starts) if len(starts) else sizes
    before[in_classes] = (sums - np.repeat(sums[starts], rows)) / np.repeat(totals, rows)
    return order[np.argsort(before[order], kind="stable")]


def hold_out(
    labels: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to fit and indices to validate on, drawn so that each class gives the same fraction.

    A class gives one group of its images at least (without `groups` each image is one) and keeps one;
    a class with a single one keeps it. As far as that allows, so many images are held out in all as
    the fraction says, rounded; where each group that is left is too large for what is missing, fewer.
    Images with different labels in one group count for the rarest of their classes.
    """
    count = len(labels)
    groups = np.arange(count) if groups is None else groups
    unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    rarest = np.lexsort((labels, np.bincount(labels)[labels], unit)) if count else unit
    unit_labels = labels[rarest][np.append(0, np.cumsum(sizes)[:-1])] if count else labels
    chosen = _drawn(unit_labels, sizes, round(count * fraction), seed, fraction)[unit]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _drawn(
    labels: np.ndarray, sizes: np.ndarray, wanted: int, seed: int, fraction: float
) -> np.ndarray:
    """Which of the groups with these labels and sizes are held out, to have `wanted` images."""
    drawn = np.zeros(len(labels), bool)
    if not fraction:
        return drawn
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # One group that is more than its class should give would come before all others of the class.
    quota = np.maximum(1, np.round(np.bincount(labels, sizes) * fraction))
    excess = np.maximum(0, sizes - quota[labels])[shuffled]
    order = _by_class(shuffled[np.argsort(excess, kind="stable")], labels, sizes)
    left = np.bincount(labels)
    missing = set(np.flatnonzero(left > 1).tolist())
    total = 0
    for group in order.tolist():
        label, size = int(labels[group]), int(sizes[group])
        if left[label] > 1 and (label in missing or total + len(missing) + size <= wanted):
            drawn[group] = True
            missing.discard(label)
            left[label] -= 1
            total += size
    return drawn
