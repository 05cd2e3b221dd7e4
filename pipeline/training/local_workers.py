"""Processes that train one run each: starts them, gives them their jobs, shows how far they are."""

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

from helper import remove_partials
from pipeline.data_folder import run_folder, training_log
from pipeline.stage import child_processes
from pipeline.stage.lock import holds_lock
from pipeline.stage.progress import progress_bar, seconds_left
from pipeline.stage.status import Status, Task, now

log = logging.getLogger(__name__)

ENDED = ("trained", "paused", "failed", "retry_later")
PRELOAD = (
    "pipeline.training.fitting",
    "pipeline.training.worker",
    "pipeline.stage.folder_watch",
    "pipeline.training.scheduler",
)


class LocalWorkers:
    """The runs that are being trained, each in a process of its own.

    `wake` is called, from another thread, when `reports()` has something to give.
    """

    def __init__(self, wake: Callable[[], None], status: Status, timeout: float | None = None):
        """A run that takes longer than `timeout` seconds is killed, and so has failed."""
        self.wake, self.status, self.timeout = wake, status, timeout
        self.running: list[Worker] = []
        self._reports: queue.SimpleQueue = queue.SimpleQueue()

    def __enter__(self) -> "LocalWorkers":
        child_processes.start(PRELOAD)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.ask_to_end()
        for process in self.running:
            process.stop()
        for folder in {Path(process.job["checkpoint"]).parent for process in self.running}:
            _tidy(folder)

    def start(self, run: object, job: dict, timeout: float | None = None) -> None:
        child_processes.start(PRELOAD)  # it may have been killed
        self.running.append(Worker(run, job, self._take, timeout or self.timeout))
        self._say_status()

    def _take(self, process: "Worker", report: dict) -> None:
        self._reports.put((process, report))
        self.wake()

    def reports(self) -> Iterator[tuple["Worker", dict]]:
        """What came since the last call, each with the process that it came from: the end of an
        epoch ("event" is "epoch") and of a run ("trained", "paused", "failed" or "retry_later")."""
        with suppress(queue.Empty):
            while True:
                process, report = self._reports.get_nowait()
                if process not in self.running:
                    continue  # it has told its end already
                process.progress.show(report)
                self._say_status()  # here, for runs that all hang give no sign of life
                if report["event"] in ENDED:
                    self.running.remove(process)
                    process.stop()
                if report["event"] in ("epoch", *ENDED):
                    yield process, report

    def _say_status(self) -> None:
        names = ", ".join(process.progress.title for process in self.running)
        so_far = ", ".join(process.progress.so_far() for process in self.running)
        tasks = [process.progress.task() for process in self.running]
        self.status.update(f"training {names}", so_far, tasks)

    def interrupted(self) -> list[str]:
        return [process.progress.interrupted() for process in self.running]


class Worker:
    """The process that trains `run` as `job` says; gives each of its reports to `take`."""

    def __init__(self, run: object, job: dict, take: Callable, timeout: float | None):
        self.run, self.job, self.timeout = run, job, timeout
        self.pausing = self.timed_out = False
        self.ended = ""  # by which request
        self.progress = Progress(job)
        self._connection, theirs = child_processes.context.Pipe()
        self._process = child_processes.context.Process(
            target=_train, args=[job, theirs], daemon=True
        )
        self._process.start()
        theirs.close()
        self._timer = threading.Timer(timeout or threading.TIMEOUT_MAX, self._time_is_over)
        self._timer.daemon = True
        self._timer.start()
        self._listening = threading.Thread(target=self._listen, args=[take], daemon=True)
        self._listening.start()

    def _time_is_over(self) -> None:
        self.timed_out = True
        self._process.kill()

    def _listen(self, take: Callable) -> None:
        # The pipe alone would not do: a process that the model started may hold it open.
        while self._connection in wait([self._connection, self._process.sentinel]):
            try:
                take(self, json.loads(self._connection.recv_bytes()))
            except (EOFError, OSError):
                break
        self._process.join()
        take(self, {"event": "failed", "reason": self._reason_of_death()})

    def end(self, request: str) -> None:
        """Kill it, because of that request; what it kept of its last whole epoch stays."""
        self.ended = request
        self._process.kill()

    def pause(self) -> None:
        """Ask it to keep what it has and end at the next epoch's end."""
        self.pausing = True
        with suppress(OSError):  # it has ended already; its exit status will say why
            self._connection.send_bytes(b"pause")

    def ask_to_end(self) -> None:
        self._timer.cancel()
        self._process.terminate()

    def stop(self) -> None:
        """End the process, by force if it is stuck."""
        self.ask_to_end()
        child_processes.stop(self._process)
        self._listening.join()
        self._connection.close()  # not whenever Python comes to collect garbage
        self._process.close()
        _tidy(run_folder(Path(self.job["checkpoint"])))
        self.progress.close()

    def _reason_of_death(self) -> str:
        if self.timed_out:
            return f"it took longer than the {self.timeout:g} s of --run-timeout."
        log_file = training_log(Path(self.job["checkpoint"]))
        return f"the training process {child_processes.describe_end(self._process, log_file)}"


