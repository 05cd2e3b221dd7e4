"""The batches of a training: which images in which order, augmented, weighted."""

from collections.abc import Iterator

import numpy as np

import constants
from pipeline.artifacts.hyperparameters import Settings


class Batches:
    """The images at `indices` and their one-hot classes in batches.

    With settings, in a new order each epoch and augmented. What a batch draws depends on the seed,
    the epoch's number and its own alone, so it can be drawn again.
    """

    def __init__(
        self,
        split: dict,
        indices: np.ndarray,
        size: int,
        settings: Settings | None = None,
        weights: np.ndarray | None = None,
    ):
        """`weights` has one of the loss for each class."""
        self.images, self.classes = split["img"], split["class"]
        self.order = self.indices = indices
        self.size, self.settings, self.epoch, self.weights = size, settings, 0, weights
        self.views = split.get("views", 0)  # of features, which are there already

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        draw = np.random.default_rng([self.settings.seed, epoch])
        self.order = draw.permutation(self.indices)
        if self.views > 1:
            views = draw.integers(self.views, size=len(self.order))
            self.order = self.order + views * len(self.classes)

    def __len__(self) -> int:
        return -(-len(self.indices) // self.size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.size : (index + 1) * self.size]
        classes = self.classes[chosen % len(self.classes)]
        if self.settings and not self.views and _augments(self.settings):
            draw = np.random.default_rng([self.settings.seed, self.epoch, index])
            return _augmented(self.images, chosen, self.settings, draw), classes
        return self.images[chosen], classes

    def to_read(self) -> object:
        """As TensorFlow reads them: the next two are drawn while it computes with one.

        What Keras makes of arrays, or of a PyDataset, begins later (15 ms) and tunes itself, for
        which a thread sleeps longer and longer; at its end, an epoch may have to wait for that one.
        """
        import tensorflow as tf

        @tf.autograph.experimental.do_not_convert
        def drawn(index: object) -> tuple[object, object]:
            kinds = self.images.dtype, self.classes.dtype
            images, classes = tf.numpy_function(self.__getitem__, [index], kinds)
            images.set_shape((None, *self.images.shape[1:]))
            classes.set_shape((None, *self.classes.shape[1:]))
            if self.weights is None:
                return images, classes
            return images, classes, tf.linalg.matvec(classes, self.weights)

        options = tf.data.Options()
        options.autotune.enabled = False
        return tf.data.Dataset.range(len(self)).map(drawn).prefetch(2).with_options(options)


def views_of(
    images: np.ndarray, settings: Settings, size: int
) -> Iterator[tuple[np.ndarray, range]]:
    """The images as they are, and then each augmented, in batches of `size` with their numbers."""
    for view in range(view_count(settings)):
        for first in range(0, len(images), size):
            chosen = np.arange(first, min(first + size, len(images)))
            draw = np.random.default_rng([settings.seed, view, first])
            batch = _augmented(images, chosen, settings, draw) if view else images[chosen]
            before = view * len(images) + first
            yield batch, range(before, before + len(batch))


def view_count(settings: Settings) -> int:
    return min(constants.FEATURE_VIEWS, settings.epochs) if _augments(settings) else 1


def balanced_weights(classes: np.ndarray) -> np.ndarray:
    """A weight for each class, so that all that have images count alike, and an image 1 on average."""
    counts = classes.sum(0)
    there = counts > 0
    weights = np.zeros(len(counts), np.float32)
    weights[there] = counts.sum() / (there.sum() * counts[there])
    return weights


def _augments(settings: Settings) -> bool:
    moved = settings.augmentation_shift or settings.augmentation_crop
    return bool(moved) or settings.augmentation_flip != "none"


def _augmented(
    images: np.ndarray, chosen: np.ndarray, settings: Settings, draw: np.random.Generator
) -> np.ndarray:
    """The `chosen` images flipped, shifted and cropped at random, each in its own way.

    All three say only from which row and which column a pixel is taken, so that one look-up does
    them all: Keras's layers for it, which compute each pixel anew, took a third of a training's time.
    """
    _, height, width, _ = images.shape
    flip, crops = settings.augmentation_flip, np.zeros((len(chosen), 1))
    if settings.augmentation_crop:
        # The full view is among what is learned, since that is what the model is tested on.
        crops = draw.uniform(0, settings.augmentation_crop, crops.shape)
    rows = _taken_from(height, "vertical" in flip, crops, settings, draw)
    columns = _taken_from(width, "horizontal" in flip, crops, settings, draw)
    return images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def _taken_from(
    length: int, flip: bool, crops: np.ndarray, settings: Settings, draw: np.random.Generator
) -> np.ndarray:
    """For each image the old row (or column) that each new one shows: (images, length).

    `crops` (images, 1) are the parts that are cut off.
    """
    shift, crop = length * settings.augmentation_shift, length * crops
    first = draw.uniform(0, crop, crops.shape) + draw.uniform(-shift, shift, crops.shape)
    middles = first + (np.arange(length) + 0.5) * (1 - crop / length)
    sources = np.floor(middles).astype(int).clip(0, length - 1)  # beyond the border: the border
    mirrored = draw.random(len(crops)) < 0.5 * flip
    sources[mirrored] = sources[mirrored, ::-1]
    return sources
