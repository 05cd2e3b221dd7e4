"""TensorBoard's event files, written in a way that survives a full disk and a power loss.

A failed write is taken back, so the file always ends with a whole record and can be tried again.
What was written is on the disk before anything counts on it. TensorFlow is not needed here.
"""

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from helper import flush_folder, open_regular, whole_file

# Keras's names for the curves, so that they line up with those of other Keras programs.
TAGS = {
    "loss": "epoch_loss",
    "accuracy": "epoch_accuracy",
    "learning_rate": "epoch_learning_rate",
}
FILE = "events.out.tfevents.pipeline"
TEST = "test"  # the folder beside those of training and validation


def scalars(figures: Mapping[str, float]) -> list[Summary]:
    """A point for each figure, by its tag."""
    return [scalar_pb(tag, value) for tag, value in figures.items()]


def append(folder: Path, summaries: list[Summary], step: int) -> None:
    """Add to the file in `folder`, or to none of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with open(path, "ab", buffering=0, opener=open_regular) as file:
        end = file.tell()
        left = memoryview(_records(summaries, step, is_new=not end))
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


def write_test(logs: Path, figures: Mapping[str, float | None], best_epoch: int | None) -> None:
    """Replace what is told of the test beside the curves in `logs`, where there are such, at the epoch
    (from 1) that was tested. `figures` has Keras's names."""
    if not logs.is_dir() or logs.is_symlink() or (logs / TEST).is_symlink():
        return
    known = {TAGS[name]: value for name, value in figures.items() if value is not None}
    (logs / TEST).mkdir(exist_ok=True)
    with whole_file(logs / TEST / FILE) as file:
        file.write(_records(scalars(known), max(0, (best_epoch or 1) - 1), is_new=True))


def _records(summaries: list[Summary], step: int, is_new: bool) -> bytes:
    records = io.BytesIO()
    writer = RecordWriter(records)
    events = [Event(file_version="brain.Event:2")] if is_new else []
    events += [Event(step=step, summary=summary) for summary in summaries]
    for event in events:
        event.wall_time = time.time()
        writer.write(event.SerializeToString())
    return records.getvalue()
