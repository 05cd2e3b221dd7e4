"""Log lines: whatever a stage's process has to say, each line of it has the stage's form.

That goes for other libraries' messages, for Python's warnings and for tracebacks, too: a name in a
file can put no line of its own there, and whoever reads the lines by a program needs one pattern.
"""

import logging
import os
import signal
import sys
import threading
import time
from io import TextIOWrapper
from typing import Any, cast

from tqdm import tqdm

from helper import printable
from pipeline.stage.terminal import print_nowhere

# Of the package; each module's own, `logging.getLogger(__name__)`, hands its records on to this one.
log = logging.getLogger("pipeline")
_warned: set[str] = set()


def warn_once(text: str) -> None:
    """Say what each look finds again."""
    if text not in _warned:
        _warned.add(text)
        log.warning("%s", text)


def start_logging(stage: str, verbose: bool = False) -> None:
    """From here on, all lines of this process are the log lines of `stage`."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - None after >&-
    sys.stderr = sys.stderr or sys.stdout  # None after 2>&-
    # For a terminal that is not in UTF-8.
    cast(TextIOWrapper, sys.stdout).reconfigure(errors="backslashreplace")
    log.handlers = [LogLines(stage)]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
    others = LogLines(stage)
    others.setLevel(logging.WARNING)
    logging.getLogger().addHandler(others)
    logging.captureWarnings(True)
    sys.excepthook = lambda *error: log.critical("ended by a fault of its own", exc_info=error)
    threading.excepthook = _fault_in_a_thread
    sys.unraisablehook = _fault_nobody_can_catch


class LogLines(logging.Handler):
    """Writes each record as one aligned line, above a progress bar if there is one."""

    def __init__(self, stage: str):
        super().__init__()
        # honcho puts the time and the process's name before each line by itself.
        self.head = "" if "HONCHO_PROCESS_NAME" in os.environ else f"%H:%M:%S {stage:<9} | "

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            print_nowhere()  # that nobody reads it any more is no reason to stop
        except OSError:
            pass  # nor is a full disk under it
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        head = time.strftime(self.head, time.localtime(record.created))
        return "\n".join(head + printable(line) for line in _lines(record))


def _lines(record: logging.LogRecord) -> list[str]:
    """What it says in one line, then the traceback, if there is one."""
    said = record.getMessage()
    if record.name.partition(".")[0] != log.name:  # another library's, perhaps over several lines
        said = f"{record.name}: {' '.join(said.split())}"
    if not record.exc_info:
        return [said]
    return [said, *logging.Formatter().formatException(record.exc_info).splitlines()]


def _fault_in_a_thread(fault: threading.ExceptHookArgs) -> None:
    name = fault.thread.name if fault.thread else "a thread"
    error: Any = fault[:3]  # without a value now and then, which the types of logging do not know
    log.error("%s ended by a fault of its own", name, exc_info=error)


def _fault_nobody_can_catch(fault: "sys.UnraisableHookArgs") -> None:
    """An exception where none can be raised, such as in a __del__."""
    if issubclass(fault.exc_type, KeyboardInterrupt):
        # Asked to stop just there: ask again, in a moment, when it is somewhere else.
        again = signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
        threading.Timer(0.1, *again).start()
        return
    error: Any = fault.exc_type, fault.exc_value, fault.exc_traceback
    log.error("%s %r", fault.err_msg or "exception ignored in", fault.object, exc_info=error)
