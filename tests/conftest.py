"""What several tests share: small raw datasets, and the real scripts as real processes."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_ingestion
from helper import write_json
from pipeline.stage import process
from pipeline.stage.log_lines import LogLines, log
from pipeline.stage.status import Status
from prove import patience

ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


def make_raw_dataset(
    folder: Path, train: int = 60, test: int = 15, names: bool = False, seed: int = 0
) -> Path:
    """A raw dataset of noisy images in three colours, which any model can tell apart."""
    draw = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        rows = ["file,label"]
        for number in range(count):
            name = list(COLOURS)[number % 3]
            pixels = np.clip(draw.normal(COLOURS[name], 30, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{number:06d}.png")
            rows.append(f"{number:06d}.png,{name if names else number % 3}")
        (folder / split / "groundtruth.csv").write_text("\n".join(rows) + "\n")
    return folder


def unmeasured() -> dict[str, str]:
    """The environment for a process whose coverage is not measured: to do so opens and writes files."""
    return {key: value for key, value in os.environ.items() if not key.startswith("COV")}


def put_report(data: Path, run: str, dataset: str, accuracy: float, **more: object) -> Path:
    """What an analysis leaves behind, as far as the pictures of many runs use it."""
    _, model, hyperparameter_set = (*run.split("__"), "", "")[:3]
    trained = {
        "model": model,
        "hyperparameter_set": hyperparameter_set,
        "parameters": 1000,
        "seconds": 1.5,
        "epochs": 5,
        "settings": {"epochs": 5, "learning_rate": 0.001, "priority": 0},
        **more.pop("trained", {}),
    }
    report = {
        "run": run,
        "checkpoint_sha256": f"of {run}",
        "dataset": dataset,
        "dataset_sha256": f"of {dataset}",
        "accuracy": accuracy,
        "loss": 1 - accuracy,
        "test_images": 60,
        "trained": trained,
        **more,
    }
    path = data / "model_analysis_results" / f"{run}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report)
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that lacks a tool or a right is skipped; in CI, where all of them are there, it fails."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is slow as a whole is not even imported by the quick loop: TensorFlow takes seconds."""
    quick = "not slow" in config.option.markexpr and collection_path.suffix == ".py"
    return (quick and "\npytestmark = pytest.mark.slow" in collection_path.read_text()) or None


def pytest_itemcollected(item: pytest.Function) -> None:
    """Who starts the stages as processes takes seconds."""
    if "start" in item.fixturenames:
        item.add_marker(pytest.mark.slow)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """No bytes in the name of a test: nobody can read them, and a clock may be among them."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with an empty raw_dataset in it."""
    (tmp_path / "data" / "raw_dataset").mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def dataset(data):
    """The name of the one dataset there is, three classes with names."""
    make_raw_dataset(data / "raw_dataset" / "colours", names=True)
    assert data_ingestion.main(["--data", str(data), "--once", "--settle", "0"]) == 0
    (data / "model_checkpoints").mkdir(exist_ok=True)
    [path] = (data / "dataset").glob("*.pkl")
    return path.stem


HOOKS = [(sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")]
FIRST = []


def pytest_sessionstart() -> None:
    FIRST[:] = [(*place, getattr(*place)) for place in HOOKS]
    # As in a terminal, for each process that a test starts: with its buffers, and where nohup or a
    # shell's & had these signals ignored, with the signals.
    os.environ.pop("PYTHONUNBUFFERED", None)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def speak_as_at_first():
    log.handlers, log.propagate = [], True
    for place, name, value in FIRST:
        setattr(place, name, value)
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not isinstance(one, LogLines)]
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def process_as_before():
    """A stage's main() sets what signals and faults do, and where log lines go; take that back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signals = {number: signal.getsignal(number) for number in numbers}
    # Not as it was before: a fixture of a whole module may have run a stage, too.
    speak_as_at_first()
    yield
    speak_as_at_first()
    process._stop_asked.clear()
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture
def told(monkeypatch):
    """What a stage in this process tells its status: doing what, and how far it is."""
    lines, say = [], Status.say

    def listen(self, doing, progress=""):
        lines.append((doing, progress))
        say(self, doing, progress)

    monkeypatch.setattr(Status, "say", listen)
    return lines


class Process:
    """One of the scripts as a process, with its lines so far."""

    def __init__(
        self,
        script: str | Path,
        *options: object,
        environment: dict[str, str] | None = None,
        new_session: bool = False,
    ):
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=new_session,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """The first line with `text` that was not returned before."""
        until = time.monotonic() + patience(seconds)
        while True:
            try:
                line = self._new.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no line with {text!r} in {seconds} s, last {self.lines[-20:]}"
                ) from None
            if line is None:
                raise AssertionError(f"ended without a line with {text!r}: {self.lines[-20:]}")
            self.lines.append(line)
            if text in line:
                return line

    def end(self, number: int | None = None, seconds: float = 120) -> int:
        """Send a signal, if one is given, and wait for the end; returns the exit status."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(patience(seconds))
        while (line := self._new.get(timeout=patience(seconds))) is not None:
            self.lines.append(line)
        return status


@pytest.fixture
def start():
    """Start scripts as processes; those that still run at the end of the test are killed."""
    started = []

    def start_one(script: str | Path, *options: object, **keywords: object) -> Process:
        started.append(Process(script, *options, **keywords))
        return started[-1]

    yield start_one
    for one in started:
        one.process.kill()
        one.process.wait()


def until_gone(pid):
    until = time.monotonic() + patience()
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, f"process {pid} is still there"
        os.sched_yield()


def children(pid):
    """A stage's processes apart: the children of the server among the stage's own children."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        own = file.read().split()
    return [
        child
        for each in own
        for child in Path(f"/proc/{each}/task/{each}/children").read_text().split()
    ]
