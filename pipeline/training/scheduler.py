"""Which runs are trained, and starting the next ones."""

import argparse
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import constants
from helper import UserError
from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import CheckpointDescription, RunState, TrainingEntry
from pipeline.data_folder import DataFolder, description_path, run_folder
from pipeline.requests.carrying_out import KnownRun, Requests
from pipeline.requests.request import Action
from pipeline.requests.requested import is_cancelled
from pipeline.stage import devices
from pipeline.stage.lock import lock_held
from pipeline.stage.process import Stage
from pipeline.stage.text import count
from pipeline.training import training_state
from pipeline.training.local_workers import LocalWorkers, Worker
from pipeline.training.run_queue import Run, RunQueue

log = logging.getLogger(__name__)

STOPPED = "stopped, as asked."


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

    def forget(self, keys: set[str]) -> None:
        self.stage.retry(lambda: self.ledger.forget(*keys))
        self.failed = self.failed - keys

    def forget_failed(self) -> None:
        self.forget(self.failed)
        for folder in self._kept_to_go_on():
            self.stage.retry(lambda folder=folder: self._forget_ended_early(folder.name))

    def _forget_ended_early(self, name: str) -> None:
        """Let a run that ended early wait again, to go on: its best epoch is in what it goes on from."""
        path = self.data.checkpoint(name)
        said = CheckpointDescription.beside(path)
        if said.ended_early and said.key and training_state.is_whole(run_folder(path), said.key):
            path.unlink(missing_ok=True)  # before what says which run it is of
            description_path(path).unlink(missing_ok=True)
            self.ledger.forget(said.key)

    def remove_leftovers(self) -> None:
        """What a trainer kept to go on from is of no use once there is the checkpoint of all epochs."""
        for folder in self._kept_to_go_on():
            path = self.data.checkpoint(folder.name)
            if path.exists() and not CheckpointDescription.beside(path).ended_early:
                with suppress(IsADirectoryError):
                    training_state.forget(folder)

    def _kept_to_go_on(self) -> list[Path]:
        """The folders of runs that have something to go on from."""
        return [path.parent for path in self.data.checkpoints.glob(f"*/{training_state.FILE}")]

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
            "validated": said.validated,
            "warnings": [*said.warnings],
        }
        known = {key: figure for key, figure in figures.items() if figure is not None}
        if said.work:
            known["work"] = said.work
        return said.key, entry | known

    def _trained_on_disk(self) -> dict[str, dict]:
        found = (self._on_disk(path.stem) for path in self.data.checkpoints.glob("*.pkl"))
        return {key: entry for key, entry in found if key}


