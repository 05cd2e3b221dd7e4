"""How good predictions are: numbers in, numbers out."""

import numpy as np

import constants
from pipeline.statistics import class_metrics
from pipeline.statistics.intervals import wilson, with_interval


def score(probabilities: np.ndarray, labels: np.ndarray, class_names: list[str]) -> dict:
    """Accuracy with its 95 % interval, cross-entropy, calibration error; how good it is for small
    classes, too, and beside guessing; precision, recall, F1 and support of each class.

    Args:
        probabilities: float (count, classes), each row sums to 1.
        labels: int (count,), the true classes.
        class_names: one per class.

    Returns:
        plain numbers; a figure that does not exist (the precision of a class that was never predicted)
        is None. A class without a test image, that none was taken for, has no figures.
    """
    predicted = probabilities.argmax(1)
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels].astype(float), 1e-12, 1)
    matrix = confusion_matrix(probabilities, labels)
    largest = class_metrics.largest_class(matrix)
    return {
        "test_images": len(labels),
        "errors": int((predicted != labels).sum()),
        "accuracy": float((predicted == labels).mean()),
        "accuracy_interval": list(wilson(int(matrix.trace()), len(labels))),
        "balanced_accuracy": class_metrics.balanced_accuracy(matrix),
        "macro_f1": class_metrics.macro_f1(matrix),
        "class_ratio": class_metrics.class_ratio(matrix),
        "largest_class": {
            "class": class_names[largest],
            "accuracy": class_metrics.guessing_accuracy(matrix),
        },
        "no_better_than_guessing": class_metrics.is_no_better_than_guessing(matrix),
        "loss": float(-np.log(of_truth).mean()),
        "calibration_error": calibration_error(probabilities, labels),
        "classes": scores_by_class(predicted, labels, class_names),
    }


def scores_by_class(
    predicted: np.ndarray, labels: np.ndarray, class_names: list[str]
) -> list[dict]:
    from sklearn.metrics import precision_recall_fscore_support

    figures = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(class_names)), zero_division=np.nan
    )
    return [
        {
            "class": name,
            "precision": _plain(precision),
            "recall": _plain(recall),
            "f1": _plain(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(class_names, *figures, strict=True)
        if support or not np.isnan(precision)
    ]


def in_words(figures: dict) -> str:
    """What `score` found, for a line: all that is needed not to be misled by the accuracy."""
    text = f"test accuracy {with_interval(figures['accuracy'], figures['test_images'])}"
    if figures["class_ratio"] > class_metrics.UNEQUAL:
        text += (
            f", balanced accuracy {figures['balanced_accuracy']:.3f},"
            f" macro F1 {figures['macro_f1']:.3f}, always guessing the largest class gives"
            f" {figures['largest_class']['accuracy']:.3f}"
        )
    return text + (", " + class_metrics.GUESSING if figures["no_better_than_guessing"] else "")


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: how far confidence is from accuracy, 0 (right) to 1.

    Guo et al., "On Calibration of Modern Neural Networks", 2017: bins of equal width of the
    confidence, weighted by their share of the images.
    """
    confidence = probabilities.max(1).astype(float)
    right = (probabilities.argmax(1) == labels).astype(float)
    bins = np.minimum(
        (confidence * constants.CALIBRATION_BINS).astype(int), constants.CALIBRATION_BINS - 1
    )
    gaps = np.bincount(bins, weights=confidence - right, minlength=constants.CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """int (classes, classes): rows are true classes, columns predicted ones."""
    from sklearn import metrics

    classes = np.arange(probabilities.shape[1])
    return metrics.confusion_matrix(labels, probabilities.argmax(1), labels=classes)


def confident_errors(probabilities: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Places of the wrong predictions with the highest confidence, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")][:most]


def _plain(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)
