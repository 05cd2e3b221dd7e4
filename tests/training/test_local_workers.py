import gc
import threading
from pathlib import Path

import pytest

from pipeline.stage.status import Status
from pipeline.training.local_workers import LocalWorkers

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
    return len(list(Path("/proc/self/fd").iterdir()))
