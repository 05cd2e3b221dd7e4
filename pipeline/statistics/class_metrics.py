"""Figures of a confusion matrix (rows true, columns predicted) where classes are not equally large.

A class without a test image has no part in them.
"""

import numpy as np

from pipeline.statistics.comparison import SIGNIFICANCE, at_least, holm, mcnemar

UNEQUAL = 3.0  # times as many test images as the smallest class has: accuracy alone would mislead
GUESSING = "no better than guessing"


def balanced_accuracy(matrix: np.ndarray) -> float:
    """The mean recall of the classes: always guessing one of k gives 1/k."""
    images = matrix.sum(axis=1)
    tested = images > 0
    return float((matrix.diagonal()[tested] / images[tested]).mean())


def macro_f1(matrix: np.ndarray) -> float:
    """The mean F1 of the classes."""
    images, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    tested = images > 0
    return float((2 * matrix.diagonal()[tested] / (images + predicted)[tested]).mean())


def largest_class(matrix: np.ndarray) -> int:
    return int(matrix.sum(axis=1).argmax())


def guessing_accuracy(matrix: np.ndarray) -> float:
    """What always guessing the largest class gives."""
    return float(matrix.sum(axis=1).max() / matrix.sum())


def class_ratio(matrix: np.ndarray) -> float:
    """How many times as many test images the largest class has as the smallest."""
    images = matrix.sum(axis=1)
    return float(images.max() / images[images > 0].min())


def is_unequal(matrix: np.ndarray) -> bool:
    return class_ratio(matrix) > UNEQUAL


def is_no_better_than_guessing(matrix: np.ndarray) -> bool:
    """Whether chance explains all that is right.

    It does where the accuracy is not above that of always guessing the largest class (McNemar's
    test), and no class is found more often than if the same answers had been given at random
    (Fisher's exact test for each class, with Holm's correction). The second, as a model that finds a
    rare class at the cost of some accuracy is better than one that never does.
    """
    largest = largest_class(matrix)
    guessed = int(matrix[largest, largest])
    only_model = int(matrix.trace()) - guessed
    only_guess = int(matrix[largest].sum()) - guessed
    if only_model > only_guess and mcnemar(only_model, only_guess) < SIGNIFICANCE:
        return False
    images, predicted, total = matrix.sum(axis=1), matrix.sum(axis=0), int(matrix.sum())
    chances = [
        at_least(int(matrix[label, label]), int(predicted[label]), int(images[label]), total)
        for label in np.flatnonzero(images)
    ]
    return min(holm(chances)) >= SIGNIFICANCE
