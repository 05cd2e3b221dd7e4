"""Train one run, in a process of its own: whatever a model does to it, the training stage goes on.

What happens it tells the stage through a pipe, one JSON object at a time. When the pipe's other end
closes, the stage is gone, and so it goes too. All that a model prints is in `<run>/training.log`.
"""

import fcntl
import json
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import constants
from helper import UserError, open_regular, printable, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.dataset import load_split
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.image_table import validation_rows, validation_sha256
from pipeline.artifacts.metadata import DatasetDescription
from pipeline.data_folder import description_path, image_table_path, run_folder, training_log
from pipeline.fitting import batches
from pipeline.images.splitting import alike, hold_out
from pipeline.json_values import table_in
from pipeline.keras_models.keras_graph import to_functional
from pipeline.keras_models.model_file import build, compiled_by_file
from pipeline.pretrained import features
from pipeline.problem import Problem
from pipeline.stage import child_processes
from pipeline.stage.lock import Displaced, LockFile, stay_alone, work_under
from pipeline.stage.retry import disk_trouble, is_in_the_way, retry_until_disk_works
from pipeline.training import fitting, tensorboard_logs, training_state
from pipeline.training.phases import PhasedFit, nothing_to_tune
from pipeline.training.run_description import (
    data_of,
    known_of,
    no_validation,
    result_of,
    versions,
    work_done,
)
from pipeline.training.time_left import Durations, Stopwatch

OUT_OF_MEMORY = "there was not enough memory. Use a smaller batch_size or model."
SAY_PROGRESS = 0.2  # seconds between two reports of how far an epoch is


@dataclass
class Job:
    """What to train, and where the result goes. `description` is the checkpoint's account of its origin."""

    name: str
    dataset: str
    model: str
    checkpoint: str
    description: dict
    lock: LockFile | None = None  # the stage's
    threads: int = 0  # of its own; 0: TensorFlow's choice
    gpu: str = ""
    title: str = ""  # of the run, for people
    ended_early: str = ""  # why it is not to go on: its best epoch becomes the checkpoint

    @cached_property
    def settings(self) -> Settings:
        return Settings.of(self.description["settings"])

    @property
    def folder(self) -> Path:
        return run_folder(Path(self.checkpoint))

    def files(self) -> list[str]:
        """What it reads."""
        return [self.dataset, str(description_path(Path(self.dataset))), self.model]


def main(job: dict, connection: Connection) -> int:
    """Train `job` and tell what becomes of it; returns the exit status."""

    def report(**message: object) -> None:
        connection.send_bytes(json.dumps(message).encode())

    pause = threading.Event()
    threading.Thread(target=_listen, args=[connection, pause], daemon=True).start()
    child_processes.give_way_when_memory_is_short()
    training = TrainingJob(Job(**job), report, pause)
    work_under(training.job.lock)
    try:
        training.keep_writing(lambda: start_log(training_log(Path(training.job.checkpoint))))
        training.train()
    except UserError as error:
        report(event="failed", reason=str(error))
    except Displaced as displaced:
        report(event="retry_later", reason=f"{displaced}.")
    except OSError as error:
        if error.filename not in training.job.files():
            raise
        # Not the run's fault: it went while it waited, or the disk does not give it for now.
        report(event="retry_later", reason=f"{error.filename} cannot be read: {error.strerror}.")
    except Exception as error:
        with suppress(OSError):  # a full disk must not hide the reason
            traceback.print_exc()
        short = fitting.is_out_of_memory(error)
        report(event="failed", reason=OUT_OF_MEMORY if short else _in_a_sentence(error))
    return 0


def _listen(connection: Connection, pause: threading.Event) -> None:
    """The stage's only word is "pause"; its silence for good is its end."""
    with suppress(EOFError, OSError):
        while connection.recv_bytes():
            pause.set()
    os._exit(0)


