"""What does the analysis of a checkpoint take beside its predictions?

python benchmarks/analysis.py        a minute; with QUICK=1: one round
"""

import statistics
import sys
import tempfile
from pathlib import Path

import samples
from bare import bare
from processes import Script
from tables import QUICK, alternating, markdown, spread

from pipeline.artifacts.checkpoint import load_checkpoint

IMAGES, ROUNDS = (2_000, 1) if QUICK else (10_000, 3)
TRAINED = 1_000  # enough for predictions that are mostly right
OURS = "this project: from a checkpoint's rename to its analysis"
BARE = "bare `model.predict`, once"
AGAIN = "limit: the same again, the model being set up"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        times = alternating({OURS: bench.ours, BARE: bench.bare}, ROUNDS)
        bench.script.stop()
    times[AGAIN] = bench.again
    least = statistics.median(times[BARE])
    rows = [
        [name, spread(some), f"{statistics.median(some) - least:.2f}"]
        for name, some in times.items()
    ]
    print(f"## What does an analysis take beside the predictions for {IMAGES:,} images?\n")
    print(markdown(["", "seconds", "more than bare"], rows))
    print(f"""
`cnn`, {samples.NAME}, 32 x 32, the analysis stage being warm; median (least-most) of {ROUNDS}, taking turns.
With the predictions come loading and checking the checkpoint and the dataset, three pictures, the
figures of each class, the leaderboard, and all of it flushed to the disk. "Bare" begins with the
model and the images in memory.{samples.NOTE}""")
    return 0


class Bench:
    def __init__(self, folder: Path):
        self.data, self.again, self.number = folder / "data", [], 0
        (self.data / "dataset").mkdir(parents=True)
        samples.drop(samples.dataset(TRAINED, IMAGES, 32), self.data / "dataset", 0)
        self.dataset = next((self.data / "dataset").glob("*.pkl"))
        self.content = train(self.data)
        self.script = Script("model_analysis.py", "--data", self.data)
        self.script.wait_for(": analyzed")  # the first one imports what is needed

    def ours(self) -> float:
        """The same model as another checkpoint."""
        self.number += 1
        self.checkpoint = self.data / "model_checkpoints" / f"checkpoint {self.number}.pkl"
        run = {**self.content["run"], "key": f"number {self.number}"}
        content = {**self.content, "run": run}
        began = samples.rename_into_place(self.checkpoint, content, {"run": run})
        return self.script.wait_for(": analyzed") - began

    def bare(self) -> float:
        found = bare("bare_predict.py", self.checkpoint, self.dataset)
        self.again.append(found["again"])
        return found["first"]


def train(data: Path) -> dict:
    """The content of the checkpoint of a short run."""
    only = "--models", "cnn", "--hyperparameters", "quick"
    script = Script("model_training.py", "--data", data, *only, "--once")
    script.wait_for(": trained")
    script.process.wait()
    return load_checkpoint(next((data / "model_checkpoints").glob("*.pkl")))


if __name__ == "__main__":
    sys.exit(main())
