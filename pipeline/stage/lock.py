"""The lock that makes a process the only one of its stage on a data folder, and the loss of it."""

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helper import UserError, open_regular, shown
from pipeline.data_folder import DataFolder


class Displaced(BaseException):
    """The file that this process locked is no longer the one in the data folder.

    The folder was deleted or replaced, so another process may work in what is there now. That is no
    fault of the file in hand, which an `except Exception` would take it for.
    """


@dataclass(frozen=True)
class LockFile:
    """A file as it was when it was locked."""

    path: str
    identity: tuple[int, int]

    def is_in_place(self) -> bool:
        """Whether it is still what its path leads to, or the disk does not say for now."""
        try:
            return identity(self.path) == self.identity
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True


_lock: LockFile | None = None  # of the stage that this process works for


def lock_held() -> LockFile | None:
    """For a process that works for this one: it may write as long as this one may."""
    return _lock


def work_under(lock: LockFile | None) -> None:
    global _lock
    _lock = lock


def holds_lock() -> bool:
    return _lock is None or _lock.is_in_place()


def stay_alone() -> None:
    """Stop, by Displaced, where another process may have taken over."""
    if not holds_lock():
        raise Displaced("the data folder was deleted or replaced")


def identity(file: str | Path | int) -> tuple[int, int]:
    """What no other file or folder has at the same time."""
    status = os.stat(file)  # noqa: PTH116 - of a descriptor, too
    return status.st_dev, status.st_ino


class StageLock:
    """Hold the kernel's lock for one stage on one data folder.

    The kernel gives it back when the process ends, however it ends, so no stale lock is ever left.
    The lock is on a file, which may go with its folder: `stay_alone` notices.

    Raises:
        UserError: another process holds it; names its process number.
        Displaced: the folder went just now.
    """

    def __init__(self, stage: str, data: Path, displaced: bool = False):
        """`displaced`: this process held the lock before, and lost it with its file."""
        self.stage, self.path, self.displaced = stage, DataFolder(data).lock(stage), displaced

    def __enter__(self) -> None:
        try:
            self.file = open(self.path, "a+", opener=open_regular)
        except FileNotFoundError:
            if self.path.parent.is_dir():
                raise
            raise Displaced from None
        if not self._lock():
            holder = self._holder()
            self.file.close()
            raise UserError(self._says_who_works(holder))
        work_under(LockFile(str(self.path), identity(self.file.fileno())))
        with suppress(OSError):  # the lock holds without the number, too, on a full disk
            self.file.truncate(0)
            # In each container the number may be 1: the time tells two holders apart.
            self.file.write(f"{os.getpid()}\n{time.monotonic()}\n")
            self.file.flush()
        if not holds_lock():  # it was replaced before it was locked
            self.__exit__()
            raise Displaced

    def _says_who_works(self, holder: str) -> str:
        where = f"{self.stage} on {shown(self.path.parent)}"
        if self.displaced:
            return (
                f"{where}: process {holder} took over when the folder was deleted or replaced."
                " This one ends."
            )
        return (
            f"{where} is already running as process {holder}. Use that one, stop it first, or give"
            " this one another folder with --data."
        )

    def __exit__(self, *_: object) -> None:
        work_under(None)
        self.file.close()

    def _lock(self) -> bool:
        """Tries a few times: whoever asks whether a stage runs holds its lock for an instant, too."""
        for _ in range(4):
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _holder(self) -> str:
        """The other process's number. It takes the lock first and writes its number then."""
        for _ in range(20):
            self.file.seek(0)
            if lines := self.file.read().split():
                return lines[0]
            time.sleep(0.05)
        return "(unknown)"
