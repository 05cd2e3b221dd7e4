"""How a script ends: at Ctrl-C, and where nobody reads on, as with `| head`, without a traceback."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

INTERRUPTED = 128 + signal.SIGINT  # as a shell shows a program that this signal ended
UNREAD = 128 + signal.SIGPIPE


def run_script(main: Callable[[], int]) -> int:
    """The exit status of `main()`, or that of an end by Ctrl-C or by a pipe that is closed."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # as the script had it until here
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        try:
            return main()
        finally:
            if sys.stdout:
                sys.stdout.flush()  # Python does so after the last line, and would complain
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        print_nowhere()
        return UNREAD


def print_nowhere() -> None:
    """From here on, what is printed goes nowhere, and with it what a buffer still holds."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
