"""What the test of one checkpoint gives: its predictions, their figures, and pictures of them."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

import constants
from pipeline.analysis import metrics
from pipeline.analysis.evaluation import Evaluation
from pipeline.artifacts.catalog import Dataset
from pipeline.artifacts.dataset import class_names, display_name, display_run
from pipeline.artifacts.image_table import file_names
from pipeline.json_values import number_in, table_in
from pipeline.run_warnings import on_picture
from pipeline.stage.text import csv_of
from pipeline.statistics.calibration import COLDEST, tempered

COLUMNS = ("file", "true", "predicted", "confidence", "true_probability")
# In the arrays for programs, where each name takes as much room as the longest.
MOST_CHARACTERS = 1000


@dataclass
class Task:
    """A checkpoint to analyze and the dataset it is to be tested on."""

    path: Path
    sha256: str
    dataset: Dataset

    @property
    def run(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        """The run for people."""
        return display_run(self.run, self.dataset.name, self.dataset.description.raw_name)


@dataclass
class Results:
    """The report on a run, and the files that it names, by name."""

    report: dict
    files: dict[str, bytes]


def results_of(task: Task, test: dict[str, np.ndarray], evaluation: Evaluation) -> Results:
    """What `evaluation` says of the images in `test`, the test split of the task's dataset."""
    probabilities, trained = evaluation.probabilities, evaluation.run
    described = task.dataset.description
    names = class_names(
        probabilities.shape[1], described.class_names, trained.get("class_names", ())
    )
    files = file_names(task.dataset.path, "test", test["img"])
    report = {
        "run": task.run,
        "checkpoint_sha256": task.sha256,
        "dataset": task.dataset.name,
        "dataset_sha256": trained.get("dataset_sha256") or task.dataset.sha256,
        "raw_dataset": described.raw_dataset,
        "image_shape": test["img"].shape[1:],
        "class_names": list(names),
        **metrics.score(probabilities, test["label"], names),
        **_calibrated(probabilities, test["label"], trained),
        "validation_accuracy": _at_best(evaluation.history, trained.get("best_epoch")),
        "history": _finite(evaluation.history),
        "right": _as_bits(probabilities.argmax(1) == test["label"]),
        "trained": trained,
        "dataset_warnings": described.warnings,
        "held_out": described.held_out,
        "versions": {"pipeline": constants.VERSION, "keras": version("keras")},
    }
    title = picture_title(task, trained)
    pictures = draw(report, evaluation.history, test, probabilities, names, files, title)
    predictions = {
        f"predictions_{task.run}.csv": _as_table(probabilities, test["label"], names, files),
        f"predictions_{task.run}.npz": _as_arrays(probabilities, test["label"], names),
    }
    report |= {"pictures": list(pictures), "predictions": list(predictions)}
    return Results(report, {**pictures, **predictions})


def _calibrated(probabilities: np.ndarray, labels: np.ndarray, trained: dict) -> dict[str, float]:
    """The calibration error with the temperature that validation gave, where there is one."""
    temperature = number_in(trained, "temperature")
    if temperature is None or temperature < COLDEST:
        return {}
    error = metrics.calibration_error(tempered(probabilities, temperature), labels)
    return {"temperature": temperature, "calibration_error_with_temperature": error}


def _finite(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """As JSON can hold it."""
    return {
        name: [float(value) if np.isfinite(value) else None for value in values]
        for name, values in history.items()
    }


def _at_best(history: dict[str, list[float]], epoch: int | None) -> float | None:
    """The validation accuracy of the weights that the checkpoint holds."""
    values = history.get("val_accuracy", [])
    found = values[epoch - 1] if epoch and epoch <= len(values) else np.nan
    return float(found) if np.isfinite(found) else None


def _as_bits(right: np.ndarray) -> str:
    """A bit for each image, 1 where it is right, the first one first, as hexadecimal digits."""
    return np.packbits(right).tobytes().hex()


def _as_table(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], files: Sequence[str]
) -> bytes:
    """A row for each test image, in the order of the dataset; without `files` its number is its name."""
    rows = zip(
        files or range(len(labels)),
        (names[label] for label in labels),
        (names[label] for label in probabilities.argmax(1)),
        probabilities.max(1).tolist(),
        probabilities[np.arange(len(labels)), labels].tolist(),
        strict=True,
    )
    return csv_of(COLUMNS, rows)


def _as_arrays(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> bytes:
    """The same for programs, in NumPy's own format and without a pickle in it."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        probabilities=probabilities,
        labels=labels,
        class_names=np.array([name[:MOST_CHARACTERS] for name in names]),
    )
    return buffer.getvalue()


def picture_title(task: Task, trained: dict) -> str:
    """The dataset, the model and the set, or of a stranger its name."""
    model, chosen = trained.get("model"), trained.get("hyperparameter_set")
    if not model or not chosen:
        return task.title
    # An edited model or set has a run of its own, whose name ends in its key.
    _, edited, key = task.run.partition(f"__{model}__{chosen}__")
    dataset = display_name(task.dataset.name, task.dataset.description.raw_name)
    return f"{dataset}, {model}, {chosen}" + (f" ({key})" if edited else "")


def draw(
    report: dict,
    history: dict[str, list[float]],
    test: dict[str, np.ndarray],
    probabilities: np.ndarray,
    names: Sequence[str],
    files: Sequence[str],
    title: str,
) -> dict[str, bytes]:
    """The pictures of one run, by file name."""
    # matplotlib takes its time, which --help should not wait for
    from pipeline.analysis import plots

    run, labels = report["run"], test["label"]
    about = {
        "Run": run,
        "Dataset": f"{report['dataset']} (SHA-256 {report['dataset_sha256']})",
        "Settings": json.dumps(report["trained"].get("settings", {})),
    }
    note = on_picture(table_in(report["trained"], "warnings"), report["dataset_warnings"])
    worst = metrics.confident_errors(probabilities, labels, constants.MOST_ERRORS)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    return {
        f"plot_model_{run}.pkl.png": plots.history_plot(
            history, report["trained"].get("best_epoch"), title, about, note
        ),
        f"visualize_errors_{run}.pkl.png": plots.errors_plot(
            test["img"][worst],
            labels[worst],
            predicted[worst],
            confidence[worst],
            names,
            title,
            about,
            report["errors"],
            len(labels),
            [files[image] for image in worst] if files else [],
            note,
        ),
        f"confusion_matrix_{run}.pkl.png": plots.confusion_plot(
            metrics.confusion_matrix(probabilities, labels),
            names,
            title,
            about,
            note,
            report["held_out"] > 0,
        ),
    }
