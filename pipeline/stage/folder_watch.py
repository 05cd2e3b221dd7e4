"""Wait until something may have changed in some folders. What is there, the folders themselves say.

An event only wakes the stage, which then looks for itself; it also looks now and then without any
event. So an event that gets lost (a full event queue, the limit on watches, a network mount) costs
delay, never data.
"""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

import constants
from helper import shown
from pipeline.stage.lock import identity, stay_alone

log = logging.getLogger(__name__)

# Only what changes a folder: to be woken by one's own reading would be an endless loop.
CHANGES = [
    events.DirCreatedEvent,
    events.DirDeletedEvent,
    events.DirMovedEvent,
    events.FileClosedEvent,
    events.FileCreatedEvent,
    events.FileDeletedEvent,
    events.FileModifiedEvent,
    events.FileMovedEvent,
]
# Seconds for which the first half of a rename waits for the second, though that has mostly come by
# then. A rename in two halves wakes as well as a whole one.
DELAY = 0.01


class _Waker(events.FileSystemEventHandler):
    """Says which paths an event is about, and does nothing else: an exception here would end watchdog's
    thread for good."""

    def __init__(self, changed: Callable[[list[str]], None]):
        self.changed = changed

    def on_any_event(self, event: events.FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if paths and not paths[-1].endswith(".partial"):
            self.changed(paths)


class _LiveObserver:
    """watchdog's observer of `folders`, which tells `changed` the paths of each event.

    Raises:
        OSError: one of the folders cannot be watched.
    """

    def __init__(
        self, folders: list[Path], recursive: bool | Path, changed: Callable[[list[str]], None]
    ):
        _set_up_watchdog()
        before = set(threading.enumerate())
        self._observer, waker = Observer(), _Waker(changed)
        try:
            for folder in folders:
                self._observer.schedule(
                    waker,
                    str(folder),
                    recursive=recursive in (True, folder),
                    event_filter=CHANGES,
                )
            self._observer.start()
        except OSError:
            self._observer.stop()  # what it has begun already
            raise
        self._threads = set(threading.enumerate()) - before

    def is_alive(self) -> bool:
        """Whether all of its threads are: each may die alone, without a word."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join(constants.STOP)


class FolderWatch:
    """Wakes its owner when something in `folders` may have changed, with `recursive` also below them, or
    below the one that it names.

    It watches from its creation on, so look after creating it, never before. A folder that is
    removed and made again is watched again.

    `changed`: the names in `folders` that the last `wait` ended for; None where it may be any.
    """

    def __init__(self, folders: Iterable[Path], recursive: bool | Path = False, poll: bool = False):
        self.folders, self.recursive, self.poll = list(folders), recursive, poll
        self.changed: set[str] | None = None
        self._noted: set[str] = set()
        self._lock, self._woken = threading.Lock(), threading.Event()
        self._last_look = time.monotonic()
        self._observer: _LiveObserver | None = None
        self._watched: list[tuple[int, int] | None] = []
        self._trouble = ""
        self._mend()

    def __enter__(self) -> "FolderWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def wait(self, seconds: float | None = None, look: float = 0.0) -> bool:
        """Wait until something may have changed, or for `wake`, or `seconds`, or until a look without
        any event is due: after LOOK_AGAIN, or later where the last look took long, `look` seconds.

        Returns:
            whether it is time to look: something changed, of which `changed` has the names, or
            anything may have, or it is that long since this was last so. (A stage that waits for
            nothing else may look each time.)
        """
        longest = max(constants.POLL, 2 * look) if self._observer is None else _pause_after(look)
        until = time.monotonic() + (longest if seconds is None else min(seconds, longest))
        mended = self._woken_or_mended(until)
        self._woken.clear()
        with self._lock:
            self.changed, self._noted = self._noted, set()
        if mended or "" in self.changed or time.monotonic() >= self._last_look + longest:
            self._last_look, self.changed = time.monotonic(), None
        return self.changed is None or bool(self.changed)

    def _woken_or_mended(self, until: float) -> bool:
        """Returns whether it was mended, for which it does not wait as long as for the next look."""
        while True:
            pause = min(until - time.monotonic(), constants.LOOK_AGAIN)
            woken = self._woken.wait(max(0.0, pause))
            stay_alone()
            mended = self._mend()
            over = self._observer is None or time.monotonic() >= until
            if woken or mended or over:
                return mended

    def wake(self) -> None:
        """End another thread's wait, though nothing changed in the folders."""
        self._woken.set()

    def _note_change(self, paths: list[str]) -> None:
        names = [_name_in(self.folders, path) for path in paths]
        with self._lock:
            self._noted.update(names)
        self._woken.set()

    def _mend(self) -> bool:
        """Watch (again) what is not watched: at the start, after a folder was replaced or a thread died."""
        now = [_identity(folder) for folder in self.folders]
        alive = self._observer is not None and self._observer.is_alive()
        if now == self._watched and (self.poll or alive):
            return False
        self._say_what_happened(now)
        self._stop()
        self._start()
        return self.poll or self._observer is not None

    def _say_what_happened(self, now: list[tuple[int, int] | None]) -> None:
        for folder, before, after in zip(self.folders, self._watched, now, strict=False):
            if before and not after:
                log.warning("%s is gone; making it again, empty", shown(folder))
            elif before and after != before:
                log.info("%s was replaced by another folder; watching that one", shown(folder))
        if self._observer is not None and now == self._watched:
            log.warning("the watch on %s had died; watching again", shown(self.folders[0]))

    def _start(self) -> None:
        try:
            for folder in self.folders:
                folder.mkdir(parents=True, exist_ok=True)
            if not self.poll:
                self._observer = _LiveObserver(self.folders, self.recursive, self._note_change)
            self._say_once("")
        except OSError as error:
            where = Path(error.filename or self.folders[0])
            self._say_once(
                f"no events from {shown(where)} ({error.strerror}); looking every"
                f" {constants.POLL:g} s instead"
            )
        self._watched = [_identity(folder) for folder in self.folders]

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer = None

    def _say_once(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble


def _set_up_watchdog() -> None:
    """What is set for all observers of this process; to do so again changes nothing."""
    InotifyMoveEventGrouper.delay = DELAY
    # Two races that watchdog reports though nothing is wrong: a folder of a copy that goes on is
    # watched twice, and an event that was under way comes after the end.
    warnings.filterwarnings("ignore", "Callback with id '.*' already exists", RuntimeWarning)
    logging.getLogger("watchdog.observers.inotify").addFilter(_is_in_time)


def _is_in_time(record: logging.LogRecord) -> bool:
    return "when the thread is inactive" not in record.getMessage()


def _name_in(folders: list[Path], path: str) -> str:
    """Of what is in one of `folders`, or below it, the name there; "" for all other."""
    for folder in folders:
        if path.startswith(within := f"{folder}{os.sep}"):
            return path[len(within) :].split(os.sep, 1)[0]
    return ""


def _pause_after(look: float) -> float:
    """Until the next look without any event, so that with thousands of files, too, it costs next to
    nothing."""
    rarely = min(look / constants.LOOK_SHARE, constants.LOOK_AT_LEAST)
    return max(constants.LOOK_AGAIN, rarely)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        return identity(folder)
    except OSError:
        return None
