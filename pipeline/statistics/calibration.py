"""Make a model as sure as it is right: one temperature for all of its probabilities.

Guo et al., "On Calibration of Modern Neural Networks", 2017. No class changes by it, only how sure it is.
"""

import numpy as np

COLDEST, HOTTEST = 0.05, 20.0  # the temperatures that are tried
STEPS = 40  # each leaves two thirds of what was between them, in their logarithm
LEAST = 1e-12  # of a probability, so that it has a logarithm


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities float (count, classes) as if the logits had been divided by `temperature`."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.clip(probabilities.astype(float), LEAST, 1)) / temperature
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return (odds / odds.sum(1, keepdims=True)).astype(probabilities.dtype)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest cross-entropy on these images; `labels` int (count,).

    The cross-entropy has one minimum in it, so a ternary search finds that.
    """

    def loss(logarithm: float) -> float:
        of_truth = tempered(probabilities, float(np.exp(logarithm)))[np.arange(len(labels)), labels]
        return float(-np.log(np.clip(of_truth.astype(float), LEAST, 1)).mean())

    low, high = float(np.log(COLDEST)), float(np.log(HOTTEST))
    for _ in range(STEPS):
        third = (high - low) / 3
        if loss(low + third) <= loss(high - third):
            high -= third
        else:
            low += third
    return round(float(np.exp((low + high) / 2)), 4)
