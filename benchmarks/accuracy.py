"""How soon is a model good? Seconds to 90 % and to 92.5 % test accuracy, beside Keras's own example.

python benchmarks/accuracy.py        seven minutes; with QUICK=1: on few images

Test accuracy by epoch is measured outside of the time that counts. Keras's example predicts in a
callback, whose time is taken off. The training stage replaces resume.state after each epoch; a hard
link keeps each of these files, at no cost to the run, and the weights in them are tested when all is
over: some epochs after the validation said that the last goal is reached. Its clock runs from the
rename of the dataset into place, Keras's from the building of its model.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import samples
from bare import bare
from processes import ROOT, Script
from tables import QUICK, markdown

from pipeline.keras_models import model_file
from pipeline.training import fitting, training_state

TRAIN, TEST = (6_000, 2_000) if QUICK else (60_000, 10_000)
GOALS = (0.9, 0.925)
SURELY = GOALS[-1] + 0.005  # in validation, this many times: then the tests will say so, too
TIMES = 2
VALIDATION = re.compile(r"'val_accuracy': ([0-9.]+)")
OURS = "this project: `cnn`, the set `default`"
PEER = "Keras's example mnist_convnet"


def main() -> int:
    content = samples.dataset(TRAIN, TEST, 28)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), content)
        found = {OURS: run.tested(content["test"])}
        found[PEER] = bare("mnist_convnet.py", run.dataset)["epochs"]
    print("## How soon is a model good?\n")
    header = [
        "test accuracy",
        *(f"seconds to {goal:.1%}" for goal in GOALS),
        "best",
        "epochs",
        "all of them",
    ]
    rows = [[name, *figures(epochs)] for name, epochs in found.items()]
    print(markdown(header, [*rows, ["this project / Keras's", *ratios(*found.values())]]))
    print(f"""
{samples.NAME}, {TRAIN:,} training and {TEST:,} test images, 28 x 28; one run each, one after the other.
For this project from the rename of the dataset into place, the training stage being warm, to the end of the
epoch after which the test images are recognised that well, with validation, TensorBoard's curves and
the state to resume from; for keras.io/examples/vision/mnist_convnet, at its own settings, from the
building of the model. The tests themselves are in no time. This project's run of 20 epochs is ended once
it has surely passed the goals.{samples.NOTE}""")
    return 0


def figures(epochs: list) -> list[str]:
    best = max(accuracy for _, accuracy in epochs)
    reached = [seconds_to(goal, epochs) for goal in GOALS]
    missed = f"not in {len(epochs)} epochs"
    cells = [missed if seconds is None else f"{seconds:.0f}" for seconds in reached]
    return [*cells, f"{best:.4f}", len(epochs), f"{epochs[-1][0]:.0f} s"]


def seconds_to(goal: float, epochs: list) -> float | None:
    return next((seconds for seconds, accuracy in epochs if accuracy >= goal), None)


def ratios(ours: list, theirs: list) -> list[str]:
    pairs = [(seconds_to(goal, ours), seconds_to(goal, theirs)) for goal in GOALS]
    cells = [f"{mine / other:.2f}" if mine and other else "" for mine, other in pairs]
    return [*cells, "", "", ""]


class Run:
    """One run through the training stage, and when each of its epochs was over."""

    def __init__(self, folder: Path, content: dict):
        self.data, self.states, self.ends = folder / "data", folder / "states", []
        only = "--models", "cnn", "--hyperparameters", "default"
        script = Script("model_training.py", "--data", self.data, *only, "--verbose")
        script.wait_for("watching")
        samples.drop(samples.dataset(100, 100, 28), self.data / "dataset", 0)
        script.wait_for(": trained")  # warm
        self.began = samples.drop(content, self.data / "dataset", 1)
        self.dataset = max((self.data / "dataset").glob("*.pkl"))
        self.checkpoint = self.data / "model_checkpoints" / self.dataset.name
        self._follow(script)
        script.stop()

    def _follow(self, script: Script) -> None:
        script.wait_for(": started")
        surely, line = 0, ""
        while surely < TIMES and ": trained" not in line:
            came, line = script.lines.get(timeout=600)
            if said := VALIDATION.search(line):
                self.ends.append(came - self.began)
                self._keep_state()
                surely += float(said[1]) >= SURELY

    def _keep_state(self) -> None:
        folder = self.states / str(len(self.ends))
        folder.mkdir(parents=True)
        (folder / training_state.FILE).hardlink_to(
            self.checkpoint.with_suffix("") / training_state.FILE
        )

    def tested(self, test: dict) -> list[tuple[float, float]]:
        """Seconds and test accuracy after each epoch."""
        fitting.prepare("auto", 0)
        path = ROOT / "models" / "cnn.py"
        model = model_file.build(path, test["img"].shape[1:], test["class"].shape[1])
        found = []
        for epoch, seconds in enumerate(self.ends, 1):
            folder = self.states / str(epoch)
            _, head, _ = (folder / training_state.FILE).read_bytes().split(b"\n", 2)
            kept = training_state.load(folder, json.loads(head)["key"])["variables"]
            for variable, array in zip(model.variables, kept, strict=True):
                variable.assign(array)
            predicted = model.predict(test["img"], batch_size=512, verbose=0).argmax(1)
            found.append((seconds, float((predicted == test["label"]).mean())))
        return found


if __name__ == "__main__":
    sys.exit(main())
