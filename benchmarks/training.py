"""What does a run cost beside what Keras needs? Speed, the time to the first batch, half precision.

python benchmarks/training.py        some minutes; with QUICK=1: one round on few images
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import samples
from bare import bare
from processes import ROOT, Script
from tables import QUICK, alternating, markdown, ratio, spread

from pipeline.artifacts.checkpoint import load_checkpoint

IMAGES, ROUNDS, EPOCHS, DROPS = (2_000, 1, 3, 2) if QUICK else (6_000, 3, 3, 3)
BATCH = 64
SET = """epochs = {epochs}
batch_size = {batch}
seed = {seed}
label_smoothing = 0.0
early_stopping_patience = 0
"""
# Told from within, as the training stage says nothing of single batches.
PROBE = """

from pathlib import Path
from pipeline.training import worker

def batch_done(self, epoch, batch):
    Path(self.job.checkpoint).with_suffix(".first").touch()
    worker.TrainingJob.batch_done = kept

kept, worker.TrainingJob.batch_done = worker.TrainingJob.batch_done, batch_done
"""
OURS = "this project, a run of the training stage"
HALF = "bare `model.fit`, the same precision"
FULL = "bare `model.fit`, float32"
AGAIN = "the same again there, all that is loaded late being loaded"
LIMIT = "limit: this project's fit alone, where another model was fitted before"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        bench = Throughput(Path(folder))
        speeds = alternating({OURS: bench.ours, HALF: bench.half, FULL: bench.full}, ROUNDS)
        bench.stage.script.stop()
        accuracies = bench.accuracies()
    with tempfile.TemporaryDirectory() as folder:
        bench_first = FirstBatch(Path(folder))
        firsts = alternating({OURS: bench_first.ours, HALF: bench_first.bare}, DROPS)
        bench_first.stage.script.stop()
    say_speeds(speeds, bench.alone, accuracies)
    say_firsts({**firsts, AGAIN: bench_first.again, LIMIT: bench_first.alone})
    return 0


def say_speeds(speeds: dict, alone: list[float], accuracies: dict) -> None:
    rows = [
        [
            name,
            spread(some, ".0f"),
            f"{ratio(some, speeds[OURS]):.2f}",
            spread(accuracies[name], ".4f"),
        ]
        for name, some in speeds.items()
    ]
    limit = ["limit: the training step alone, one batch ready in memory", spread(alone, ".0f")]
    limit.append(f"{ratio(alone, speeds[OURS]):.2f}")
    print("## How fast does a run train, beside bare Keras?\n")
    header = ["", "images per second", "this project / it", "test accuracy"]
    print(markdown(header, [*rows, [*limit, ""]]))
    print(f"""
`cnn` on {IMAGES:,} images of {samples.NAME}, 32 x 32, a tenth of them held out, batches of {BATCH};
whole epochs after the first, with validation and, for this project, TensorBoard's curves and the state
to resume from. Median (least-most) of {ROUNDS} rounds, taking turns, each with another seed; the test
accuracy, on {IMAGES:,} other images, is that after only {EPOCHS} epochs.{samples.NOTE}
""")


def say_firsts(times: dict) -> None:
    rows = [
        [
            name.replace("model.fit`", "compile` and `fit`"),
            spread(some),
            f"{ratio(times[OURS], some):.2f}",
        ]
        for name, some in times.items()
    ]
    print("## How soon does a run begin?\n")
    print(markdown(["to the end of the first batch", "seconds", "it / this project"], rows))
    print(f"""
