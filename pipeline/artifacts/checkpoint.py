"""A checkpoint pickle, as analysis uses it: a model that predicts, its history and origin, checked."""

from pathlib import Path

import numpy as np

from helper import UserError, shown
from pipeline.artifacts import safe_pickle
from pipeline.json_values import (
    list_in,
    names_in,
    number_in,
    preparation_in,
    scalars_in,
    table_in,
    whole_in,
)


def load_checkpoint(path: Path) -> dict:
    """The dict in a checkpoint, with "model" and "history".

    Raises:
        UserError: it is damaged, not allowed, or something else.
    """
    content = safe_pickle.load(path, allow_model=True)
    if not isinstance(content, dict) or not hasattr(content.get("model"), "predict"):
        raise UserError(
            f'{shown(path)} is no checkpoint: a dict with "model" and "history" was expected.'
        )
    history = content.get("history")
    if not isinstance(history, dict) or not all(_is_curve(values) for values in history.values()):
        raise UserError(f'{shown(path)}: its "history" needs one list of numbers per metric.')
    return content


def known_in(checkpoint: dict) -> tuple[np.ndarray, float] | None:
    """Features of images that the model was fitted on, and the usual distance to them of others like them.

    None in a checkpoint that does not say, such as one of before.
    """
    said = table_in(checkpoint, "known")
    features, usual = said.get("features"), number_in(said, "usual_distance")
    if not isinstance(features, np.ndarray) or features.ndim != 2 or not len(features):
        return None
    if features.dtype != np.float32 or usual is None or usual < 0:
        return None
    return features, usual


def _is_curve(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | float) for value in values)


def run_in(checkpoint: dict) -> dict:
    """What the checkpoint's pickle says it was made from, as far as JSON can hold it.

    Class names and how an image becomes an input are not in checkpoints of before.
    """
    said = table_in(checkpoint, "run")
    run: dict[str, object] = {**scalars_in(checkpoint, "run")}
    run["best_epoch"] = whole_in(run, "best_epoch")
    run["settings"] = scalars_in(said, "settings")
    run["class_names"] = list(names_in(said, "class_names")) or None
    run["input"] = _input_in(said) or None
    warnings = table_in(said, "warnings")
    described = {kind: scalars_in(warnings, kind) for kind in warnings}
    run["warnings"] = described if "warnings" in said else None
    run["work"] = _work_in(said) or None
    return {name: value for name, value in run.items() if value is not None}


def _work_in(run: dict) -> dict:
    work = table_in(run, "work")
    if not work:
        return {}
    early, durations = work.get("ended_early") is True, scalars_in(work, "durations")
    return {**scalars_in(run, "work"), "ended_early": early, "durations": durations}


def _input_in(run: dict) -> dict:
    said = table_in(run, "input")
    pairs = {key: list_in(said, key) for key in ("image_size", "range")}
    whole = {
        key: pair
        for key, pair in pairs.items()
        if len(pair) == 2 and all(whole_in({key: value}, key) is not None for value in pair)
    }
    return {**whole, **scalars_in(run, "input"), **preparation_in(run, "input")}
