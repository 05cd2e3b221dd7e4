"""Processes apart, for what runs a model: whatever that does to its process, no other sees it.

A server that has imported TensorFlow, and used nothing of it yet, forks each of them: so it begins
within milliseconds.
"""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import constants
from helper import open_regular

context = multiprocessing.get_context("forkserver")


def start(preload: Iterable[str]) -> None:
    """Start the server, unless it runs, with the modules `preload` imported.

    Ctrl-C in the terminal is for the stage, which then stops the server and its processes. What a
    stage's script imports belongs to `preload`: by Python's own rule a new process imports the script.
    """
    context.set_forkserver_preload(list(preload))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    path = os.environ.get("PYTHONPATH")
    # Or it would look for what it has to import in the current folder (until Python 3.13).
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(constants.ROOT), path]))
    try:
        forkserver.ensure_running()
    finally:
        os.environ["PYTHONPATH"] = path or ""
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop(process: BaseProcess) -> None:
    """End a process, by force if it is stuck."""
    process.terminate()
    process.join(constants.STOP)
    if process.is_alive():
        process.kill()
        process.join()


def describe_end(process: BaseProcess, log_file: Path) -> str:
    """How a process ended that gave no result, and the last line in its log, as sentences."""
    status = cast(int, process.exitcode)  # it has ended
    no_result = " and no result" if status >= 0 else ""
    return f"{describe_exit_status(status)}{no_result}.{_last_words(log_file)}"


def _last_words(log_file: Path) -> str:
    try:
        with open(log_file, "rb", opener=open_regular) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - constants.LAST_WORDS_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return f" Its last words: {lines[-1][:300]}" if lines else ""


def describe_exit_status(status: int) -> str:
    """How a process with this exit status ended."""
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    memory = ", often for want of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"


def give_way_when_memory_is_short() -> None:
    """The kernel then kills the calling process and not the stage, which goes on."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def shared_memory(size: int = 0) -> int:
    """The descriptor of `size` bytes that processes share, for as long as one has it open.

    It is a file without a name, in memory where the system has such files.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pixels")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
