import itertools

import numpy as np
import pytest
from sklearn import metrics

import constants
from pipeline.analysis.metrics import (
    calibration_error,
    confident_errors,
    confusion_matrix,
    in_words,
    score,
    scores_by_class,
)

pytestmark = pytest.mark.slow

# Six images of three classes; the fourth is a cat taken for a dog, the last a bird taken for a cat.
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.5, 0.2, 0.3],
        [0.1, 0.9, 0.0],
        [0.2, 0.7, 0.1],
        [0.4, 0.3, 0.3],
    ]
)
LABELS = np.array([0, 0, 0, 0, 1, 2])
NAMES = ["cat", "dog", "bird"]


def random_predictions(seed: int, count: int = 200, classes: int = 5):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.ones(classes) / 2, count)
    return probabilities, draw.integers(0, classes, count)


def test_the_figures_of_a_small_case_are_those_worked_out_by_hand():
    figures = score(PROBABILITIES, LABELS, NAMES)
    assert figures["test_images"] == 6
    assert figures["errors"] == 2
    assert figures["accuracy"] == pytest.approx(4 / 6)
    of_truth = [0.8, 0.6, 0.5, 0.1, 0.7, 0.3]
    assert figures["loss"] == pytest.approx(-sum(np.log(p) for p in of_truth) / 6)
    assert figures["classes"] == [
        {"class": "cat", "precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4, "support": 4},
        {"class": "dog", "precision": 1 / 2, "recall": 1.0, "f1": pytest.approx(2 / 3)}
        | {"support": 1},
        {"class": "bird", "precision": None, "recall": 0.0, "f1": 0.0, "support": 1},
    ]


def test_the_figures_are_those_of_scikit_learn():
    for seed in range(5):
        probabilities, labels = random_predictions(seed)
        predicted = probabilities.argmax(1)
        figures = score(probabilities, labels, list("abcde"))
        assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
        assert figures["loss"] == pytest.approx(metrics.log_loss(labels, probabilities))
        for key, one_figure in (
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("f1", metrics.f1_score),
        ):
            expected = one_figure(labels, predicted, average=None)
            assert [row[key] for row in figures["classes"]] == pytest.approx(list(expected))


def test_all_figures_are_plain_numbers_that_json_can_hold():
    figures = score(*random_predictions(1), list("abcde"))
    rows = figures.pop("classes")
    interval, largest = figures.pop("accuracy_interval"), figures.pop("largest_class")
    rows += [figures, largest, dict(enumerate(interval))]
    assert {type(value) for row in rows for value in row.values()} <= {int, float, str, bool}


def test_a_truth_that_was_given_no_chance_costs_much_but_no_infinity():
    figures = score(np.array([[1.0, 0.0]]), np.array([1]), ["a", "b"])
    assert figures["loss"] == pytest.approx(-np.log(1e-12))
    assert figures["accuracy"] == 0.0


def test_a_class_with_no_test_image_has_no_recall_and_no_figures_if_none_is_taken_for_it():
    rows = scores_by_class(np.array([0, 0, 1]), np.array([0, 0, 0]), ["seen", "guessed", "neither"])
    assert [(row["precision"], row["recall"], row["f1"], row["support"]) for row in rows] == [
        (1.0, pytest.approx(2 / 3), pytest.approx(0.8), 3),
        (0.0, None, 0.0, 0),
    ]


def test_with_unequal_classes_the_line_says_what_guessing_gives():
    labels = np.array([0] * 95 + [1] * 5)
    figures = score(np.tile([[0.9, 0.1]], (100, 1)), labels, ["cat", "dog"])
    assert figures["largest_class"] == {"class": "cat", "accuracy": 0.95}
    assert in_words(figures) == (
        "test accuracy 0.950 (0.888-0.978 of 100), balanced accuracy 0.500, macro F1 0.487,"
        " always guessing the largest class gives 0.950, no better than guessing"
    )


def test_with_equal_classes_the_line_says_the_accuracy_alone():
    figures = score(np.eye(2)[[0, 1] * 20], np.array([0, 1] * 20), ["cat", "dog"])
    assert in_words(figures) == "test accuracy 1.000 (0.912-1.000 of 40)"


def test_the_calibration_error_of_a_small_case_is_the_one_worked_out_by_hand():
    # Of 15 bins, 0.95 and 0.97 fall into the last, 0.51 and 0.52 into the eighth, 0.6 into the tenth.
    confidence = np.array([0.95, 0.97, 0.51, 0.52, 0.6])
    right = np.array([1, 0, 1, 1, 0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    gaps = [
        2 * abs((0.95 + 0.97) / 2 - 1 / 2),
        2 * abs((0.51 + 0.52) / 2 - 2 / 2),
        1 * abs(0.6 - 0),
    ]
    assert constants.CALIBRATION_BINS == 15
    assert calibration_error(probabilities, 1 - right) == pytest.approx(sum(gaps) / 5)


def test_the_calibration_error_is_that_of_a_loop_over_the_bins():
    for seed in range(5):
        probabilities, labels = random_predictions(seed)
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
        expected, edges = 0.0, np.linspace(0, 1, 16)
        for low, high in itertools.pairwise(edges):
            inside = (confidence >= low) & ((confidence < high) | (high == 1))
            if inside.any():
                gap = abs(confidence[inside].mean() - right[inside].mean())
                expected += inside.mean() * gap
        assert calibration_error(probabilities, labels) == pytest.approx(expected)


def test_certainty_is_calibrated_when_always_right_and_not_at_all_when_always_wrong():
    certain = np.eye(3)[[0, 1, 2, 0]]
    assert calibration_error(certain, np.array([0, 1, 2, 0])) == 0.0
    assert calibration_error(certain, np.array([1, 2, 0, 1])) == 1.0


def test_the_confusion_matrix_has_true_classes_as_rows_and_a_place_for_every_class():
    expected = [[3, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert confusion_matrix(PROBABILITIES, LABELS).tolist() == expected
    assert confusion_matrix(PROBABILITIES[:1], LABELS[:1]).shape == (3, 3)


def test_errors_come_most_confident_first():
    assert confident_errors(PROBABILITIES, LABELS, 25).tolist() == [3, 5]


def test_errors_are_all_wrong_in_falling_order_and_none_is_left_out():
    probabilities, labels = random_predictions(3)
    places = confident_errors(probabilities, labels, 1000)
    assert sorted(places) == np.flatnonzero(probabilities.argmax(1) != labels).tolist()
    confidence = probabilities.max(1)[places]
    assert (np.diff(confidence) <= 0).all()
    assert confident_errors(probabilities, labels, 7).tolist() == places[:7].tolist()


def test_equally_confident_errors_keep_the_order_of_the_images():
    probabilities = np.tile([[0.75, 0.25], [0.5, 0.5]], (500, 1))
    places = confident_errors(probabilities, np.ones(1000, int), 1000).tolist()
    assert places == [*range(0, 1000, 2), *range(1, 1000, 2)]


def test_no_error_is_an_empty_list():
    assert confident_errors(np.eye(3), np.arange(3), 25).tolist() == []
    assert confident_errors(PROBABILITIES, LABELS, 0).tolist() == []
