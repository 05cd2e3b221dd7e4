"""A killed training goes on from its last whole epoch and ends as an undisturbed one (on the CPU).

The training process is killed at instants drawn by chance, up to three times per run. The weights
and the history in its checkpoint must be those of a run that nobody disturbed.
"""

import os
import random
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import constants
from pipeline.artifacts import safe_pickle
from pipeline.data_folder import description_path
from pipeline.stage.status import Status
from pipeline.training import training_state
from pipeline.training.local_workers import LocalWorkers, Worker
from pipeline.training.run_queue import RunQueue
from prove import Result
from prove.stages import Stage
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset

EPOCHS = 12
# Dropout and augmentation draw by chance, which has to go on where it was, too.
MODEL = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                       layers.Dense(16, activation="relu"), layers.Dropout(0.3),
                       layers.BatchNormalization(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""
SET = f"""
epochs = {EPOCHS}
batch_size = 8
early_stopping_patience = 5
validation_split = 0.25
precision = "float32"
augmentation = {{ flip = "horizontal", shift = 0.2 }}
"""
ENDED = {"trained", "failed"}


def prove(full: bool) -> Result:
    draw, tries, violations = random.Random(9), 100 if full else 3, []
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        work = Work(Path(folder).resolve())
        with LocalWorkers(work.news.set, Status()) as work.processes:
            work.train()
            undisturbed = work.outcome()
            for number in range(tries):
                if problem := _problem(work, undisturbed, draw):
                    violations.append(f"run {number}: {problem}")
    figure = (
        f"{tries} runs, killed {work.kills} times, {work.gone_on} times with epochs to go on from;"
        f" {tries - len(violations)} equal"
    )
    return Result(tries, tries - len(violations), figure, violations)


def _problem(work: "Work", undisturbed: list, draw: random.Random) -> str | None:
    work.begin_afresh()
    try:
        for _ in range(draw.randint(1, 3)):
            if work.train(
                kill_after=draw.uniform(0, work.seconds / 2), at_once=draw.random() < 0.2
            ):
                break
        else:
            work.train()
    except RuntimeError as error:
        return str(error)
    equal = all(np.array_equal(a, b) for a, b in zip(work.outcome(), undisturbed, strict=True))
    return None if equal else "it ended with other weights, or another history"


@dataclass
class Work:
    """A folder with one run to train, and the server that forks a process for each try."""

    folder: Path
    processes: LocalWorkers | None = None
    kills: int = 0
    gone_on: int = 0
    seconds: float = 0.0  # from the first epoch's end to the end, undisturbed

    def __post_init__(self) -> None:
        self.data, self.news = self.folder / "data", threading.Event()
        make_raw_dataset(self.data / "raw_dataset" / "colours", train=40, test=6)
        with Stage("data_ingestion", "--data", self.data, "--once", "--settle", "0") as stage:
            stage.end()
        for name, text in (("models/small.py", MODEL), ("sets/short.toml", SET)):
            (self.folder / name).parent.mkdir()
            (self.folder / name).write_text(text)
        [self.run] = RunQueue(self.data, self.folder / "models", self.folder / "sets").look()
        self.checkpoint = self.data / constants.CHECKPOINTS / f"{self.run.long_name}.pkl"

    def job(self) -> dict:
        return {
            "name": self.run.long_name,
            "dataset": str(self.run.dataset.path),
            "model": str(self.run.model.path),
            "checkpoint": str(self.checkpoint),
            "description": {
                "key": self.run.key,
                "dataset": self.run.dataset.name,
                "model": self.run.model.name,
                "hyperparameter_set": self.run.hyperparameters.name,
                "settings": self.run.hyperparameters.settings.as_plain(),
            },
        }

    def train(self, kill_after: float | None = None, at_once: bool = False) -> bool:
        """Train until the end or until it is killed; returns whether it came to its end.

        The seconds count from the end of its first epoch, or from its start.

        Raises:
            RuntimeError: it did not go on from its last whole epoch, or has failed.
        """
        kept = self._epochs_kept()
        self.gone_on += kept > 0
        self.processes.start(self.run, self.job())
        [process] = self.processes.running
        killer = threading.Timer(patience() if kill_after is None else kill_after, _kill, [process])
        if at_once:
            killer.start()
        reports = self._reports(process, killer)
        killer.cancel()
        epochs = [report["epoch"] for report in reports if report["event"] == "epoch"]
        if epochs != list(range(kept + 1, kept + 1 + len(epochs))):
            raise RuntimeError(f"after {kept} epochs it went on with {epochs}")
        if reports[-1]["event"] == "trained":
            return True
        if kill_after is None or "SIGKILL" not in reports[-1]["reason"]:
            raise RuntimeError(reports[-1]["reason"])
        self.kills += 1
        if epochs and self._epochs_kept() < epochs[-1] and not self.checkpoint.exists():
            raise RuntimeError(f"of {epochs[-1]} epochs it kept {self._epochs_kept()}")
        return self.checkpoint.exists()

    def _reports(self, process: Worker, killer: threading.Timer) -> list[dict]:
        reports, began = [], 0.0
        while not reports or reports[-1]["event"] not in ENDED:
            self.news.wait(patience())
            self.news.clear()
            reports += [report for one, report in self.processes.reports() if one is process]
            if reports and not began:
                began = time.monotonic()
                if killer.ident is None:
                    killer.start()
        self.seconds = self.seconds or time.monotonic() - began
        return reports

    def _epochs_kept(self) -> int:
        return training_state.progress(self.checkpoint.with_suffix(""), self.run.key).epochs

    def begin_afresh(self) -> None:
        training_state.forget(self.checkpoint.with_suffix(""))
        for path in (self.checkpoint, description_path(self.checkpoint)):
            path.unlink(missing_ok=True)

    def outcome(self) -> list:
        content = safe_pickle.load(self.checkpoint, allow_model=True)
        return [*content["model"].get_weights(), *content["history"].values()]


def _kill(process: Worker) -> None:
    os.kill(process._process.pid, signal.SIGKILL)
