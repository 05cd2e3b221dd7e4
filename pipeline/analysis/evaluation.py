"""Class probabilities of a checkpoint, computed in a process apart.

A checkpoint may be anybody's: to load it, and to predict with it, may take all memory, never end, end
the process, or change it for whatever comes next. So each checkpoint gets a process of its own, with
a limit on memory and on the time without progress, and what fails there fails for that checkpoint.
"""

import json
import logging
import math
import mmap
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from pathlib import Path

import numpy as np

import constants
from helper import UserError
from pipeline.artifacts import safe_pickle
from pipeline.json_values import json_object, list_in
from pipeline.stage import child_processes, devices
from pipeline.stage.status import Status

log = logging.getLogger(__name__)

# What the worker needs, and what the stage's script imports.
PRELOAD = (
    "pipeline.analysis.evaluation_worker",
    "pipeline.analysis.checkpoint_analysis",
    "pipeline.analysis.models_by_datasets",
    "pipeline.stage.folder_watch",
)
LARGEST_MESSAGE = 2**26  # bytes of JSON: a history of 100,000 epochs takes 8 MB
SIGN_OF_LIFE = 1.0  # seconds between two of the stage, while it waits for the process

GARBLED = "the process that tests it sent no results"


class EvaluationError(UserError):
    """A checkpoint that cannot be tested: its processes failed, or made no progress."""


class _Failed(Exception):
    """The process failed: why, and its traceback, if there is one."""

    def __init__(self, reason: str, details: str = ""):
        super().__init__(reason)
        self.details = details


@dataclass
class Evaluation:
    """What a checkpoint's "history" and "run" are; probabilities float32 (count, classes).

    unlike: of each image whether it is unlike all that were trained on; empty where that is not known, or
    was not asked for.
    """

    history: dict[str, list[float]]
    run: dict
    probabilities: np.ndarray
    unlike: Sequence[bool] = ()


