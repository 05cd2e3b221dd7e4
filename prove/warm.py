"""Run the stages' own code in processes that are forked from one with TensorFlow in it.

To start a stage takes 4 s, nearly all of it for TensorFlow; forked, it takes 0.05 s, so that each
system call can have a start of its own. Nothing else is different: tests/test_prove.py compares the
system calls with those of the scripts.
"""

import ctypes
import functools
import importlib
import multiprocessing
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import constants
from testkit.processes import patience

LONGEST = 60.0  # seconds; undisturbed, none takes more than 4
KILLED = -signal.SIGKILL
PR_SET_PTRACER, ANY = 0x59616D61, -1
WAITS = {"RETRY": 0.05, "LOOK_AGAIN": 0.5}  # for constants: no proof has to wait as long as a user


def each(attempt: Callable, cases: Iterable) -> Iterator:
    """`attempt(case)` for each case, in order, on all processors, in warm processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prove.warm_up"])
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        yield from pool.map(attempt, cases)


class Forked:
    """`work` in a process forked from this one; much like a subprocess.Popen."""

    def __init__(self, work: Callable[[], int | None]):
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _end_with(work)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                ended, _, _ = select.select([descriptor], [], [], timeout)
            finally:
                os.close(descriptor)
            if not ended:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            _, status = os.waitpid(self.pid, 0)  # strace, if it follows, is told first
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _end_with(work: Callable[[], int | None]) -> None:
    """Do `work` and end this process, past all that its parent has set up for its own end."""
    status = 1
    try:
        status = work() or 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def call(function: Callable, *arguments: object) -> object:
    """What `function` gives in a process of its own, so that TensorFlow stays unused in this one."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as answer:

        def work() -> None:
            with open(theirs, "wb") as file:
                pickle.dump(function(*arguments), file)

        process = Forked(work)
        os.close(theirs)
        content = answer.read()
    if process.wait():
        raise RuntimeError(f"{function.__name__} failed; its traceback is above")
    return pickle.loads(content)


class Stage(Forked):
    """A stage's script in a warm process; what it says goes to the file `said`.

    With `strace`, its options for strace, which follows from the script's first line on.
    """

    def __init__(
        self,
        script: str,
        options: list[str],
        said: Path,
        strace: list[str] | None = None,
        die_together: bool = False,
    ):
        self.said = said
        ours, theirs = socket.socketpair()

        def work() -> int:
            talk_to(said)
            # Where yama guards processes, one has to allow that a relative of it follows it.
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY)
            theirs.send(b"ready")
            theirs.recv(9)
            return run_script(script, options, die_together)

        super().__init__(work)
        ours.recv(9)
        self.tracer = _attach(self.pid, strace) if strace else None
        ours.send(b"go")

    def text(self) -> str:
        return self.said.read_text(errors="replace")

    def wait(self) -> int:
        """The exit status, once all its processes have ended."""
        status = super().wait(patience(LONGEST))
        if self.tracer:
            self.tracer.communicate(timeout=patience(LONGEST))
        return status

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.kill()
        if self.tracer:
            self.tracer.kill()
            self.tracer.communicate()
        if self.returncode is None:
            super().wait(patience(LONGEST))


def talk_to(path: Path) -> None:
    """What this process says from here on goes to the file `path`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def run_script(script: str, options: list[str], die_together: bool = False) -> int:
    """Run a stage's script in this process, which must be warm."""
    from pipeline.stage import child_processes

    # The lock of a progress bar would have a name otherwise, and outlive a killed process.
    multiprocessing.set_start_method("fork", force=True)
    for name, seconds in WAITS.items():
        setattr(constants, name, seconds)
    child_processes.context = Forks(die_together)
    child_processes.start = lambda preload: None
    return importlib.import_module(script).main(options)


def _attach(pid: int, options: list[str]) -> subprocess.Popen:
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True
    )
    said = tracer.stderr.readline()
    if "attached" not in said:
        tracer.kill()
        os.kill(pid, signal.SIGKILL)
        raise RuntimeError(f"strace cannot follow a process: {said.strip()}")
    return tracer


class Forks:
    """Instead of pipeline.stage.child_processes's server: forks processes from the stage, which is warm."""

    def __init__(self, die_together: bool):
        self.context = multiprocessing.get_context("fork")
        self.die_together = die_together
        self.stages_ends: list = []

    def Pipe(self) -> tuple:  # noqa: N802 - as in multiprocessing
        ours, theirs = self.context.Pipe()
        self.stages_ends.append(ours)
        return ours, theirs

    def Process(self, target: Callable, args: list, daemon: bool):  # noqa: N802
        def work(*arguments: object) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for end in self.stages_ends:  # or it would not see that the stage is gone
                end.close()
            target(*arguments)

        process = self.context.Process(target=work, args=args, daemon=daemon)
        process.start = functools.partial(_undisturbed, process.start)
        process.join = functools.partial(self._join, process, process.join, threading.Lock())
        return process

    def _join(
        self, process: object, join: Callable, alone: threading.Lock, timeout: float | None = None
    ) -> None:
        with alone:  # of two threads that wait for a forked process, one would get no exit status
            join(timeout)
        if self.die_together and process.exitcode == KILLED:
            # The trainer takes the stage with it, as if both got their SIGKILL at once.
            os.kill(os.getpid(), signal.SIGKILL)


def _undisturbed(start: Callable) -> None:
    """A fork runs hooks of Python's, which would swallow a Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
