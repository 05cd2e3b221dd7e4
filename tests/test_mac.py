"""Nothing rests on what Linux alone has. No Mac is needed: what it lacks is taken away."""

import os
import subprocess
import sys

import numpy as np
import pytest

import constants
from constants import ROOT
from pipeline.pretrained import features
from pipeline.stage import child_processes, devices
from testkit.processes import unmeasured
from testkit.raw_datasets import make_raw_dataset


class Frozen:
    """What stands for the frozen part of a model: its features are five numbers."""

    output_shape = (None, 5)


def on_a_mac(*command):
    environment = {**unmeasured(), "PYTHONPATH": str(ROOT / "testkit" / "mac")}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_what_a_mac_lacks_is_not_there():
    program = """
import os, pathlib, select
print(hasattr(os, "memfd_create"), hasattr(os, "posix_fallocate"), hasattr(select, "epoll"))
for read in (open, pathlib.Path.read_text, lambda path: os.open(path, os.O_RDONLY)):
    try: read(pathlib.Path("/proc/cpuinfo"))
    except FileNotFoundError: print("none")
"""
    ended = on_a_mac("-c", program)
    assert ended.stdout.split() == ["False"] * 3 + ["none"] * 3, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "tests",
    [
        "tests/stage/test_stage.py::test_it_stops_when_nobody_reads_its_lines_any_more",
        "tests/test_keep_running.py::test_the_pause_ends_when_nobody_reads_any_more",
        "tests/analysis/test_evaluation.py"
        "::test_the_process_ends_with_a_killed_stage_even_while_it_hangs",
    ],
)
def test_what_notices_the_end_of_another_process_does(tests):
    ended = on_a_mac("-m", "pytest", "-p", "no:cacheprovider", tests)
    assert ended.returncode == 0, ended.stdout
    assert "passed" in ended.stdout


@pytest.mark.slow
def test_the_whole_chain_works(data):
    make_raw_dataset(data / "raw_dataset" / "colours")
    make_raw_dataset(data / "new_images" / "more")
    for script, *options in (
        ("data_ingestion.py", "--settle", "0"),
        ("model_training.py", "--models", "cnn", "--hyperparameters", "quick"),
        ("model_analysis.py",),
        ("model_prediction.py", "--settle", "0"),
    ):
        ended = on_a_mac(script, "--data", str(data), "--once", *options)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(list((data / "model_analysis_results").glob("plot_model_*.png"))) == 1
    assert (data / "predictions" / "more.csv").is_file()


def test_features_that_are_kept_on_disk_have_their_bytes(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(constants, "FEATURES_MEMORY", 100)
    count = 2**18 // 5 + 7  # a part of a block at the end
    kept = features.room_for(Frozen, count, tmp_path / "x")
    assert isinstance(kept, np.memmap) and kept.shape == (count, 5)
    kept[-1] = 3
    assert kept.sum() == 15


def test_memory_is_shared_through_a_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptor = child_processes.shared_memory(5000)
    assert os.fstat(descriptor).st_size == 5000
    assert list(tmp_path.iterdir()) == []
    os.close(descriptor)


def test_cores_and_memory_are_those_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(devices, "OWN_GROUPS", tmp_path / "not there")
    assert devices.cores() == os.cpu_count()
    assert devices.memory() > 2**28
