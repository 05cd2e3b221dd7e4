"""Which runs are trained, and starting the next ones."""

import argparse
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import constants
from helper import UserError
from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import CheckpointDescription, RunState, TrainingEntry
from pipeline.data_folder import DataFolder, run_folder
from pipeline.stage import devices
from pipeline.stage.lock import lock_held
from pipeline.stage.process import Stage
from pipeline.training import training_state
from pipeline.training.local_workers import LocalWorkers
from pipeline.training.run_queue import Run, RunQueue

log = logging.getLogger(__name__)


class TrainingRecord:
    """The ledger of training, and the checkpoints that there are."""

    def __init__(self, data: DataFolder, stage: Stage):
        self.data, self.stage = data, stage
        self.ledger = Ledger(data.training_record, self._trained_on_disk, TrainingEntry.of)
        self.failed = {key for key in self.ledger.entries if self._has_failed(key)}
        self._listed: set[str] = set()
        self._listed_at = float("-inf")

    def entry(self, run: Run) -> TrainingEntry | None:
        return self.ledger.entries.get(run.key)

    def enter(self, run: Run, **entry: object) -> None:
        self.stage.retry(lambda: self.ledger.record(run.key, **entry))
        self.failed.discard(run.key)
        if self._has_failed(run.key):
            self.failed.add(run.key)

    def _has_failed(self, key: str) -> bool:
        return self.ledger.entries[key].state is RunState.FAILED

    def reasons(self, runs: list[Run]) -> dict[str, str]:
        """Why those of `runs` failed that did, by the name of the run."""
        failed = (run for run in runs if self.failed and run.key in self.failed)
        entries = [(run, self.ledger.entries[run.key]) for run in failed]
        return {entry.name or run.plain_name: entry.reason for run, entry in entries}

    def adopt(self, run: Run) -> bool:
        """Enter the checkpoint of `run`, if there is one: just made, or before an earlier process died."""
        for name in run.names:
            key, entry = self._on_disk(name)
            if key == run.key:
                self.enter(run, **entry)
                self._listed.add(name)
                return True
        return False

    def checkpoint_names(self) -> set[str]:
        """The checkpoints there are; thousands are not listed after each epoch."""
        if time.monotonic() >= self._listed_at + constants.LOOK_AGAIN:
            self._listed_at = time.monotonic()
            files = os.listdir(self.data.checkpoints)  # noqa: PTH208 - names are all it takes
            self._listed = {name.removesuffix(".pkl") for name in files if name.endswith(".pkl")}
        return self._listed

    def forget_failed(self) -> None:
        self.stage.retry(lambda: self.ledger.forget(*self.failed))
        self.failed.clear()

    def remove_leftovers(self) -> None:
        """What a trainer kept to go on from is of no use once there is the checkpoint."""
        for state in self.data.checkpoints.glob(f"*/{training_state.FILE}"):
            if self.data.checkpoint(state.parent.name).exists():
                with suppress(IsADirectoryError):
                    training_state.forget(state.parent)

    def _on_disk(self, name: str) -> tuple[str | None, dict]:
        """The key of the run that the checkpoint `name` is of, and its entry; None if there is none."""
        path = self.data.checkpoint(name)
        said = CheckpointDescription.beside(path) if path.exists() else None
        if said is None or said.key is None:
            return None, {}
        entry = {"state": "trained", "name": name, "accuracy": said.accuracy}
        figures = {
            "model": said.model,
            "seconds": said.seconds,
            "images": said.images,
            "epochs": said.epochs,
        }
        known = {key: figure for key, figure in figures.items() if figure is not None}
        if said.work:
            known["work"] = said.work
        return said.key, entry | known

    def _trained_on_disk(self) -> dict[str, dict]:
        found = (self._on_disk(path.stem) for path in self.data.checkpoints.glob("*.pkl"))
        return {key: entry for key, entry in found if key}