def _tidy(folder: Path) -> None:
    """Remove what a process was writing when it was ended; the next one would write over it, too."""
    if holds_lock():  # or it could be what another process is writing
        with suppress(OSError):
            remove_partials(folder)


def _train(job: dict, connection: object) -> None:
    from pipeline.training import worker  # takes seconds where the server has not done it

    sys.exit(worker.main(job, connection))


class Progress:
    """How far a run is, and a bar of it on a terminal."""

    def __init__(self, job: dict):
        self.name, self.epochs = job["name"], job["description"]["settings"]["epochs"]
        self.title = job.get("title") or self.name
        self.epoch, self.bar, self.since = 0, None, now()
        self.step = self.first_step = 0
        self.steps: int | None = None  # not known before it is fitted
        self.began: float | None = None  # when the first step was done in this process

    def show(self, report: dict) -> None:
        if report["event"] == "fitting":
            self.epoch, done = report["epoch"], report["epoch"] * report["steps"]
            self.steps, self.step = report["steps"] * report["epochs"], done
            self.bar = progress_bar(self.steps, "training", " steps", done)
            if done:
                log.info("%s: goes on after epoch %d of %d", self.title, self.epoch, self.epochs)
        elif report["event"] == "trouble":
            log.error("%s: %s", self.title, report["text"])
        elif report["event"] == "warning":
            log.warning("%s: %s", self.title, report["text"])
        elif report["event"] in ("step", "epoch"):
            self._advance(report)

    def _advance(self, report: dict) -> None:
        if self.began is None and report["step"] > self.step:
            # What comes before the first step is in the pace of none: a frozen part, graphs.
            self.began, self.first_step = time.monotonic(), report["step"]
        self.step = report["step"]
        self.bar.set_description_str(f"training  | {self.so_far()}", refresh=False)
        self.bar.update(max(0, report["step"] - self.bar.n))
        if report["event"] == "epoch":
            self.epoch = report["epoch"]
            figures = {name: round(value, 4) for name, value in report["figures"].items()}
            accuracy = figures.get("val_accuracy", figures.get("accuracy"))
            self.bar.set_postfix_str(f"accuracy {accuracy:.3f}", refresh=False)
            log.debug("%s: epoch %d of %d: %s", self.title, self.epoch, self.epochs, figures)

    def so_far(self) -> str:
        return f"epoch {self._current_epoch()} of {self.epochs}"

    def _current_epoch(self) -> int:
        return min(self.epoch + 1, self.epochs)  # after the last one, its checkpoint is written

    def task(self) -> Task:
        """The same in numbers. A training that is stopped early ends before its `eta`."""
        eta = None
        if self.steps is not None and self.began is not None:
            eta = seconds_left(self.began, self.step - self.first_step, self.steps - self.step)
        return Task(
            self.name, self.since, self.step, self.steps, self._current_epoch(), self.epochs, eta
        )

    def interrupted(self) -> str:
        return f"{self.title} was in {self.so_far()} and goes on from there"

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
