"""What TensorBoard shows of a run: curves, and in its HPARAMS tab settings, best epoch and state."""

import os
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api, api_pb2, summary, summary_v2

from helper import printable
from pipeline.event_files import FILE, TAGS, TEST, append, scalars

# The columns of HPARAMS, by the folder that they are read from: the last value of each counts.
COLUMNS = {
    "": ("best_epoch", "best_loss", "best_accuracy", "best_val_loss", "best_val_accuracy"),
    TEST: (TAGS["loss"], TAGS["accuracy"]),
    "train": (TAGS["loss"], TAGS["accuracy"]),
    "validation": (TAGS["loss"], TAGS["accuracy"]),
}


def write_epoch(logs: Path, epoch: int, figures: dict[str, float]) -> None:
    """Add one epoch (from 0) to the curves in `logs`/train and `logs`/validation.

    `figures` has Keras's names: "loss", "accuracy", "learning_rate", and with "val_" before them the
    validation's.
    """
    for folder, prefix in (("train", ""), ("validation", "val_")):
        points = {
            tag: figures[prefix + name] for name, tag in TAGS.items() if prefix + name in figures
        }
        if points:
            append(logs / folder, scalars(points), step=epoch)


def write_hyperparameters(logs: Path, name: str, settings: dict[str, object]) -> None:
    """What the HPARAMS tab shows of the run `name`, whose curves are in `logs`."""
    metrics = [
        api.Metric(tag, group=group, display_name=_in_words(group, tag))
        for group, tags in COLUMNS.items()
        for tag in tags
    ]
    columns = summary_v2.hparams_config_pb(
        hparams=[api.HParam(key) for key in settings], metrics=metrics
    )
    # A name can hold half a character, for which an event file has no form, or escapes.
    values = {
        key: printable(value) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    append(logs, [columns, summary_v2.hparams_pb(values, trial_id=printable(name))], step=0)


def write_end(logs: Path, best_epoch: int, figures: dict[str, float], ended_early: bool) -> None:
    """The best epoch (from 1) and its figures, by Keras's names, and that the run is finished."""
    best = {"best_epoch": float(best_epoch)}
    best |= {f"best_{name}": value for name, value in figures.items()}
    status = api_pb2.STATUS_FAILURE if ended_early else api_pb2.STATUS_SUCCESS
    # TensorFlow's own type, where that is imported, which an event does not take.
    end = Summary.FromString(summary.session_end_pb(status).SerializeToString())
    append(logs, [*scalars(best), end], step=best_epoch - 1)


def _in_words(group: str, tag: str) -> str:
    words = tag.removeprefix("epoch_").replace("val_", "validation ").replace("_", " ")
    return f"{group} {words}".strip()


def sizes(logs: Path) -> dict[str, int]:
    """How long each event file is, for `cut_back`."""
    return {str(path.relative_to(logs)): path.stat().st_size for path in _files(logs)}


def cut_back(logs: Path, lengths: dict[str, int]) -> None:
    """Take back what was written after `lengths` was taken: no point is doubled when it comes again."""
    for path in _files(logs):
        length = lengths.get(str(path.relative_to(logs)), 0)
        if path.stat().st_size > length:
            os.truncate(path, length)


def _files(logs: Path) -> list[Path]:
    return [path for path in logs.rglob(FILE) if path.is_file()]
