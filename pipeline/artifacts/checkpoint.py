"""A checkpoint pickle, as analysis uses it: a model that predicts, and its history, checked."""

from pathlib import Path

from helper import UserError, shown
from pipeline.artifacts import safe_pickle


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


def _is_curve(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | float) for value in values)
