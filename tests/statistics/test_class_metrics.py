import numpy as np
import pytest
from sklearn import metrics

from pipeline.statistics import class_metrics

pytestmark = pytest.mark.slow


def matrix_of(*rows):
    return np.array(rows)


def test_the_figures_are_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    for classes in (2, 3, 10):
        labels = draw.choice(classes, 300, p=draw.dirichlet(np.ones(classes)))
        predicted = np.where(draw.random(300) < 0.6, labels, draw.integers(0, classes, 300))
        matrix = metrics.confusion_matrix(labels, predicted, labels=np.arange(classes))
        assert class_metrics.balanced_accuracy(matrix) == pytest.approx(
            metrics.balanced_accuracy_score(labels, predicted)
        )
        assert class_metrics.macro_f1(matrix) == pytest.approx(
            metrics.f1_score(labels, predicted, average="macro", labels=np.unique(labels))
        )
        assert class_metrics.guessing_accuracy(matrix) == np.bincount(labels).max() / 300


def test_a_class_without_images_has_no_part():
    two, three = matrix_of([8, 2], [1, 9]), matrix_of([8, 0, 2], [0, 0, 0], [1, 0, 9])
    for figure in ("balanced_accuracy", "macro_f1", "class_ratio", "guessing_accuracy"):
        assert getattr(class_metrics, figure)(two) == getattr(class_metrics, figure)(three)


@pytest.mark.parametrize(("larger", "unequal"), [(30, False), (31, True), (990, True)])
def test_over_three_to_one_is_unequal(larger, unequal):
    assert class_metrics.is_unequal(matrix_of([larger, 0], [0, 10])) == unequal


@pytest.mark.parametrize(("large", "small"), [(95, 5), (99, 1), (198, 2), (9900, 100)])
def test_always_the_largest_class_is_no_better_than_guessing(large, small):
    always = matrix_of([large, 0], [small, 0])
    assert class_metrics.is_no_better_than_guessing(always)
    assert class_metrics.balanced_accuracy(always) == 0.5
    assert class_metrics.guessing_accuracy(always) == large / (large + small)


def test_one_hit_by_chance_is_still_guessing():
    assert class_metrics.is_no_better_than_guessing(matrix_of([94, 1], [4, 1]))


def test_answers_at_random_are_guessing_and_few_are_called_better():
    draw = np.random.default_rng(1)
    found = []
    for _ in range(300):
        labels, predicted = draw.choice(3, (2, 150), p=[0.7, 0.2, 0.1])
        matrix = metrics.confusion_matrix(labels, predicted, labels=np.arange(3))
        found.append(class_metrics.is_no_better_than_guessing(matrix))
    assert np.mean(found) > 0.95


def test_a_model_that_finds_the_rare_class_is_better_than_guessing():
    """Even where its accuracy is below that of always guessing the largest class."""
    assert not class_metrics.is_no_better_than_guessing(matrix_of([93, 2], [0, 5]))
    assert not class_metrics.is_no_better_than_guessing(matrix_of([80, 15], [1, 14]))


def test_of_equal_classes_too_what_is_right_by_chance_is_guessing():
    assert class_metrics.is_no_better_than_guessing(np.full((10, 10), 4))
    assert not class_metrics.is_no_better_than_guessing(
        np.full((10, 10), 4) + 8 * np.eye(10, dtype=int)
    )
    assert class_metrics.is_no_better_than_guessing(matrix_of([20, 0], [20, 0]))
