import gc
import threading
from pathlib import Path

import pytest

from pipeline.stage.status import Status, Task
from pipeline.training import local_workers
from pipeline.training.local_workers import LocalWorkers, Progress

pytestmark = pytest.mark.slow

JOB = {"name": "run", "dataset": "gone.pkl", "model": "gone.py"}


def test_a_process_that_has_ended_keeps_no_descriptor_open(tmp_path):
    news = threading.Event()
    job = {
        **JOB,
        "checkpoint": str(tmp_path / "run.pkl"),
        "description": {"settings": {"epochs": 1}},
    }
    gc.disable()
    try:
        with LocalWorkers(news.set, Status()) as processes:
            counts = [descriptors_after_one(processes, job, news) for _ in range(3)]
    finally:
        gc.enable()
    assert counts[1] == counts[2] <= counts[0]


def descriptors_after_one(processes, job, news):
    processes.start(None, job)
    while processes.running:
        news.wait()
        news.clear()
        list(processes.reports())
    return len(list(Path("/dev/fd").iterdir()))


def test_how_far_a_run_is_in_numbers(monkeypatch):
    """It goes on after 2 of 5 epochs. The pace is that since the first report: graphs are built before."""
    job = {"name": "run", "description": {"settings": {"epochs": 5}}}
    progress, times = Progress(job), iter([104.0, 106.0])
    monkeypatch.setattr(local_workers.time, "monotonic", lambda: next(times, 106.0))
    assert progress.task() == Task("run", progress.since, 0, None, 1, 5)
    progress.show({"event": "fitting", "epoch": 2, "steps": 10, "epochs": 5})
    assert progress.task() == Task("run", progress.since, 20, 50, 3, 5)
    progress.show({"event": "step", "step": 25})
    assert progress.task().eta is None
    progress.show({"event": "epoch", "epoch": 3, "step": 30, "figures": {"accuracy": 0.5}})
    assert progress.task() == Task("run", progress.since, 30, 50, 4, 5, 8.0)
    progress.close()
