"""Write TensorBoard's event files, in a way that survives a full disk and a power loss.

A failed write is taken back, so the file always ends with a whole record and can be tried again.
What was written is on the disk before the training counts on it.
"""

import io
import os
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api, summary_v2
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from helper import flush_folder, open_regular, printable

# Keras's names for the curves, so that they line up with those of other Keras programs.
TAGS = {"loss": "epoch_loss", "accuracy": "epoch_accuracy"}
FILE = "events.out.tfevents.pipeline"


def write_epoch(logs: Path, epoch: int, figures: dict[str, float]) -> None:
    """Add one epoch (from 0) to the curves in `logs`/train and `logs`/validation.

    `figures` has Keras's names: "loss", "accuracy", and with "val_" before them the validation's.
    """
    for folder, prefix in (("train", ""), ("validation", "val_")):
        points = [
            scalar_pb(tag, figures[prefix + name])
            for name, tag in TAGS.items()
            if prefix + name in figures
        ]
        if points:
            _append(logs / folder, points, step=epoch)


def write_hyperparameters(logs: Path, name: str, settings: dict[str, object]) -> None:
    """What the HPARAMS tab shows of the run `name`, whose curves are in `logs`."""
    metrics = [
        api.Metric(tag, group=group, display_name=f"{group} {figure}")
        for group in ("train", "validation")
        for figure, tag in TAGS.items()
    ]
    columns = summary_v2.hparams_config_pb(
        hparams=[api.HParam(key) for key in settings], metrics=metrics
    )
    # A name can hold half a character, for which an event file has no form, or escapes.
    values = {
        key: printable(value) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    _append(logs, [columns, summary_v2.hparams_pb(values, trial_id=printable(name))], step=0)


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


def _append(folder: Path, summaries: list[Summary], step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with open(path, "ab", buffering=0, opener=open_regular) as file:
        end, records = file.tell(), io.BytesIO()
        writer = RecordWriter(records)
        if not end:
            writer.write(
                Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()
            )
        for summary in summaries:
            writer.write(
                Event(wall_time=time.time(), step=step, summary=summary).SerializeToString()
            )
        left = records.getbuffer()
        try:
            while left:
                left = left[file.write(left) :]  # a disk that is nearly full takes a part
            os.fsync(file.fileno())
            if not end:
                flush_folder(folder)
                flush_folder(folder.parent)
        except OSError as error:
            file.truncate(end)
            error.filename = str(path)
            raise
