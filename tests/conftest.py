"""What several tests share: small raw datasets, and the real scripts as real processes."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

import data_ingestion
from pipeline.stage.log_lines import LogLines, log
from pipeline.stage.process import Stage
from pipeline.stage.status import Status
from testkit.processes import Process
from testkit.raw_datasets import make_raw_dataset

ROOT = Path(__file__).resolve().parent.parent


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
def stage() -> Stage:
    """What `run_stage` hands to the parts of a stage that does what is waiting, then stops."""
    return Stage(once=True)


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
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture
def told(monkeypatch):
    """What a stage in this process tells its status: doing what, and how far it is."""
    lines, say = [], Status.update

    def listen(self, doing, progress="", tasks=()):
        lines.append((doing, progress))
        say(self, doing, progress, tasks)

    monkeypatch.setattr(Status, "update", listen)
    return lines


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
