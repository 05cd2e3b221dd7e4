"""Run a program and start it again whenever it was killed or ended by a fault.

A program that ends by itself is not started again: it was asked to stop, or it has said which
mistake the user has to put right. Each line of the Procfile (`make run`) runs a program like this.

    python -m pipeline.keep_running PROGRAM [ARGUMENT ...]
"""

import os
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import constants
from pipeline.stage.child_processes import describe_exit_status
from pipeline.stage.log_lines import log, start_logging
from pipeline.stage.process import ENDED_BY_A_FAULT, STOPS

STOPPING = constants.STOP + 0.5  # seconds; what stops cleanly has ended by then


def main() -> int:
    command = sys.argv[1:]
    if not command:
        print(__doc__.strip())
        return 2
    name = next((part for part in command if part.endswith(".py")), Path(command[0]).name)
    start_logging(name.removesuffix(".py"))
    return Keeper(command, name).keep_running()


class Keeper:
    """Runs `command`, which is called `name`, until it ends by itself or a stop is asked.

    The program is in this process's group, so a signal to the group reaches it, too.
    """

    def __init__(self, command: list[str], name: str):
        self.command, self.name = command, name
        self.asked_to_stop = False
        # Each signal puts its number into this pipe. So none is missed, whatever is being done when
        # it comes, and one call waits for all there is to wait for.
        self._signals, numbers = os.pipe()
        os.set_blocking(numbers, False)
        signal.set_wakeup_fd(numbers)
        for number in (*STOPS, signal.SIGCHLD):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, lambda *_: None)
        self._events = select.poll()
        self._events.register(self._signals, select.POLLIN)
        if stat.S_ISFIFO(os.fstat(1).st_mode):
            self._events.register(1, select.POLLHUP)  # nobody reads the other end any more

    def keep_running(self) -> int:
        """Returns the exit status of the program."""
        pause = constants.RESTART
        while True:
            began = time.monotonic()
            status = self._run()
            if self.asked_to_stop or not _is_worth_another_try(status):
                return status if status >= 0 else 128 - status  # as a shell does it
            if time.monotonic() - began >= constants.RAN_WELL:
                pause = constants.RESTART
            log.error(
                "%s %s; starting it again in %g s", self.name, describe_exit_status(status), pause
            )
            self._pause(pause)
            if self.asked_to_stop:
                log.info("stopped")
                return 0
            pause = min(2 * pause, constants.RESTART_MOST)

    def _run(self) -> int:
        program = subprocess.Popen(self.command)
        while program.poll() is None and not self.asked_to_stop:
            self._wait()
        try:
            return program.wait(STOPPING)
        except subprocess.TimeoutExpired:  # the signal was for this process alone
            program.terminate()
            return program.wait()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.asked_to_stop and (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, seconds: float | None = None) -> None:
        """Wait for a signal, the end of the program among them, or for so many seconds."""
        for descriptor, _ in self._events.poll(seconds and 1000 * seconds):
            came = os.read(self._signals, 1000) if descriptor == self._signals else STOPS
            self.asked_to_stop = self.asked_to_stop or any(number in STOPS for number in came)


def _is_worth_another_try(status: int) -> bool:
    """Not what said which mistake the user has to put right, nor what somebody asked to stop."""
    return status == ENDED_BY_A_FAULT or (status < 0 and -status not in STOPS)


if __name__ == "__main__":
    sys.exit(main())
