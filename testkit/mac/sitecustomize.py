"""With this folder in PYTHONPATH, Python lacks what Linux alone has, as on a Mac.

Not pytest's own process: tests look into /proc. watchdog goes on to use inotify.
"""

import builtins
import errno
import io
import os
import select
import sys
from typing import Any

LINUX_ALONE = (
    *("copy_file_range", "eventfd", "getrandom", "getxattr", "listxattr", "memfd_create"),
    *("O_PATH", "O_TMPFILE", "pidfd_open", "pipe2", "posix_fadvise", "posix_fallocate"),
    *("sched_getaffinity", "sched_setaffinity", "setxattr", "splice"),
)


class Poll:
    """A Mac's poll(): where nothing is asked for, it does not tell either that the other end is gone."""

    def __init__(self) -> None:
        self._poll = linux_poll()

    def register(
        self, file: Any, events: int = select.POLLIN | select.POLLPRI | select.POLLOUT
    ) -> None:
        if events:
            self._poll.register(file, events)

    def unregister(self, file: Any) -> None:
        self._poll.unregister(file)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        return self._poll.poll(timeout)


def without_proc(opening: Any) -> Any:
    def opened(path: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return opening(path, *arguments, **keywords)

    return opened


linux_poll = select.poll
if "pytest" not in sys.orig_argv:
    for name in LINUX_ALONE:
        if hasattr(os, name):
            delattr(os, name)
    del select.epoll
    select.poll = Poll  # type: ignore[misc, assignment]
    os.open = without_proc(os.open)
    builtins.open = io.open = without_proc(open)
