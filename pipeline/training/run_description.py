"""What a checkpoint says of its run: of which images it was made, what came out, what that took."""

from typing import Any

import numpy as np

import constants
from pipeline.artifacts.dataset import class_names, input_of
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.keras_import import import_keras
from pipeline.artifacts.metadata import DatasetDescription
from pipeline.problem import Problem
from pipeline.statistics import novelty
from pipeline.statistics.calibration import fit_temperature
from pipeline.training import fitting
from pipeline.training.time_left import Stopwatch


def data_of(
    split: dict[str, np.ndarray],
    described: DatasetDescription,
    fitted: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, object]:
    """What a checkpoint says of the images that it was made from."""
    return {
        "class_names": class_names(split["class"].shape[1], described.class_names),
        "input": input_of(split["img"].shape[1:], described),
        "images": len(fitted),
        "validation_images": len(held_out),
        "validation": "drawn" if described.validation_sha256 is None else "given",
    }


def result_of(
    model: Any, fit: fitting.Fit, split: dict[str, np.ndarray], held_out: np.ndarray
) -> dict[str, object]:
    """What came out: the best epoch, and what makes the model as sure as it is right.

    The temperature is told from the images that the model was validated on.
    """
    temperature = {}
    if len(held_out):
        probabilities = fitting.outputs(model, split["img"][held_out])
        temperature["temperature"] = fit_temperature(probabilities, split["label"][held_out])
    return {
        "parameters": model.count_params(),
        **temperature,
        "epochs": fit.epochs_done,
        "best_epoch": fit.best_epoch,
    }


def work_done(
    said: dict, settings: Settings, watch: Stopwatch, images: tuple[int, int], size: int
) -> dict[str, object]:
    """What there was to do and how long it took, for estimates of other runs.

    `said` describes the run, and `images` is how many were fitted and how many validated.
    """
    names = {key: said[key] for key in ("model", "model_sha256", "set_digest") if key in said}
    fitted, validated = images
    return {
        **names,
        "image_size": size,
        "precision": settings.precision,
        "fitted": fitted,
        "validated": validated,
        "passed": watch.passed,
        "epochs": settings.epochs,
        "patience": settings.early_stopping_patience,
        "batch_size": settings.batch_size,
        "durations": {part: round(took, 3) for part, took in watch.seconds.items()},
    }


def no_validation(settings: Settings) -> dict[str, dict]:
    """The warning that nothing was held out, by its kind."""
    off = not settings.validation_split
    why = "validation_split is 0" if off else "no class has two images that differ"
    text = (
        f"No validation: {why}. The best epoch is chosen by the images that the model was fitted"
        " on, and accuracy and loss of training are theirs."
    )
    return {"no_validation": Problem("no_validation", text).as_plain()}


def known_of(
    model: object, split: dict[str, np.ndarray], fitted: np.ndarray, held_out: np.ndarray
) -> dict[str, dict]:
    """What tells images that are unlike all that the model was fitted on, as far as that can be told."""
    if len(held_out) < novelty.FEWEST:
        return {}
    some = fitted[:: -(-len(fitted) // novelty.MOST_KNOWN)]
    of_fitted, of_held_out = (
        fitting.features(model, split["img"][numbers]) for numbers in (some, held_out)
    )
    if of_fitted is None or of_held_out is None:
        return {}
    known = novelty.kept(novelty.normalized(of_fitted))
    usual = novelty.usual_distance(novelty.normalized(of_held_out), known)
    is_told = usual is not None and np.isfinite(usual)
    return {"known": {"features": known, "usual_distance": usual}} if is_told else {}


def versions() -> dict[str, str]:
    import tensorflow as tf

    keras = import_keras()
    return {"pipeline": constants.VERSION, "keras": keras.__version__, "tensorflow": tf.__version__}
