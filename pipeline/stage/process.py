"""The process of a stage: the only one on its data folder, with a clean end at any moment."""

import argparse
import logging
import os
import select
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from helper import UserError, remove_partials, shown
from pipeline.data_folder import DataFolder
from pipeline.stage.lock import Displaced, StageLock, holds_lock
from pipeline.stage.log_lines import start_logging
from pipeline.stage.retry import disk_trouble, is_disk_trouble, retry_until_disk_works
from pipeline.stage.status import Status, status
from pipeline.stage.terminal import INTERRUPTED

log = logging.getLogger(__name__)

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDED_BY_A_FAULT = os.EX_SOFTWARE  # not 1, which says that the user has something to put right
Given = TypeVar("Given")


@dataclass(frozen=True)
class Stage:
    """What a stage's parts share: `run_stage` makes it and hands it to the work."""

    once: bool = False
    status: Status = field(default_factory=Status)
    stop_asked: threading.Event = field(default_factory=threading.Event)

    def retry(self, action: Callable[[], Given]) -> Given:
        """What `action` gives, as soon as the disk lets it; with `once`, at the first try or never."""
        return retry_until_disk_works(action, log.error, self.once)

    def raise_if_stopping(self) -> None:
        """Stop if asked to: call it before a fault is blamed on a file.

        Libraries in C++ (matplotlib, TensorFlow) turn a KeyboardInterrupt that comes while they look
        at an argument into a TypeError.
        """
        if self.stop_asked.is_set():
            raise KeyboardInterrupt


def run_stage(
    name: str, options: argparse.Namespace, writes_to: str, work: Callable[[Stage], bool]
) -> int:
    """Run `work` as the only process of stage `name` on the data folder; return the exit status.

    `work` watches until it is interrupted, or returns whether all went well. A stop raises
    KeyboardInterrupt in the main thread, which may stop at any line, since dying at any line is
    harmless. Where the data folder is deleted or replaced meanwhile, `work` is called anew: what it
    knew of the old folder does not hold for the new one.
    """
    start_logging(name, options.verbose)
    stage = Stage(options.once, status)
    listen_for_stop(stage.stop_asked)
    try:
        options.data = options.data.expanduser().absolute()
        return 0 if _work_alone(name, options, writes_to, work, stage) else 1
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
    name: str,
    options: argparse.Namespace,
    writes_to: str,
    work: Callable[[Stage], bool],
    stage: Stage,
) -> bool:
    displaced = False
    while True:
        stage.retry(DataFolder(options.data).make)
        try:
            with (
                StageLock(name, options.data, displaced),
                stage.status.reporting(name, options.data, holds_lock),
            ):
                if displaced:
                    log.warning(
                        "%s was deleted or replaced, or the stage's lock in it; starting afresh",
                        shown(options.data),
                    )
                remove_partials(options.data)
                remove_partials(options.data / writes_to)
                return work(stage)
        except Displaced:
            displaced = True


def listen_for_stop(stop_asked: threading.Event) -> None:
    """SIGTERM, a closed terminal, and output that nobody reads any more count as Ctrl-C."""

    def stop(*_: object) -> None:
        stop_asked.set()
        raise KeyboardInterrupt

    for number in STOPS:
        # A shell starts its background jobs with SIGINT ignored, which counts all the same. But who
        # ignores SIGHUP, as nohup does, wants it to go on without a terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    watch_for_readers()


def watch_for_readers() -> None:
    """From here on, a SIGHUP comes when nobody reads the output any more, if that is a pipe."""
    if stat.S_ISFIFO(os.fstat(1).st_mode):
        threading.Thread(target=_hang_up_when_nobody_reads, daemon=True).start()


def _hang_up_when_nobody_reads() -> None:
    """A closed terminal kills honcho (`make run`), which then cannot stop the stages it started."""
    output = select.poll()
    output.register(1, 0)  # asks for nothing but what is always told: the other end is gone
    output.poll()
    os.kill(os.getpid(), signal.SIGHUP)
