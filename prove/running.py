"""A stage as a process of its own, with something done in it before its first line."""

import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import constants
from prove import Missing
from prove.drops import OPTIONS, make
from testkit.processes import Process

LONGEST = 60.0  # seconds; undisturbed, nothing here takes more than 6
INGESTION, TRAINING, ANALYSIS = "data_ingestion", "model_training", "model_analysis"
# No proof has to wait as long as a user.
SOON = """import constants
constants.LOOK_AGAIN, constants.POLL, constants.RETRY = 1.0, 0.5, 0.1
constants.LOOK_AT_LEAST = 5.0  # however long a look takes on a busy machine
"""
STAGE = """
import sys
sys.path.insert(0, {root!r})
if __name__ == "__main__":
    {first}
    import {script}
    sys.exit({script}.main())
"""
NEW_USER_NAMESPACE = 0x10000000
LIMITED = """
import ctypes
if ctypes.CDLL(None).unshare({namespace}):
    sys.exit("no user namespaces here")
open("/proc/sys/user/{limit}", "w").write("{most}")
"""


@contextmanager
def work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        work = Path(folder).resolve()
        (work / "data" / constants.RAW_DATASETS).mkdir(parents=True)
        yield work


@contextmanager
def running(script: str, work: Path, *options: object, first: str = "") -> Iterator[Process]:
    """`script` on `work`/data until the end of the block; `first` is run in it before all else."""
    file = work / f"{script}.py"
    root = str(constants.ROOT)
    file.write_text(STAGE.format(root=root, first=_indented(SOON + first), script=script))
    stage = Process(str(file), "--data", work / "data", *options)
    try:
        yield stage
    finally:
        stage.process.kill()
        stage.process.wait()


def _indented(code: str) -> str:
    return textwrap.indent(code, "    ").strip()


@contextmanager
def ingesting(work: Path, *options: object, first: str = "") -> Iterator[Process]:
    """The ingestion, from the moment on when it watches."""
    options = ("--settle", "0.1", *OPTIONS, *options)
    with running(INGESTION, work, *options, first=first) as stage:
        stage.wait_for("watching", LONGEST)
        yield stage
        if stage.process.poll() is not None:
            raise AssertionError(f"the stage ended: {stage.lines[-9:]}")
        stage.end(signal.SIGINT)


def wait_for_all(stage: Process, texts: Iterable[str]) -> None:
    """Read on until each of `texts` has come up, in whatever order."""
    left = set(texts)
    while left:
        line = stage.wait_for("raw_dataset", LONGEST)
        left = {text for text in left if text not in line}


def limited(limit: str, most: int) -> str:
    """What gives a process a user namespace in which the kernel allows `most` of `limit`."""
    return "import sys" + LIMITED.format(namespace=NEW_USER_NAMESPACE, limit=limit, most=most)


def need_user_namespaces() -> None:
    probe = [sys.executable, "-c", limited("max_inotify_watches", 1)]
    if subprocess.run(probe, capture_output=True).returncode:
        raise Missing("this account may not make user namespaces. Run it as root: sudo make prove.")


def drop(work: Path, name: str, seed: int) -> Path:
    """Rename a raw dataset into place; returns where it is now."""
    built = make(work / "built" / name, seed)
    return built.rename(work / "data" / constants.RAW_DATASETS / name)


def broken(attempt) -> str | None:
    """What did not hold in `attempt()`, which says it itself or by a stage that did not go on."""
    try:
        return attempt()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return re.sub(r"\s+", " ", str(error))[:600]
