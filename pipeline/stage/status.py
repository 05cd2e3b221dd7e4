"""What a stage is doing, in `data/status/<stage>.json`, for whoever looks from outside.

Only what the stage's main loop says counts as a sign of life, so one that hangs is seen. A thread
writes it down, at most twice a second: a slow, full or read-only disk costs the stage nothing.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

import constants
from helper import shown, write_json
from pipeline.data_folder import DataFolder
from pipeline.stage import log_lines

log = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two writes
STOPPED = "stopped"


class Status:
    """Takes down what is done, since when, how far it is, and the last error that was logged."""

    def __init__(self) -> None:
        # Doing what, since when, how far, and when that was said by the machine's monotonic clock:
        # one that is the same for all processes and that nobody sets back.
        self._now = "", "", "", 0.0
        self._error = ""
        self._problems: dict[str, str] = {}
        self._news = threading.Event()

    @contextmanager
    def reporting(
        self, stage: str, data: Path, may_write: Callable[[], bool] = lambda: True
    ) -> Iterator[None]:
        """Keep the status of `stage` while the block runs. Only while holding the stage's lock, which
        `may_write` tells."""
        self._error, self._problems = "", {}
        self.update("starting")
        about = {
            "stage": stage,
            "pid": os.getpid(),
            "version": constants.VERSION,
            "started": _now(),
        }
        last_error, ended = LastError(self), threading.Event()
        path = DataFolder(data).status(stage)
        todo = path, about, may_write, ended
        writer = threading.Thread(target=self._keep_writing, args=todo, daemon=True)
        writer.start()
        log_lines.log.addHandler(last_error)
        try:
            yield
        except Exception as error:
            self.error(str(error))
            raise
        finally:
            log_lines.log.removeHandler(last_error)
            self.update(STOPPED)
            ended.set()
            self._news.set()
            writer.join(constants.STOP)  # a disk that hangs keeps nothing from stopping

    def update(self, doing: str, progress: str = "") -> None:
        """The main loop is here: it does this, and is this far."""
        since = self._now[1] if doing == self._now[0] else _now()
        self._now = doing, since, progress, time.monotonic()
        self._news.set()

    def heartbeat(self, progress: str | None = None) -> None:
        """The main loop still does the same, and gets on."""
        self.update(self._now[0], self._now[2] if progress is None else progress)

    def set_problems(self, problems: Mapping[str, str]) -> None:
        """What keeps inputs from being used, by the input as a person knows it; what is gone, is gone."""
        first = islice(problems.items(), constants.MOST_IN_STATUS)
        now = {name: text[: constants.LONGEST_IN_STATUS] for name, text in first}
        if now != self._problems:
            self._problems = now
            self._news.set()

    def error(self, text: str) -> None:
        self._error = f"{_now()} {text}"
        self._news.set()

    def _keep_writing(
        self, path: Path, about: dict, may_write: Callable[[], bool], ended: threading.Event
    ) -> None:
        trouble: str | None = ""
        last = False
        while not last:
            self._news.wait()
            self._news.clear()
            last = ended.is_set()
            try:
                if may_write():
                    self._write(path, about)
                trouble = ""
            except OSError as error:
                if error.strerror != trouble:
                    trouble = error.strerror
                    log.warning("cannot write %s: %s. The stage goes on.", shown(path), trouble)
            ended.wait(PAUSE)

    def _write(self, path: Path, about: dict) -> None:
        doing, since, progress, said = self._now
        now = {"doing": doing, "since": since, "progress": progress, "said": said}
        kept = {"last_error": self._error, "problems": self._problems}
        path.parent.mkdir(exist_ok=True)
        # After a power cut no stage lives whatever this file says: it need not survive one.
        write_json(path, {**about, **now, **kept}, durable=False)


class LastError(logging.Handler):
    """Passes on the errors that the stage logs."""

    def __init__(self, status: Status):
        super().__init__(logging.ERROR)
        self.status = status

    def emit(self, record: logging.LogRecord) -> None:
        self.status.error(record.getMessage())


def _now() -> str:
    return datetime.now().isoformat(" ", "seconds")


status = Status()
