"""What every stage's process has in common: options, being alone, a clean stop."""

import argparse
import errno
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
from helper import UnusableFile, UserError, remove_partials, shown
from pipeline.lock import Displaced, holds_lock, lock_held, only_process, stay_alone
from pipeline.log_lines import log, start_logging
from pipeline.status import status
from pipeline.terminal import INTERRUPTED

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    harmless. Where the data folder is deleted or replaced meanwhile, `work` is called anew: what it
    knew of the old folder does not hold for the new one.
    """
    start_logging(name, options.verbose)
    listen_for_stop()
    try:
        options.data = options.data.expanduser().absolute()
        return 0 if _work_alone(name, options, writes_to, work) else 1
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


def _work_alone(
    name: str, options: argparse.Namespace, writes_to: str, work: Callable[[], bool]
) -> bool:
    displaced = False
    while True:
        keep_trying(lambda: make_folders(options.data), log.error, options.once)
        try:
            with (
                only_process(name, options.data, displaced),
                status.kept(name, options.data, holds_lock),
            ):
                if displaced:
                    log.warning(
                        "%s was deleted or replaced, or the stage's lock in it; starting afresh",
                        shown(options.data),
                    )
                remove_partials(options.data)
                remove_partials(options.data / writes_to)
                return work()
        except Displaced:
            displaced = True


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
    errno.EISDIR: "a folder has its name. Move it away",
    errno.EEXIST: "a file has the name of a folder. Move it away",
    errno.ENOTDIR: "a file has the name of a folder. Move it away",
}


def is_disk_trouble(error: OSError) -> bool:
    return error.errno in DISK_TROUBLE or isinstance(error, UnusableFile)


def is_in_the_way(error: OSError) -> bool:
    """Whether it is something with the name of a file or folder, that only a person moves away."""
    return error.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTDIR) or isinstance(
        error, UnusableFile
    )


def disk_trouble(error: OSError) -> str:
    """One sentence for an error that goes away when somebody makes room or gives a permission."""
    place = (
        shown(Path(os.fsdecode(error.filename)))
        if isinstance(error.filename, str | bytes)
        else "the data folder"
    )
    place = place.removesuffix(".partial")
    trouble = DISK_TROUBLE.get(error.errno) or f"{error.strerror}. Move it away"
    return f"cannot read or write {place}: {trouble}"


def keep_trying(
    action: Callable[[], Given], say: Callable[[str], None], once: bool = False
) -> Given:
    """What `action` gives, as soon as the disk lets it; say what stands in the way once per reason.

    What was computed is in memory meanwhile, so nothing has to be done again. Before each try the
    lock is looked at: only who works alone may write.

    Raises:
        UserError: with `once`, after the first try.
        Displaced: another process may be at work in the data folder.
    """
    said, made_again = None, False
    while True:
        stay_alone()
        try:
            given = action()
        except OSError as error:
            if not is_disk_trouble(error):
                raise
            if error.errno == errno.ENOENT and (lock := lock_held()) and not made_again:
                made_again = True
                with suppress(OSError):  # a folder of the tree may be gone, without all others
                    make_folders(Path(lock.path).parent)
                continue
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