class Scheduler:
    """Which runs are done, and doing the next ones."""

    def __init__(
        self, queue: RunQueue, processes: LocalWorkers, options: argparse.Namespace, stage: Stage
    ):
        self.queue, self.processes, self.stage = queue, processes, stage
        self.preempt = options.preempt
        self.slots = devices.worker_slots(options.workers)
        self.data = DataFolder(options.data)
        self.record = TrainingRecord(self.data, stage)
        self.all_well = True
        self.seconds_per_look = 0.0
        self._problems: list[str] = []
        self._left_out: list[str] = []
        self.record.remove_leftovers()
        if options.retry_failed:
            self.record.forget_failed()

    def start_what_fits(self) -> None:
        """Start the most urgent runs that wait, as far as there are free slots."""
        began = time.thread_time()
        waiting = self.waiting()
        while run := next(waiting, None):
            if len(self.processes.running) < self.slots:
                self._start(run)
            else:
                self._make_room(run)
                break
        self.seconds_per_look = time.thread_time() - began

    def waiting(self) -> Iterator[Run]:
        """The runs that are neither trained nor failed nor being trained, the most urgent first.

        The queue is computed afresh here, each time a slot is free: a file that was dropped or removed
        since the last choice counts in this one. What is on disk decides before what is recorded: a
        run whose checkpoint was deleted is trained again, and one whose checkpoint is there, though
        the process that made it died before it could say so, is not.
        """
        runs = self.queue.look()
        self._log_problems()
        self.stage.status.set_problems({**self.queue.refused, **self.record.reasons(runs)})
        there = self.record.checkpoint_names()
        busy = {process.run.key for process in self.processes.running}
        for run in runs:
            entry = self.record.entry(run)
            state = entry and entry.state
            if state == "trained" and entry.name in there:
                continue
            if state == "failed":
                self.all_well = False
            elif run.key not in busy and not self.record.adopt(run):
                yield run

    def take_reports(self) -> bool:
        """Record what became of runs. Returns whether one ended or finished an epoch: a time to choose."""
        reports = list(self.processes.reports())
        for process, report in reports:
            if report["event"] != "epoch":
                self._record(process.run, process.job, report)
        return bool(reports)

    def _record(self, run: Run, job: dict, outcome: dict) -> None:
        name = job["name"]
        adopted = self.stage.retry(lambda: self.record.adopt(run))
        title = run.display(name)
        match outcome["event"]:
            case "trained":
                log.info("%s: trained in %.1f s%s", title, outcome["seconds"], _result(outcome))
            case "failed" if adopted:  # it died with nothing left to do but to say so
                log.info("%s: trained", title)
            case "failed":
                if self._keeps_best_epoch(run, job, outcome["reason"]):
                    return
                reason = job.get("ended_early") or outcome["reason"]
                log.error("%s: failed: %s", title, reason)
                self.record.enter(run, state="failed", name=name, reason=reason)
            case "paused":
                log.info("%s: paused after epoch %d for a newer dataset", title, outcome["epoch"])
            case "retry_later":  # not the run's fault: it is tried again, if it is still there
                log.error("%s: %s", title, outcome["reason"])
                if self.stage.once:
                    raise UserError(outcome["reason"])
                time.sleep(constants.RETRY)

    def _keeps_best_epoch(self, run: Run, job: dict, reason: str) -> bool:
        """Make a checkpoint of what was good before the failure, in a process that is not harmed by it."""
        folder = run_folder(Path(job["checkpoint"]))
        if "ended_early" in job or not training_state.progress(folder, run.key).epochs:
            return False
        title = run.display(job["name"])
        log.warning("%s: %s Its best epoch so far is kept.", title, reason)
        self.processes.start(run, job | {"ended_early": reason}, constants.KEEP_BEST)
        return True

    def _start(self, run: Run) -> None:
        name = run.name_in(self.data.checkpoints)
        count = run.dataset.images
        images = "" if count is None else f"{count:,} images, "
        epochs = run.hyperparameters.settings.epochs
        log.info("%s: started (%s%d epochs)", run.display(name), images, epochs)
        share = devices.assign([process.job for process in self.processes.running], self.slots)
        job = job_of(run, self.data.checkpoint(name))
        self.processes.start(run, job | share)

    def _make_room(self, run: Run) -> None:
        """Ask the run on the oldest dataset to pause, if that of `run`, which waits, is newer."""
        running = self.processes.running
        if not self.preempt or any(process.pausing for process in running):
            return
        oldest = min(running, key=lambda process: process.run.dataset.time)
        if oldest.run.dataset.time < run.dataset.time:
            oldest.pause()

    def _log_problems(self) -> None:
        """Name each file that cannot take part, once per change."""
        self.all_well = self.all_well and not self.queue.problems
        self._problems = _log_new(logging.ERROR, self.queue.problems, self._problems)
        self._left_out = _log_new(logging.INFO, self.queue.left_out, self._left_out)


def job_of(run: Run, checkpoint: Path) -> dict:
    """What the process that trains `run` has to know."""
    return {
        "name": checkpoint.stem,
        "title": run.display(checkpoint.stem),
        "dataset": str(run.dataset.path),
        "model": str(run.model.path),
        "checkpoint": str(checkpoint),
        "lock": lock_held(),
        "description": {
            "key": run.key,
            "dataset": run.dataset.name,
            "dataset_sha256": run.dataset.digest,
            "model": run.model.name,
            "model_sha256": run.model.digest,
            "model_priority": run.model.priority,
            "hyperparameter_set": run.hyperparameters.name,
            "set_digest": run.hyperparameters.digest_for_all_seeds,
            "settings": run.hyperparameters.settings.as_plain(),
        },
    }


def _log_new(level: int, sentences: Sequence[str], said: Sequence[str]) -> list[str]:
    """Log those that are not in `said` yet. Returns what is said from now on."""
    for sentence in sentences:
        if sentence not in said:
            log.log(level, "%s", sentence)
    return list(sentences)


def _result(outcome: dict) -> str:
    early = f"; {outcome['ended_early']}" if outcome.get("ended_early") else ""
    if "val_accuracy" in outcome:
        return f", validation accuracy {outcome['val_accuracy']:.3f}{early}"
    return f", accuracy {outcome['accuracy']:.3f} (no validation){early}"
