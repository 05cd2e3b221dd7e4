"""How long does a product of datasets, models and hyperparameter sets take? Beside others' grids.

python benchmarks/product.py        four minutes; with QUICK=1: a third of the runs

Everything is started cold. Images, layers, epochs and batch size are the same for all.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from processes import ROOT, python
from tables import NOT_INSTALLED, QUICK, alternating, installed, markdown, ratio, spread

sys.path.insert(0, str(ROOT))

from pipeline.artifacts.dataset import load_split
from pipeline.images.splitting import alike, hold_out

PEERS = Path(__file__).resolve().parent / "peers"
DATASETS = 1 if QUICK else 3
ROUNDS = 1
IMAGE_SIZE = 16
LEARNING_RATES = (0.0005, 0.001, 0.002)
EPOCHS, BATCH_SIZE = 5, 64  # as in peers/grid_task.py
LENET = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([
        Input(input_shape), layers.Rescaling(1 / 255),
        layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"),
        layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ])
"""
SET = """
epochs = {epochs}
batch_size = {batch_size}
learning_rate = {rate}
learning_rate_schedule = "constant"
label_smoothing = 0.0
early_stopping_patience = 0
precision = "{precision}"
"""


OURS = "this project"
FLOAT32 = "this project, precision float32"
LOOP = "a shell loop, one script per run"
LIMIT = "limit: the fits alone, one after another"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        task = Task(Path(folder))
        contestants = task.contestants()
        there = {name: timed for name, (module, timed) in contestants.items() if installed(module)}
        times = alternating(there, ROUNDS)
    rows = []
    for name in contestants:
        if name in times:
            share = f"{ratio(times[name], times[OURS]):.2f}"
            rows.append([name, spread(times[name], ".1f"), share])
        else:
            rows.append([name, NOT_INSTALLED, ""])
    print(f"## How long do {task.runs} runs take, started cold?\n")
    print(markdown(["", "seconds", f"{OURS} / it"], rows))
    print(f"""
{DATASETS} datasets (1,797 digits, {IMAGE_SIZE} x {IMAGE_SIZE}, split anew) x 2 models (`cnn`, LeNet-5) x
{len(LEARNING_RATES)} learning rates; {EPOCHS} epochs, batches of {BATCH_SIZE}, the same images held out. This
project runs `model_training.py --once --workers auto`, with its default precision (bfloat16 where the
processor computes in it) and with float32, which all others use. KerasTuner is one process with a
`GridSearch` for each dataset and model; Ray Tune trains two trials side by side, on one CPU each, in
workers that it keeps. The limit is one process that has imported Keras, and keeps no results. The shell
loop and the limit have the runs with one dataset, and their time counts {DATASETS} times.""")
    return 0


class Task:
    """The files that all work on, and a way to time each of the competitors."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs = DATASETS * 2 * len(LEARNING_RATES)
        self.data, self.models = folder / "data", folder / "models"
        self.models.mkdir()
        (self.models / "cnn.py").write_text((ROOT / "models" / "cnn.py").read_text())
        (self.models / "lenet.py").write_text(LENET)
        for precision in ("auto", "float32"):
            self._write_sets(precision)
        self._ingest()
        self.images = [self._as_npz(path) for path in sorted((self.data / "dataset").glob("*.pkl"))]

    def _write_sets(self, precision: str) -> None:
        sets = self.folder / precision
        sets.mkdir()
        for rate in LEARNING_RATES:
            text = SET.format(epochs=EPOCHS, batch_size=BATCH_SIZE, rate=rate, precision=precision)
            (sets / f"rate-{rate}.toml").write_text(text)

    def _ingest(self) -> None:
        """Digits, split anew for each dataset."""
        for seed in range(DATASETS):
            raw = self.data / "raw_dataset" / f"digits-{seed}"
            python(ROOT / "generate_raw_dataset.py", "--seed", seed, "--output", raw)
        size = "--image-size", IMAGE_SIZE
        python(ROOT / "data_ingestion.py", "--data", self.data, "--once", "--settle", 0, *size)

    def _as_npz(self, path: Path) -> Path:
        """The same images for the peers, with the same ones held out."""
        split = load_split(path, "train")
        both = hold_out(split["label"], 0.1, 0, alike(split["img"]))
        parts = dict(zip(("fitted", "held_out"), both, strict=True))
        arrays = {name: split["img"][places] for name, places in parts.items()}
        arrays |= {f"{name}_classes": split["class"][places] for name, places in parts.items()}
        target = self.folder / f"images-{path.stem[-6:]}.npz"
        np.savez(target, **arrays)
        return target

    def contestants(self) -> dict[str, tuple[str, Callable[[], float]]]:
        """By name: the module that has to be installed, and what does all runs and says how long it took."""
        found = {
            OURS: ("keras", partial(self.this_project, "auto")),
            FLOAT32: ("keras", partial(self.this_project, "float32")),
            "KerasTuner": ("keras_tuner", partial(self.peer, "keras_tuner_grid.py")),
            "Ray Tune": ("ray", partial(self.peer, "ray_grid.py")),
            LOOP: ("keras", self.shell_loop),
            LIMIT: ("keras", partial(self.peer, "fits_alone.py", 1)),
        }
        return {
            name: (module, partial(self._timed, name, work))
            for name, (module, work) in found.items()
        }

    def _timed(self, name: str, work: Callable[[], str | None]) -> float:
        """Seconds: what the limit says itself; what all others took."""
        began = time.perf_counter()
        said = work()
        seconds = float(said) if name == LIMIT else time.perf_counter() - began
        return seconds * (DATASETS if name in (LOOP, LIMIT) else 1)

    def this_project(self, precision: str) -> None:
        checkpoints = self.data / "model_checkpoints"
        shutil.rmtree(checkpoints, ignore_errors=True)
        (self.data / "model_training_settings.pkl").unlink(missing_ok=True)
        folders = (
            *("--data", self.data, "--models-folder", self.models),
            *("--hyperparameters-folder", self.folder / precision),
        )
        python(ROOT / "model_training.py", *folders, "--workers", "auto", "--once")
        if len(list(checkpoints.glob("*.pkl"))) != self.runs:
            raise RuntimeError(f"{precision}: not {self.runs} checkpoints")

    def peer(self, script: str, datasets: int = DATASETS) -> str:
        parts = LEARNING_RATES, self.images[:datasets], self._models()
        lists = [",".join(map(str, some)) for some in parts]
        return python(PEERS / script, self._new_output(), *lists)

    def shell_loop(self) -> None:
        """With the first dataset only: no run of its knows of another, and each takes long."""
        output = self._new_output()
        for images, model, rate in product(self.images[:1], self._models(), LEARNING_RATES):
            one = output / f"{images.stem}-{model.stem}-{rate}"
            python(PEERS / "one_run.py", images, model, rate, one)

    def _models(self) -> list[Path]:
        return sorted(self.models.glob("*.py"))

    def _new_output(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="output-", dir=self.folder))


if __name__ == "__main__":
    sys.exit(main())
