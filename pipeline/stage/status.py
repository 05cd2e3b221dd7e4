"""What a stage is doing, in `data/status/<stage>.json`, for whoever looks from outside.

Only what the stage's main loop says counts as a sign of life, so one that hangs is seen. A thread
writes it down, at most twice a second: a slow, full or read-only disk costs the stage nothing.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import constants
from helper import shown, write_json
from pipeline.data_folder import DataFolder
from pipeline.json_values import list_in, number_in, seconds_in, table_in, text_in, whole_in
from pipeline.stage import log_lines

log = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two writes
STOPPED = "stopped"


@dataclass(frozen=True)
class Task:
    """How far one of the things is that a stage does at the moment, in numbers; None: not known.

    run: what it is, such as the name of a run. since: when it began. eta: seconds until it is done.
    step: how many of `steps` are done. epoch: which of `epochs` it is in, from 1.
    """

    run: str
    since: str
    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    eta: float | None = None

    @classmethod
    def of(cls, said: dict) -> "Task":
        return cls(
            text_in(said, "run") or "",
            text_in(said, "since") or "",
            whole_in(said, "step"),
            whole_in(said, "steps"),
            whole_in(said, "epoch"),
            whole_in(said, "epochs"),
            seconds_in(said, "eta"),
        )


@dataclass(frozen=True)
class StageStatus:
    """What a stage says of itself in status/<stage>.json. `said` is by the machine's monotonic clock."""

    pid: int | None = None
    version: str = ""
    since: str = ""
    doing: str = ""
    progress: str = ""
    last_error: str = ""
    said: float | None = None
    problems: dict[str, str] = field(default_factory=dict)  # by input
    tasks: tuple[Task, ...] = ()

    @classmethod
    def of(cls, said: dict) -> "StageStatus":
        texts = ("version", "since", "doing", "progress", "last_error")
        return cls(
            pid=whole_in(said, "pid"),
            said=number_in(said, "said"),
            problems={k: v for k, v in table_in(said, "problems").items() if isinstance(v, str)},
            tasks=tuple(Task.of(one) for one in list_in(said, "tasks") if isinstance(one, dict)),
            **{name: text_in(said, name) or "" for name in texts},
        )


class Status:
    """Takes down what is done, since when, how far it is, and the last error that was logged."""

    def __init__(self) -> None:
        # Doing what, since when, how far, in numbers, and when that was said by the machine's
        # monotonic clock: one that is the same for all processes and that nobody sets back.
        self._now: tuple[str, str, str, tuple[Task, ...], float] = "", "", "", (), 0.0
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
            "started": now(),
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

    def update(self, doing: str, progress: str = "", tasks: Sequence[Task] = ()) -> None:
        """Records what the main loop is doing and how far it has got, in words and in numbers."""
        since = self._now[1] if doing == self._now[0] else now()
        self._now = doing, since, progress, tuple(tasks), time.monotonic()
        self._news.set()

    def heartbeat(self, progress: str | None = None, tasks: Sequence[Task] | None = None) -> None:
        """Records that the main loop still does the same, and how far it has got if that is given."""
        doing, _, before, tasks_before, _ = self._now
        self.update(
            doing,
            before if progress is None else progress,
            tasks_before if tasks is None else tasks,
        )

    def set_problems(self, problems: Mapping[str, str]) -> None:
        """What keeps inputs from being used, by the input as a person knows it; what is gone, is gone."""
        first = islice(problems.items(), constants.MOST_IN_STATUS)
        current = {name: text[: constants.LONGEST_IN_STATUS] for name, text in first}
        if current != self._problems:
            self._problems = current
            self._news.set()

    def error(self, text: str) -> None:
        self._error = f"{now()} {text}"
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
        doing, since, progress, tasks, said = self._now
        current = {"doing": doing, "since": since, "progress": progress, "said": said}
        current["tasks"] = [asdict(task) for task in tasks]
        kept = {"last_error": self._error, "problems": self._problems}
        path.parent.mkdir(exist_ok=True)
        # After a power cut no stage lives whatever this file says: it need not survive one.
        write_json(path, {**about, **current, **kept}, durable=False)


class LastError(logging.Handler):
    """Passes on the errors that the stage logs."""

    def __init__(self, status: Status):
        super().__init__(logging.ERROR)
        self.status = status

    def emit(self, record: logging.LogRecord) -> None:
        self.status.error(record.getMessage())


def now() -> str:
    return datetime.now().isoformat(" ", "seconds")