class RunRequests:
    """What a person asks of the runs in `queue`, carried out on the record and on the `processes`."""

    def __init__(
        self, queue: RunQueue, record: TrainingRecord, processes: LocalWorkers | None = None
    ):
        self.queue, self.record, self.processes = queue, record, processes
        self.requests = Requests(record.data)
        self.of, self.problems = self.requests.of, self.requests.problems

    def carry_out(self) -> None:
        if files := self.requests.pending():
            running = self.processes.running if self.processes else []
            names = {process.run.key: process.job["name"] for process in running}
            known = [self._known(run, names) for run in self.queue.look()]
            self.requests.carry_out(files, known, self.record.forget)
        for process in self.processes.running if self.processes else ():
            end = self.of(process.run.key).end
            if end and (end == Action.CANCEL or "ended_early" not in process.job):
                process.end(end)

    def rank(self, run: Run) -> tuple:
        """What makes a run that waits go before one that is trained: higher, it does."""
        return self.of(run.key).priority, run.dataset.time

    def cancel(self, run: Run) -> bool:
        """Whether it is not to be trained, nor what it has kept to be made a checkpoint."""
        asked, data = self.of(run.key), self.record.data
        if not asked.end:
            return False
        folder = run_folder(data.checkpoint(run.name_in(data.checkpoints)))
        return is_cancelled(asked, training_state.progress(folder, run.key).epochs)

    def has_stopped(self, run: Run) -> None:
        """It is trained, as far as it got: if its checkpoint is deleted, it is trained as any other."""
        if self.of(run.key).end:
            self.record.stage.retry(lambda: self.requests.end_over(run.key))

    def _known(self, run: Run, running: dict[str, str]) -> KnownRun:
        entry, there = self.record.entry(run), self.record.checkpoint_names()
        plain, own = run.names
        recorded = entry.name if entry else running.get(run.key)
        name = recorded or (own if plain in there else plain)
        state = RunState.WAITING
        if run.key in running:
            state = RunState.RUNNING
        elif entry and (entry.state is RunState.FAILED or name in there):
            state = entry.state or state
        parts = run.dataset.name, run.model.name, run.hyperparameters.name
        return KnownRun(name, run.display(name), run.key, *parts, state)


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
        self.requests = RunRequests(queue, self.record, processes)
        self.all_well = True
        self.seconds_per_look = 0.0
        self._problem_log = ProblemLog(queue)
        self.record.remove_leftovers()
        if options.retry_failed:
            self.record.forget_failed()

    def start_what_fits(self) -> None:
        """Start the most urgent runs that wait, as far as there are free slots."""
        began = time.thread_time()
        self.requests.carry_out()
        waiting = self.waiting()
        while run := next(waiting, None):
            if len(self.processes.running) < self.slots:
                self._start(run)
            else:
                if self.preempt:
                    make_room(run, self.processes.running, self.requests.rank)
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
        self._problem_log.say()
        self.all_well = self.all_well and not self.queue.problems
        reasons = self.record.reasons(runs) | self.requests.problems()
        self.stage.status.set_problems(self.queue.refused | reasons)
        there = self.record.checkpoint_names()
        busy = {process.run.key for process in self.processes.running}
        for run in runs:
            entry = self.record.entry(run)
            state = entry and entry.state
            if state == "trained" and entry.name in there:
                continue
            if state == "failed":
                self.all_well = False
            elif (
                run.key not in busy and not self.record.adopt(run) and not self.requests.cancel(run)
            ):
                yield run

    def take_reports(self) -> bool:
        """Record what became of runs. Returns whether one ended or finished an epoch: a time to choose."""
        reports = list(self.processes.reports())
        for process, report in reports:
            if report["event"] != "epoch":
                self._record(process, report)
        return bool(reports)

    def _record(self, process: Worker, outcome: dict) -> None:
        run, job = process.run, process.job
        name = job["name"]
        adopted = self.stage.retry(lambda: self.record.adopt(run))
        title = run.display(name)
        match outcome["event"]:
            case "trained":
                log.info("%s: trained in %.1f s%s", title, outcome["seconds"], _result(outcome))
                self.requests.has_stopped(run)
            case "failed" if adopted:  # it died with nothing left to do but to say so
                log.info("%s: trained", title)
            case "failed" if process.ended:
                if process.ended != Action.STOP or not self._keeps_best_epoch(run, job, STOPPED):
                    log.info("%s: cancelled", title)
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
        images = run.dataset.images
        sizes = [] if images is None else [count(images, "image")]
        sizes.append(count(run.hyperparameters.settings.epochs, "epoch"))
        log.info("%s: started (%s)", run.display(name), ", ".join(sizes))
        share = devices.assign([process.job for process in self.processes.running], self.slots)
        job = job_of(run, self.data.checkpoint(name))
        if self.requests.of(run.key).end:  # this process died before it could
            job["ended_early"] = STOPPED
        self.processes.start(run, job | share)


class ProblemLog:
    """Names each file of `queue` that cannot take part, once per change."""

    def __init__(self, queue: RunQueue):
        self.queue = queue
        self._problems: list[str] = []
        self._left_out: list[str] = []

    def say(self) -> None:
        self._problems = _log_new(logging.ERROR, self.queue.problems, self._problems)
        self._left_out = _log_new(logging.INFO, self.queue.left_out, self._left_out)


def make_room(run: Run, running: list[Worker], rank: Callable[[Run], tuple]) -> None:
    """Ask the least urgent run to pause, if `run`, which waits, ranks higher."""
    if any(process.pausing for process in running):
        return
    least = min(running, key=lambda process: rank(process.run))
    if rank(least.run) < rank(run):
        least.pause()


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
