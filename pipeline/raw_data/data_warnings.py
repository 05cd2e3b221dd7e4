"""What in a raw dataset spoils results silently: nothing is broken, but the figures will mislead."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import constants
from helper import printable
from pipeline.images.near_duplicates import Pairs, groups
from pipeline.problem import Problem

# What reading an image did to it, by the note on it: which images, and what became of them.
NOTES = {
    "transparent": (
        "images with transparent parts",
        "these have the colour of the background now (--background).",
    ),
    "only alpha": (
        "images that show something in their transparency alone",
        "the transparency was taken for the picture.",
    ),
    "oriented": ("images that say how the camera was held", "they were turned upright."),
    "frames": ("images of several frames", "only the first frame is used."),
    "extension": (
        "files of another format than their name says",
        "they were read as what they are.",
    ),
    "16 bit": (
        "images of 16 bits",
        "they were scaled by the range that is in use in the whole dataset.",
    ),
    "32 bit": (
        "images of 32 bits",
        "they were scaled by the range that is in use in the whole dataset.",
    ),
    "16 bit colour": ("images of 16 bits in colour", "the upper 8 bits were read."),
    "float": (
        "images of floating-point numbers",
        "they were scaled by the range that is in use in the whole dataset.",
    ),
    "cropped": ("images that are not square", "what lay beyond a square was cut off (--fit)."),
    "padded": ("images that are not square", "a border fills them up to a square (--fit)."),
    "squeezed": ("images that are not square", "they were squeezed into a square (--fit)."),
    "smaller": (
        "images smaller than the size of the dataset",
        "they were enlarged, which shows no more (--image-size).",
    ),
    "constant": ("images of one colour", "there is nothing to learn from in them."),
}


def find_warnings(
    splits: Mapping[str, Mapping[str, np.ndarray]],
    files: Mapping[str, Sequence[str]],
    digests: Mapping[str, Sequence[bytes]],
    class_names: Sequence[str],
    pairs: Pairs,
    notes: Mapping[str, Sequence[str]],
) -> list[Problem]:
    """What spoils results silently, one warning of each kind.

    files, digests: of each image of each split, its path and what its pixels are known by.
    pairs: near duplicates, by number, the images of train before those of test.
    notes: by code, such as "transparent", the files of which reading noted that.
    """
    images = _Images(splits, files, digests, pairs)
    found = [
        _in_both(images),
        _contradictions(images),
        *_near_duplicates(images),
        *_class_sizes(images, class_names),
        *_notes(notes),
    ]
    return [warning for warning in found if warning]


def as_described(warnings: Sequence[Problem]) -> dict[str, dict]:
    """For the description of a dataset, by kind: how many, a sentence, and files as examples."""
    return {
        warning.kind: {
            "count": warning.count,
            "text": str(warning),
            "files": list(warning.files),
        }
        for warning in warnings
    }


def _warning(kind: str, count: int, text: str, files: Sequence[str] = ()) -> Problem:
    return Problem(
        kind, text, count=count, files=tuple(map(printable, files[: constants.MOST_EXAMPLES]))
    )


@dataclass
class _Images:
    """The images of both splits in a row, those of train first."""

    splits: Mapping[str, Mapping[str, np.ndarray]]
    files_of: Mapping[str, Sequence[str]]
    digests_of: Mapping[str, Sequence[bytes]]

    pairs: Pairs

    def __post_init__(self) -> None:
        names = constants.SPLITS
        self.files = [file for name in names for file in self.files_of[name]]
        self.digests = [digest for name in names for digest in self.digests_of[name]]
        self.labels = np.concatenate([self.splits[name]["label"] for name in names])
        self.trained = len(self.splits["train"]["label"])

    @cached_property
    def near(self) -> Pairs:
        """Pairs of near duplicates that are not equal, the most similar first."""
        equal = groups(len(self.files), digests=self.digests)
        other = equal[self.pairs.first] != equal[self.pairs.second]
        return Pairs(*(part[other] for part in self.pairs))

    def files_of_pairs(self, these: np.ndarray, others: np.ndarray) -> list[str]:
        """The file of each of `these` images, and after it that of the one beside it in `others`."""
        pairs = zip(these.tolist(), others.tolist(), strict=True)
        return [self.files[number] for pair in pairs for number in pair]


def _in_both(images: _Images) -> Problem | None:
    trained: dict[bytes, str] = {}
    for digest, file in zip(images.digests[: images.trained], images.files, strict=False):
        trained.setdefault(digest, file)
    tested = zip(images.digests, images.files, strict=True)
    twice = [
        (file, trained[digest])
        for number, (digest, file) in enumerate(tested)
        if number >= images.trained and digest in trained
    ]
    if not twice:
        return None
    text = (
        f"test images that stand in train too (equal pixels): {len(twice):,}, first"
        f" {printable(twice[0][0])} = {printable(twice[0][1])}: the test accuracy will look better"
        " than it is."
    )
    return _warning("in_train_and_test", len(twice), text, [file for file, _ in twice])


def _contradictions(images: _Images) -> Problem | None:
    first: dict[bytes, tuple[int, str]] = {}
    pairs: dict[bytes, tuple[str, str]] = {}
    for digest, label, file in zip(
        images.digests, images.labels.tolist(), images.files, strict=True
    ):
        known, other = first.setdefault(digest, (label, file))
        if known != label:
            pairs.setdefault(digest, (other, file))
    if not pairs:
        return None
    examples = [file for pair in pairs.values() for file in pair]
    text = (
        f"images that stand there with different labels (equal pixels): {len(pairs):,},"
        f" first {printable(examples[0])} and {printable(examples[1])}: no model can get these right."
    )
    return _warning("different_labels", len(pairs), text, examples)


def _near_duplicates(images: _Images) -> Iterator[Problem]:
    """Of both kinds, "files" are pairs: each second one is the other of the one before."""
    first, second, _ = images.near
    across = np.flatnonzero((first < images.trained) & (second >= images.trained))
    if len(tested := np.unique(second[across], return_index=True)[1]):
        one_each = across[np.sort(tested)]
        pairs = images.files_of_pairs(second[one_each], first[one_each])
        text = (
            f"test images that look nearly the same as one in train: {len(tested):,}, first"
            f" {printable(pairs[0])} and {printable(pairs[1])}: the test accuracy may look better"
            " than it is."
        )
        yield _warning("near_in_train_and_test", len(tested), text, pairs)
    apart = np.flatnonzero(
        (second < images.trained) & (images.labels[first] != images.labels[second])
    )
    if len(apart):
        some = apart[: constants.MOST_EXAMPLES]
        pairs = images.files_of_pairs(first[some], second[some])
        text = (
            f"pairs of training images that look nearly the same and have different labels:"
            f" {len(apart):,}, first {printable(pairs[0])} and {printable(pairs[1])}: one of the"
            " labels may be wrong."
        )
        yield _warning("near_different_labels", len(apart), text, pairs)


def _class_sizes(images: _Images, class_names: Sequence[str]) -> Iterator[Problem]:
    trained = images.labels[: images.trained]
    counts = Counter(trained.tolist())
    of, classes = f"of {len(class_names):,}", range(len(class_names))

    def named(label: int) -> str:
        return f"{printable(class_names[label])} with {counts[label]:,}"

    if few := [label for label in classes if counts[label] < constants.FEW_IMAGES]:
        text = (
            f"classes with under {constants.FEW_IMAGES} training images: {len(few):,} {of}, first"
            f" {named(few[0])}: they will hardly be learned."
        )
        yield _warning("few_images", len(few), text)
    largest = max(classes, key=lambda label: counts[label])
    smaller = [
        label for label in classes if counts[label] * constants.UNEQUAL_CLASSES < counts[largest]
    ]
    if smaller:
        smallest = min(smaller, key=lambda label: counts[label])
        text = (
            f"classes with under a tenth of the training images of the largest, {named(largest)}:"
            f" {len(smaller):,} {of}, the smallest {named(smallest)}: the accuracy says little of them."
        )
        yield _warning("unequal_classes", len(smaller), text)
    if single := _single(images):
        text = (
            "classes with training images that are all equal or nearly so:"
            f" {len(single):,} {of}, first {named(single[0])}: none can be held out for validation."
        )
        yield _warning("not_in_validation", len(single), text)
    tested = set(images.labels[images.trained :].tolist())
    if absent := [label for label in classes if label not in tested]:
        text = (
            f"classes without a test image: {len(absent):,} {of}, first"
            f" {printable(class_names[absent[0]])}: how well they are told apart stays unknown."
        )
        yield _warning("not_in_test", len(absent), text)


def _single(images: _Images) -> list[int]:
    """The classes in train whose images all belong together."""
    alike = groups(len(images.files), images.near, images.digests)[: images.trained]
    members = np.unique(np.stack([images.labels[: images.trained], alike]), axis=1)[0]
    return [label for label, count in Counter(members.tolist()).items() if count == 1]


def _notes(notes: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """A warning for each code."""
    for code, (what, effect) in NOTES.items():
        if files := notes.get(code):
            text = f"{what}: {len(files):,}, first {printable(files[0])}: {effect}"
            yield _warning(code.replace(" ", "_"), len(files), text, files)