For this project from the rename of a dataset of {FirstBatch.IMAGES:,} images into place, the training
stage being warm; for bare Keras from the call that builds the model, all being imported and the images in
memory. Median (least-most) of {DROPS}, taking turns. What is left is TensorFlow tracing the step and
setting it up; what the limit leaves out, the process that begins anew for each run.{samples.NOTE}""")


class Stage:
    """The training stage, warm, with one model and one hyperparameter set."""

    def __init__(self, folder: Path, model: str = ""):
        self.sets, self.data = folder / "sets", folder / "data"
        (folder / "models").mkdir()
        self.sets.mkdir()
        (folder / "models" / "cnn.py").write_text((ROOT / "models" / "cnn.py").read_text() + model)
        options = "--data", self.data, "--models-folder", folder / "models"
        self.script = Script(
            "model_training.py", *options, "--hyperparameters-folder", self.sets, "--verbose"
        )
        self.script.wait_for("watching")

    def drop(self, content: dict, number: int, epochs: int) -> float:
        """The dataset alone with one set, so that nothing else is trained."""
        for old in (self.data / "dataset").iterdir():
            old.unlink()
        settings = SET.format(epochs=epochs, batch=BATCH, seed=number)
        (self.sets / "default.toml").write_text(settings)
        return samples.drop(content, self.data / "dataset", number)

    @property
    def dataset(self) -> Path:
        return max((self.data / "dataset").glob("*.pkl"))


class Throughput:
    """Images per second in whole epochs after the first. Each round has its own dataset and seed."""

    def __init__(self, folder: Path):
        self.content = samples.dataset(IMAGES, IMAGES, 32)
        self.stage = Stage(folder)
        self.alone, self.bare_accuracies = [], {HALF: [], FULL: []}
        self.rounds = 0
        warm_up(self.stage)

    def ours(self) -> float:
        self.rounds += 1
        self.stage.drop(self.content, self.rounds, EPOCHS)
        first = self.stage.script.wait_for(": epoch 1 of")
        last = self.stage.script.wait_for(f": epoch {EPOCHS} of")
        self.stage.script.wait_for(": trained")
        return per_second(last - first)

    def half(self) -> float:
        found = self._bare(HALF, precision())
        self.alone.append(found["step_alone"])
        return per_second(found["seconds"])

    def full(self) -> float:
        return per_second(self._bare(FULL, "float32")["seconds"])

    def _bare(self, name: str, policy: str) -> dict:
        accuracies = self.bare_accuracies[name]
        found = bare("bare_fit.py", self.stage.dataset, policy, EPOCHS, BATCH, 1 + len(accuracies))
        accuracies.append(found["accuracy"])
        return found

    def accuracies(self) -> dict[str, list[float]]:
        """Ours comes from the checkpoints, after all else was timed."""
        test = self.content["test"]
        checkpoints = sorted((self.stage.data / "model_checkpoints").glob("*.pkl"))[1:]
        models = [load_checkpoint(path)["model"] for path in checkpoints]
        found = [model.predict(test["img"], batch_size=512, verbose=0) for model in models]
        ours = [float(np.mean(one.argmax(1) == test["label"])) for one in found]
        return {OURS: ours, **self.bare_accuracies}


class FirstBatch:
    """Seconds from a dataset's rename into place until its first batch was trained on."""

    IMAGES = 1_500

    def __init__(self, folder: Path):
        self.content = samples.dataset(self.IMAGES, 100, 32)
        self.stage = Stage(folder, PROBE)
        self.number, self.again, self.alone = 0, [], []
        warm_up(self.stage)

    def ours(self) -> float:
        self.number += 1
        began = self.stage.drop(self.content, self.number, 1)
        self.stage.script.wait_for(": trained")
        told = max((self.stage.data / "model_checkpoints").glob("*.first"))
        return told.stat().st_mtime - began

    def bare(self) -> float:
        found = bare("bare_fit.py", self.stage.dataset, precision(), 1, BATCH, 0)
        self.again.append(found["first_batch_again"])
        alone = bare("fit_again.py", self.stage.dataset, precision(), BATCH)
        self.alone.append(alone["first_batch"])
        return found["first_batch"]


def per_second(seconds: float) -> float:
    """Images in an epoch, the tenth held out not counted, for all epochs but the first."""
    return IMAGES * 9 // 10 * (EPOCHS - 1) / seconds


def warm_up(stage: Stage) -> None:
    stage.drop(samples.dataset(100, 100, 32), 0, 1)
    stage.script.wait_for(": trained")


def precision() -> str:
    """What "auto" is on this machine."""
    from pipeline.training.fitting import choose_precision

    return choose_precision("auto")


if __name__ == "__main__":
    sys.exit(main())
