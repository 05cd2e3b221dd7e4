"""What in a raw dataset spoils results silently: nothing is broken, but the figures will mislead."""

from collections import Counter

import numpy as np

import constants
from helper import printable


def find_warnings(
    rows: dict, splits: dict, digests: dict[str, list[bytes]], class_names: list[str]
) -> dict[str, dict]:
    """What spoils results silently, by kind: how many ("count") and, as "text", a sentence."""
    times = Counter(digest for some in digests.values() for digest in some)
    pictures = [  # those that are there more than once
        (digest, int(label), f"{name}/{row.file}", name)
        for name, split in splits.items()
        for digest, label, row in zip(digests[name], split["label"], rows[name], strict=True)
        if times[digest] > 1
    ]
    found = {
        "in_train_and_test": _in_both(pictures),
        "different_labels": _contradictions(pictures),
        "few_images": _small_classes(splits["train"]["label"], class_names),
    }
    return {kind: warning for kind, warning in found.items() if warning}


def _in_both(pictures: list[tuple]) -> dict:
    trained = {digest: file for digest, _, file, split in reversed(pictures) if split == "train"}
    twice = [
        (file, trained[digest])
        for digest, _, file, split in pictures
        if split == "test" and digest in trained
    ]
    if not twice:
        return {}
    return {
        "count": len(twice),
        "text": f"test images that stand in train too (equal pixels): {len(twice):,}, first"
        f" {printable(twice[0][0])} = {printable(twice[0][1])}: the test accuracy will look better"
        " than it is.",
    }


def _contradictions(pictures: list[tuple]) -> dict:
    first: dict[bytes, tuple[int, str]] = {}
    different, example = set(), ""
    for digest, label, file, _ in pictures:
        known, other = first.setdefault(digest, (label, file))
        if known != label:
            example = example or f"{printable(other)} and {printable(file)}"
            different.add(digest)
    if not different:
        return {}
    return {
        "count": len(different),
        "text": f"images that stand there with different labels (equal pixels): {len(different):,},"
        f" first {example}: no model can get these right.",
    }


def _small_classes(labels: np.ndarray, class_names: list[str]) -> dict:
    counts = Counter(labels.tolist())
    few = [number for number in range(len(class_names)) if counts[number] < constants.FEW_IMAGES]
    if not few:
        return {}
    return {
        "count": len(few),
        "text": f"classes with under {constants.FEW_IMAGES} training images: {len(few):,} of"
        f" {len(class_names):,}, first {printable(class_names[few[0]])} with {counts[few[0]]}:"
        " they will hardly be learned.",
    }