class Evaluator:
    """Predicts with one checkpoint after the other; the last one stays loaded."""

    def __init__(
        self, status: Status, work: Callable[..., None] | None = None, silence: float = 0
    ) -> None:
        """`work` is what a process does, as `_work` does; without progress for `silence` seconds, if not
        0, it has failed."""
        self.status, self.work, self.silence = status, work or _work, silence
        self._worker: _Worker | None = None

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def warm_up(self) -> None:
        """Let the server import TensorFlow, which takes seconds, before a checkpoint comes."""
        child_processes.start(PRELOAD)

    def prepare(self, checkpoint: Path, sha256: str) -> None:
        """Begin to load `checkpoint`, while the caller has something else to do."""
        if not self._works_on(sha256):
            self.forget()
            child_processes.start(PRELOAD)
            self._worker = _Worker(checkpoint, sha256, self)

    def holds(self, sha256: str) -> bool:
        """Whether the checkpoint with that digest is loaded."""
        return self._works_on(sha256) and self._worker.loaded is not None

    def _works_on(self, sha256: str) -> bool:
        return self._worker is not None and self._worker.sha256 == sha256

    def evaluate(
        self,
        checkpoint: Path,
        sha256: str,
        split: dict[str, np.ndarray],
        progress: Callable[[int], object],
        unlike: bool = False,
    ) -> Evaluation:
        """The checkpoint's class probabilities for the images of `split`.

        `progress` is called with the number of images that are done since its last call.

        Raises:
            FileNotFoundError: the file at `checkpoint` is not, or no longer, the one with `sha256`.
            OSError: the file cannot be read for now.
            UserError: the checkpoint is refused, or does not fit `split`.
            EvaluationError: two processes failed at it, one after the other (a single failure may be
                the process's fault), or one made no progress.
        """

        def attempt() -> Evaluation:
            self.prepare(checkpoint, sha256)
            return self._predict(split, progress, unlike)

        try:
            return attempt()
        except _Failed as failure:
            log.warning("%s: %s; trying again in another process", checkpoint.stem, failure)
        try:
            return attempt()
        except _Failed as failure:
            for line in filter(str.strip, failure.details.splitlines()):
                log.error("%s: %s", checkpoint.stem, line)
            raise EvaluationError(f"{failure}, in two processes.") from None

    def _predict(
        self, split: dict[str, np.ndarray], progress: Callable[[int], object], unlike: bool
    ) -> Evaluation:
        try:
            return self._worker.evaluate(split, progress, unlike)
        except BaseException as error:  # a stop, too
            if type(error) is not UserError or self._worker.loaded is None:
                self.forget()  # only a model that does not fit `split` may fit another one
            raise

    def forget(self) -> None:
        """End the process, and with it the model and its memory."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


class _Worker:
    """A process that has `checkpoint` loaded, or loads it."""

    def __init__(self, checkpoint: Path, sha256: str, evaluator: Evaluator):
        self.checkpoint, self.sha256 = checkpoint, sha256
        self.status, self.silence = evaluator.status, evaluator.silence
        self.loaded: dict | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="evaluation-")
        self._connection, theirs = child_processes.context.Pipe()
        memory = int(devices.memory() * constants.EVALUATION_MEMORY)
        self._log_file = Path(self._folder.name) / "evaluation.log"
        arguments = [checkpoint, self._log_file, memory, theirs]
        self.process = child_processes.context.Process(
            target=evaluator.work, args=arguments, daemon=True
        )
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        self.process.kill()  # it holds nothing that could be lost
        self.process.join()
        self._connection.close()
        self.process.close()
        self._folder.cleanup()

    def evaluate(
        self, split: dict[str, np.ndarray], progress: Callable[[int], object], unlike: bool
    ) -> Evaluation:
        if self.loaded is None:
            loaded = self._next_message()
            if loaded["event"] != "loaded":
                raise _Failed(GARBLED)
            if safe_pickle.digest(self.checkpoint) != self.sha256:
                raise FileNotFoundError(f"{self.checkpoint} was replaced")
            self.loaded = loaded
        self._send(split, unlike)
        while (message := self._next_message())["event"] == "progress":
            progress(message["count"])
        shape = split["class"].shape
        content = self._receive(4 * math.prod(shape))
        if len(content) != 4 * math.prod(shape):
            raise _Failed(GARBLED)
        probabilities = np.frombuffer(content, np.float32).reshape(shape)
        told = [value is True for value in list_in(message, "unlike")]
        told = told if len(told) == shape[0] else []
        return Evaluation(self.loaded["history"], self.loaded["run"], probabilities, told)

    def _send(self, split: dict[str, np.ndarray], unlike: bool) -> None:
        """Give the images in memory that both processes have, not as a copy through the pipe."""
        images = split["img"]
        memory = child_processes.shared_memory(images.nbytes)
        try:
            with mmap.mmap(memory, images.nbytes) as room:
                np.frombuffer(room, np.uint8)[:] = images.reshape(-1)
            request = {"shape": images.shape, "classes": split["class"].shape[1]}
            request["unlike"] = unlike
            with suppress(ConnectionError):  # the next message says how it ended
                self._connection.send_bytes(json.dumps(request).encode())
                send_handle(self._connection, memory, self.process.pid)
        finally:
            os.close(memory)

    def _next_message(self) -> dict:
        message = json_object(self._receive(LARGEST_MESSAGE))
        match message:
            case {"event": "refused", "reason": reason}:
                raise UserError(reason)
            case {"event": "unreadable", "errno": number, "reason": reason}:
                raise OSError(number, reason, str(self.checkpoint))
            case {"event": "failed", "reason": reason, **more}:
                raise _Failed(reason, more.get("details", ""))
            case (
                {"event": "loaded", "history": dict(), "run": dict()}
                | {"event": "progress", "count": int()}
                | {"event": "predicted"}
            ):
                return message
        raise _Failed(GARBLED)

    def _receive(self, most: int) -> bytes:
        """The next bytes from the process.

        Raises:
            EvaluationError: none came for so long that it hangs.
            _Failed: it ended without them.
        """
        seconds = self.silence or constants.EVALUATION_SILENCE
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ready = wait([self._connection, self.process.sentinel], SIGN_OF_LIFE)
            if ready:
                with suppress(EOFError, OSError):
                    if self._connection.poll():
                        return self._connection.recv_bytes(most)
                raise _Failed(self._reason_of_death())
            self.status.heartbeat()
        raise EvaluationError(f"testing it made no progress for {seconds:g} s, so it was ended.")

    def _reason_of_death(self) -> str:
        # It may have closed all that tells of its end, and go on.
        timer = threading.Timer(constants.STOP, self.process.kill)
        timer.start()
        self.process.join()
        timer.cancel()
        end = child_processes.describe_end(self.process, self._log_file)
        return f"the process that tests it {end.rstrip('.')}"


def _work(checkpoint: Path, log_file: Path, memory: int, connection: Connection) -> None:
    from pipeline.analysis import (
        evaluation_worker,  # takes seconds where the server has not done it
    )

    sys.exit(evaluation_worker.main(checkpoint, log_file, memory, connection))
