"""How well does the table of runs foretell how long a run takes?

python benchmarks/eta.py            some minutes; QUICK=1: one or two
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from processes import ROOT, Script
from tables import QUICK, markdown, progress

sys.path.insert(0, str(ROOT))

from pipeline.artifacts import safe_pickle
from pipeline.artifacts.metadata import RunState
from pipeline.data_folder import DataFolder
from pipeline.training.run_queue import RunQueue
from pipeline.training.run_table import RunTable

DATASETS = [(32, 1200), (48, 2000)] if QUICK else [(32, 1200), (48, 2000), (32, 8000), (64, 1500)]
SETS = {
    "many": "epochs = 8\nbatch_size = 32\nearly_stopping_patience = 0\naugmentation.shift = 0.1\n",
    "few": "epochs = 3\nearly_stopping_patience = 0\n",
}
FROZEN = """
from keras import Input, Model, layers

def build_model(input_shape, num_classes):
    images = x = Input(input_shape)
    for width in (32, 48, 64):
        x = layers.Conv2D(width, 3, strides=2, activation="relu", trainable=False)(x)
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    return Model(images, layers.Dense(num_classes, activation="softmax", dtype="float32")(x))
"""
MODELS = {
    "cnn": (ROOT / "models" / "cnn.py").read_text(),
    "pure_cnn": (ROOT / "models" / "pure_cnn.py").read_text(),
    "frozen": FROZEN,
}
CLOSE = 0.3  # of what it took


@dataclass
class Watched:
    """One run, as the table foretold it and as it was; seconds since it was seen to run."""

    began: float
    before: float | None  # its ETA then
    after_epoch: float | None = None  # when its first epoch was seen to be done, and its ETA then
    took: float = 0.0


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        put_drops(place)
        queue = RunQueue(place / "data", place / "models", place / "sets")
        found = watch(place, queue)
        runs = {run.key: run for run in queue.look()}
    rows = [
        [
            f"{run.model.name} {run.hyperparameters.name}, {run.dataset.image_size} pixels,"
            f" {run.dataset.images:,} images",
            f"{one.took:.1f}",
            off(one.before, one.took),
            off(one.after_epoch, one.took),
        ]
        for key, one in found.items()
        for run in [runs[key]]
    ]
    print("## How well does the table of runs foretell how long a run takes?\n")
    header = ["run, in the order of training", "took, s", "foretold before", "after one epoch"]
    print(markdown(header, rows))
    close = sum(abs(one.after_epoch / one.took - 1) <= CLOSE for one in found.values())
    print(f"""
How far the estimate was off: before the run began, from the runs above it ("-": nothing is known of its
model), and once its first epoch was done. The latter was within 30 % for {close} of {len(found)}. Random
images, from the process's start to the checkpoint.""")
    return 0


def put_drops(place: Path) -> None:
    for name, files in (("models", MODELS), ("sets", SETS)):
        (place / name).mkdir()
        ending = {"models": "py", "sets": "toml"}[name]
        for stem, text in files.items():
            (place / name / f"{stem}.{ending}").write_text(text)
    draw, data = np.random.default_rng(0), DataFolder(place / "data")
    data.datasets.mkdir(parents=True)
    data.checkpoints.mkdir()
    for number, (size, count) in enumerate(DATASETS):
        labels = np.arange(count) % 10
        split = {
            "img": draw.integers(0, 256, (count, size, size, 3), np.uint8),
            "label": labels,
            "class": np.eye(10, dtype=np.float32)[labels],
        }
        said = {"counts": {"train": count, "test": count}, "image_size": size}
        path = data.dataset(f"2026-01-01 00:00:{59 - number:02}.000000")
        safe_pickle.publish(path, {"train": split, "test": split}, said)


def watch(place: Path, queue: RunQueue) -> dict[str, Watched]:
    """Look at the table while the runs are trained, and note what it says of each."""
    folders = "--models-folder", place / "models", "--hyperparameters-folder", place / "sets"
    stage = Script("model_training.py", "--data", place / "data", *folders, "--once")
    table, found = RunTable(place / "data"), {}
    while True:
        rows = table.refresh(queue.look())
        for row in rows:
            look_at(row, found)
        if all(row.state not in (RunState.WAITING, RunState.RUNNING) for row in rows):
            stage.stop()
            return found
        if stage.process.poll():
            raise RuntimeError("training ended with an error")
        time.sleep(0.05)


def look_at(row: object, found: dict[str, Watched]) -> None:
    now = time.monotonic()
    if row.state is RunState.RUNNING and row.key not in found:
        found[row.key] = Watched(now, row.eta)
    if row.key not in found or found[row.key].took:
        return
    one = found[row.key]
    if row.state is RunState.TRAINED:
        one.took = now - one.began
        progress(f"{row.name}: {one.took:.1f} s")
    elif row.epochs_done and one.after_epoch is None:
        one.after_epoch = now - one.began + row.eta


def off(estimate: float | None, took: float) -> str:
    return "-" if estimate is None else f"{100 * (estimate / took - 1):+.0f} %"


if __name__ == "__main__":
    sys.exit(main())
