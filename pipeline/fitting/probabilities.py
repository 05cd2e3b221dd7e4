"""Whether what a model gives are class probabilities. Knows no Keras but by its models' methods."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

ENDING = 'End it with Dense(num_classes, activation="softmax", dtype="float32").'
# How far a sum may be from 1: what rounding does to 10,000 float32 numbers, or to a few bfloat16 ones.
SUM_TOLERANCE, HALF_PRECISION_TOLERANCE = 1e-3, 0.05
NOT_FINITE = "NaN or infinity"
SAME = 1e-7  # outputs that differ by less are the same


def fault_of_model(model: object, input_shape: tuple[int, ...], num_classes: int) -> str | None:
    """What is wrong with the outputs of an untrained `model`, or None: one small batch says it."""
    images = _unlike_images(input_shape)
    outputs = np.asarray(model(images, training=False))
    if outputs.shape != (len(images), num_classes):
        return f"shape {outputs.shape} for {len(images)} images"
    if (fault := fault_of(outputs)) or not _all_the_same(outputs):
        return fault
    # A last layer that begins with zeros says the same of all images, and may yet learn.
    with _other_weights(model):
        outputs = np.asarray(model(images, training=False))
    if not np.isfinite(outputs.astype(np.float32)).all():
        return None  # these weights are nothing that the model has to stand
    if _all_the_same(outputs):
        return "the same numbers for every image"
    return fault_of(outputs)


def fault_of(outputs: np.ndarray) -> str | None:
    """What keeps `outputs` (count, classes) from being probabilities, or None."""
    tolerance = HALF_PRECISION_TOLERANCE if outputs.dtype.itemsize < 4 else SUM_TOLERANCE
    values = outputs.astype(np.float64)
    if not np.isfinite(values).all():
        return NOT_FINITE
    if not len(values):
        return None
    sums = values.sum(1)
    if (low := values.min()) < 0:
        logarithms = low < -tolerance and np.allclose(np.exp(values).sum(1), 1, atol=tolerance)
        what = "the logarithms of probabilities, as log_softmax does, " if logarithms else ""
        return f"{what}numbers down to {low:.3g}"
    worst = sums[np.abs(sums - 1).argmax()]
    return f"numbers that sum to {worst:.4g}" if abs(worst - 1) > tolerance else None


def _unlike_images(shape: tuple[int, ...]) -> np.ndarray:
    """Black, white, a ramp and noise, as uint8."""
    draw = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, shape[0])[:, None, None], shape)
    images = [np.zeros(shape), np.full(shape, 255), ramp, draw.integers(0, 256, shape)]
    return np.stack(images).astype(np.uint8)


def _all_the_same(outputs: np.ndarray) -> bool:
    return np.ptp(outputs.astype(np.float64), axis=0).max() < SAME


@contextmanager
def _other_weights(model: object) -> Iterator[None]:
    """Give the weights that are trained values near those they have, and then these again."""
    draw = np.random.default_rng(0)
    before = [variable.numpy() for variable in model.trainable_variables]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        inputs = max(1, int(np.prod(value.shape[:-1])))
        variable.assign(value + draw.normal(0, inputs**-0.5, value.shape).astype(value.dtype))
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, before, strict=True):
            variable.assign(value)
