"""What every stage's process has in common: options, its lock, a clean stop."""

import argparse
import errno
import fcntl
import os
import select
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

import constants
from helper import UserError, remove_partials, shown
from pipeline.log_lines import log, start_logging
from pipeline.status import status

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # the exit status of a program that SIGINT ended
ENDED_BY_A_FAULT = os.EX_SOFTWARE  # not 1, which says that the user has something to put right
_stop_asked = threading.Event()

Given = TypeVar("Given")


def stage_parser(documentation: str) -> argparse.ArgumentParser:
    """A parser with the options that all stages share; the help text starts with the script's docstring."""
    parser = argparse.ArgumentParser(
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=constants.DATA,
        metavar="DIR",
        help="the data folder (default: data)",
    )
    parser.add_argument("--once", action="store_true", help="do what is waiting, then stop")
    parser.add_argument(
        "--poll",
        action="store_true",
        help=f"look every {constants.POLL:g} s instead of waiting for events"
        " (for network and container mounts)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="say also when there was nothing to do"
    )
    parser.add_argument("--version", action="version", version=constants.VERSION)
    return parser


def run_stage(
    name: str, options: argparse.Namespace, writes_to: str, work: Callable[[], bool]
) -> int:
    """Run `work` as the only process of stage `name` on the data folder; return the exit status.

    `work` watches until it is interrupted, or returns whether all went well. A stop raises
    KeyboardInterrupt in the main thread, which may stop at any line, since dying at any line is
    harmless.
    """
    start_logging(name, options.verbose)
    listen_for_stop()
    try:
        options.data = options.data.expanduser().absolute()
        keep_trying(lambda: make_folders(options.data), log.error, options.once)
        with only_process(name, options.data), status.kept(name, options.data):
            remove_partials(options.data)
            remove_partials(options.data / writes_to)
            return 0 if work() else 1
    except KeyboardInterrupt as interrupt:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)  # it is on its way out already
        log.info("stopped%s", "".join(f"; {word}" for word in interrupt.args))
        return 0 if not options.once else INTERRUPTED
    except UserError as error:
        log.error("%s", error)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and is_disk_trouble(error):
            log.error("%s.", disk_trouble(error))
            return 1
        log.critical("ended by a fault of its own", exc_info=True)
        return ENDED_BY_A_FAULT


def listen_for_stop() -> None:
    """SIGTERM, a closed terminal, and output that nobody reads any more count as Ctrl-C."""
    _stop_asked.clear()
    for number in STOPS:
        # A shell starts its background jobs with SIGINT ignored, which counts all the same. But who
        # ignores SIGHUP, as nohup does, wants it to go on without a terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    if stat.S_ISFIFO(os.fstat(1).st_mode):
        threading.Thread(target=_hang_up_when_nobody_reads, daemon=True).start()


def _stop(*_: object) -> None:
    _stop_asked.set()
    raise KeyboardInterrupt


def heed_stop() -> None:
    """Stop if asked to: call it before a fault is blamed on a file.

    Libraries in C++ (matplotlib, TensorFlow) turn a KeyboardInterrupt that comes while they look at
    an argument into a TypeError.
    """
    if _stop_asked.is_set():
        raise KeyboardInterrupt


def _hang_up_when_nobody_reads() -> None:
    """A closed terminal kills honcho (`make run`), which then cannot stop the stages it started."""
    output = select.poll()
    output.register(1, 0)  # asks for nothing but what is always told: the other end is gone
    output.poll()
    os.kill(os.getpid(), signal.SIGHUP)


def make_folders(data: Path) -> None:
    """Make the data tree, as far as it is not there."""
    for name in (
        constants.RAW_DATASETS,
        constants.DATASETS,
        constants.CHECKPOINTS,
        constants.RESULTS,
    ):
        (data / name).mkdir(parents=True, exist_ok=True)


class only_process:  # noqa: N801 - reads as a verb: with only_process(...)
    """Hold the kernel's lock for one stage on one data folder.

    The kernel gives it back when the process ends, however it ends, so no stale lock is ever left.

    Raises:
        UserError: another process holds it; names its process number.
    """

    def __init__(self, stage: str, data: Path):
        self.stage, self.path = stage, data / f".{stage}.lock"

    def __enter__(self) -> None:
        self.file = open(self.path, "a+")
        if not self._lock():
            holder = self._holder()
            self.file.close()
            raise UserError(
                f"{self.stage} on {shown(self.path.parent)} is already running as process {holder}."
                " Use that one, stop it first, or give this one another folder with --data."
            )
        with suppress(OSError):  # the lock holds without the number, too, on a full disk
            self.file.truncate(0)
            self.file.write(f"{os.getpid()}\n")
            self.file.flush()

    def __exit__(self, *_: object) -> None:
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
            if number := self.file.read().strip():
                return number
            time.sleep(0.05)
        return "(unknown)"


DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "the disk quota is used up. Free some space",
    errno.EROFS: "the file system is read-only. Make it writable",
    errno.EACCES: "this account may not. Change the permissions",
    errno.EPERM: "this account may not. Change the permissions",
    errno.EIO: "the disk reported an error. Check it",
    errno.EMFILE: "too many files are open. Close other programs or raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open. Close other programs",
    errno.ENOENT: "the folder is gone. Make it again",
}


def is_disk_trouble(error: OSError) -> bool:
    return error.errno in DISK_TROUBLE


def disk_trouble(error: OSError) -> str:
    """One sentence for an error that goes away when somebody makes room or gives a permission."""
    place = (
        shown(Path(os.fsdecode(error.filename)))
        if isinstance(error.filename, str | bytes)
        else "the data folder"
    )
    place = place.removesuffix(".partial")
    return f"cannot read or write {place}: {DISK_TROUBLE[error.errno]}"


def keep_trying(
    action: Callable[[], Given], say: Callable[[str], None], once: bool = False
) -> Given:
    """What `action` gives, as soon as the disk lets it; say what stands in the way once per reason.

    What was computed is in memory meanwhile, so nothing has to be done again.

    Raises:
        UserError: with `once`, after the first try.
    """
    said = None
    while True:
        try:
            given = action()
        except OSError as error:
            if not is_disk_trouble(error):
                raise
            if once:
                raise UserError(f"{disk_trouble(error)}.") from None
            if (trouble := disk_trouble(error)) != said:
                say(f"{trouble}; trying again every {constants.RETRY:g} s.")
                said = trouble
            time.sleep(constants.RETRY)
        else:
            if said:
                say("the disk works again")
            return given


@contextmanager
def counted(total: int, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many more are done: for the stage's status, and for a bar."""
    done = 0
    with progress_bar(total, what, f" {unit}") as bar:

        def more(count: int) -> None:
            nonlocal done
            done += count
            bar.update(count)
            status.beat(f"{done:,} of {total:,} {unit}")

        yield more


def progress_bar(total: int, what: str, unit: str, done: int = 0) -> tqdm:
    """A progress bar with an ETA, on a terminal only."""
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        leave=False,
        disable=None,
        ncols=max(40, shutil.get_terminal_size().columns - 4),  # leaves room for the ^C of Ctrl-C
    )