def start_log(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fcntl.flock(file, fcntl.LOCK_EX)  # who looks at it sees that this run is running
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _in_a_sentence(error: Exception) -> str:
    text = printable(str(error).strip().split("\n")[0]) or "no reason given"
    return f"{type(error).__name__}: {text[:300]}"


class TrainingJob:
    """One run, from its dataset to its checkpoint, or to where it was asked to pause."""

    def __init__(self, job: Job, report: Callable[..., None], pause: threading.Event):
        self.job, self.report, self.pause = job, report, pause
        self.logs = job.folder / "logs"
        self.lengths: dict[str, int] = {}  # of the curves' files, after the last whole epoch
        self.steps = 0  # batches in an epoch
        self.before, self.watch = 0.0, Stopwatch()  # seconds of training before this process
        self._began = self._last_report = 0.0

    def train(self) -> None:
        job, settings = self.job, self.job.settings
        fitting.use_devices(job.threads, job.gpu)
        precision = fitting.prepare(settings.precision, settings.seed)
        split = load_split(Path(job.dataset), "train")
        described = DatasetDescription.beside(Path(job.dataset))
        fitted, held_out = fit_and_validate(Path(job.dataset), split, described, settings)
        model = build(Path(job.model), split["img"].shape[1:], split["class"].shape[1])
        warnings = compiled_by_file(model, Path(job.model).stem) | nothing_to_tune(model, settings)
        phased = PhasedFit(model, settings, len(fitted))
        self.steps = phased.fit.steps
        try:
            resumed = self._resume(phased)
        except (KeyError, TypeError, ValueError):
            # It was kept by a Keras that built this model differently.
            training_state.forget(job.folder)
            return self.train()
        self._begin(phased.fit, resumed)
        for warning in warnings.values():
            self.report(event="warning", text=warning["text"])
        if job.ended_early:
            warnings |= ended_early(phased.fit, job.ended_early)
        elif not fit_to_the_end(phased, split, fitted, held_out, self):
            return self.report(event="paused", epoch=phased.fit.epochs_done)
        images, size = (len(fitted), len(held_out)), split["img"].shape[1]
        work = work_done(job.description, settings, self.watch, images, size)
        run = {
            **job.description,
            **data_of(split, described, fitted, held_out),
            **result_of(model, phased.fit, split, held_out),
            "warnings": warnings if len(held_out) else warnings | no_validation(settings),
            "precision": precision,
            "seconds": round(self._seconds(), 3),
            "work": work | {"ended_early": bool(job.ended_early)},
        }
        model = to_functional(model)
        return self._publish(
            model, phased.fit.history, run, known_of(model, split, fitted, held_out)
        )

    def batch_done(self, epoch: int, batch: int) -> None:
        self.watch.batch(is_last=batch == self.steps - 1)
        self.show_step(epoch * self.steps + batch + 1)

    def show_step(self, step: int) -> None:
        if (now := time.monotonic()) - self._last_report >= SAY_PROGRESS:
            self._last_report = now
            self.report(event="step", step=step)

    def epoch_done(self, epoch: int, figures: dict[str, float], fit: fitting.Fit) -> bool:
        self.watch.epoch()
        logged = figures | {"learning_rate": float(fit.network.optimizer.learning_rate)}
        self.keep_writing(lambda: self._keep(epoch, logged, fit.state()))
        self.report(event="epoch", epoch=epoch + 1, step=(epoch + 1) * self.steps, figures=figures)
        return not self.pause.is_set()

    def _keep(self, epoch: int, figures: dict[str, float], state: dict) -> None:
        """Write what an epoch gave. It may fail half-way and be called again."""
        tensorboard_logs.cut_back(self.logs, self.lengths)
        tensorboard_logs.write_epoch(self.logs, epoch, figures)
        lengths = tensorboard_logs.sizes(self.logs)
        state |= {"durations": dict(self.watch.seconds), "logs": lengths}
        state = {"seconds": self._seconds(), **state}
        training_state.save(self.job.folder, self.job.description["key"], epoch + 1, state)
        self.lengths = lengths

    def _resume(self, phased: PhasedFit) -> bool:
        """Go back to the last whole epoch of an earlier process, if there is one."""
        try:
            state = training_state.load(self.job.folder, self.job.description["key"])
        except training_state.NothingToResume:
            return False
        phased.restore(state)
        self.lengths, self.before = state["logs"], state["seconds"]
        self.watch.go_on(Durations.of(table_in(state, "durations")), self.before)
        self.keep_writing(lambda: tensorboard_logs.cut_back(self.logs, self.lengths))
        return True

    def _begin(self, fit: fitting.Fit, resumed: bool) -> None:
        if not resumed:
            self.keep_writing(lambda: clear_logs(self.logs))
            self.keep_writing(lambda: self.lengths.update(log_begin(self.logs, self.job)))
        self._began = time.monotonic()
        done, epochs = fit.epochs_done, self.job.settings.epochs
        self.report(event="fitting", epoch=done, steps=self.steps, epochs=epochs)

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self._began

    def _publish(self, model: object, history: dict, run: dict, known: dict) -> None:
        content = {"model": model, "history": history, "run": run, **known}
        metrics = {name: values[run["best_epoch"] - 1] for name, values in history.items()}
        description = {"run": run, "metrics": metrics, "versions": versions()}
        checkpoint = Path(self.job.checkpoint)
        self.keep_writing(lambda: log_end(self.logs, self.lengths, run, metrics))
        self.keep_writing(lambda: safe_pickle.publish(checkpoint, content, description, stay_alone))
        if not self.job.ended_early:  # or --retry-failed would have nothing to go on from
            self.keep_writing(lambda: training_state.forget(self.job.folder))
        early = run["warnings"].get("ended_early", {}).get("text", "")
        self.report(event="trained", seconds=run["seconds"], ended_early=early, **metrics)

    def keep_writing(self, action: Callable[[], object]) -> None:
        """A full disk makes a training wait, not fail; a folder with a file's name would do so for ever."""
        attempt = partial(unless_in_the_way, action)
        retry_until_disk_works(attempt, lambda text: self.report(event="trouble", text=text))


def unless_in_the_way(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        if is_in_the_way(error):
            raise UserError(f"{disk_trouble(error)}, and use --retry-failed.") from None
        raise


def fit_to_the_end(
    phased: PhasedFit,
    split: dict[str, np.ndarray],
    fitted: np.ndarray,
    held_out: np.ndarray,
    training: TrainingJob,
) -> bool:
    """Or to where `training` was asked to pause; returns which."""

    def goes_on() -> bool:
        return not training.pause.is_set()

    def with_features(parts: tuple) -> dict[str, Any]:
        return examples_of(parts, split, training)

    return phased.run(split, with_features, fitted, held_out, training, goes_on)


def examples_of(
    parts: tuple, split: dict[str, np.ndarray], training: TrainingJob
) -> dict[str, Any]:
    """The split, with what the frozen part of a model makes of its images in their stead."""
    frozen, images, settings = parts[0], split["img"], training.job.settings
    views = batches.view_count(settings)
    folder = Path(training.job.checkpoint).parent.parent / constants.FEATURES
    kept: list[np.ndarray] = []
    training.watch.lap("start")
    training.keep_writing(
        lambda: kept.append(features.room_for(frozen, views * len(images), folder))
    )
    for batch, numbers in batches.views_of(images, settings, features.BATCH):
        kept[0][numbers.start : numbers.stop] = features.of(frozen, batch)
        training.show_step(0)
    training.watch.passed = views * len(images)
    training.watch.lap("frozen_part")
    return {**split, "img": kept[0], "views": views}


def hyperparameters(job: Job) -> dict[str, object]:
    """What TensorBoard compares runs by."""
    names = {key: job.description[key] for key in ("dataset", "model", "hyperparameter_set")}
    settings = job.settings.as_plain()
    del settings["priority"]
    return names | settings


def log_begin(logs: Path, job: Job) -> dict[str, int]:
    """It may fail half-way and be called again; returns the lengths of the files."""
    tensorboard_logs.cut_back(logs, {})
    tensorboard_logs.write_hyperparameters(logs, job.name, hyperparameters(job))
    return tensorboard_logs.sizes(logs)


def log_end(logs: Path, lengths: dict[str, int], run: dict, metrics: dict[str, float]) -> None:
    """It may fail half-way and be called again."""
    tensorboard_logs.cut_back(logs, lengths)
    tensorboard_logs.write_end(logs, run["best_epoch"], metrics, "ended_early" in run["warnings"])


def clear_logs(logs: Path) -> None:
    """What an earlier try left must not show up in TensorBoard's curves, nor in training.log."""
    if logs.is_dir() and not logs.is_symlink():
        shutil.rmtree(logs)
    else:
        logs.unlink(missing_ok=True)
    os.ftruncate(1, 0)  # training.log


def fit_and_validate(
    dataset: Path, split: dict[str, np.ndarray], described: DatasetDescription, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to fit and to validate on, in the train split: as the dataset gives them, or else drawn."""
    if described.validation_sha256 is None:
        share, seed = settings.validation_split, settings.seed
        return hold_out(split["label"], share, seed, alike(split["img"]) if share else None)
    given = validation_rows(dataset, split["img"])
    if given is None or validation_sha256(given) != described.validation_sha256:
        raise UserError(
            f"{shown(image_table_path(dataset))} does not say which images are for validation, as"
            f" {description_path(dataset).name} says it does. Restore the file, or make the dataset"
            " again with data_ingestion.py."
        )
    return np.flatnonzero(~given), np.flatnonzero(given)


def ended_early(fit: fitting.Fit, reason: str) -> dict[str, dict]:
    """Take the best epoch that was kept, and warn that no more came after it, by the warning's kind."""
    if not fit.best_epoch:
        raise UserError("no good epoch was kept.")
    text = f"ended early in epoch {fit.epochs_done + 1}: {reason}"
    fit.take_best()
    return {"ended_early": Problem("ended_early", text).as_plain()}
