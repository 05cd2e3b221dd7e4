import os
import resource
import signal
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.util import tensor_util

from pipeline import event_files
from pipeline.training import tensorboard_logs

pytestmark = pytest.mark.slow


def curve(folder, tag):
    """(step, value) of each point, as TensorBoard reads them."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return [
        (point.step, float(tensor_util.make_ndarray(point.tensor_proto)))
        for point in events.Tensors(tag)
    ]


def test_tensorboard_reads_the_curves(tmp_path):
    for epoch in range(30):
        figures = {"loss": 1 / (epoch + 1), "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25}
        tensorboard_logs.write_epoch(tmp_path, epoch, figures)
    losses = curve(tmp_path / "train", "epoch_loss")
    assert [step for step, _ in losses] == list(range(30))
    assert losses[9][1] == pytest.approx(0.1)
    assert curve(tmp_path / "train", "epoch_accuracy")[0] == (0, 0.5)
    assert curve(tmp_path / "validation", "epoch_loss")[0] == (0, 2.0)
    assert curve(tmp_path / "validation", "epoch_accuracy")[0] == (0, 0.25)


def test_without_validation_there_is_no_validation_curve(tmp_path):
    tensorboard_logs.write_epoch(tmp_path, 0, {"loss": 1.0, "accuracy": 0.5})
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_the_hparams_tab_gets_its_columns_and_values(tmp_path):
    tensorboard_logs.write_hyperparameters(
        tmp_path, "run", {"model": "cnn", "learning_rate": 0.5, "epochs": 3}
    )
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    content = events.PluginTagToContent("hparams")
    assert set(content) == {"_hparams_/experiment", "_hparams_/session_start_info"}
    assert b"learning_rate" in content["_hparams_/session_start_info"]
    assert b"validation accuracy" in content["_hparams_/experiment"]


def columns_of(logs):
    """(folder, tag) of each metric that the HPARAMS tab has."""
    events = EventAccumulator(str(logs))
    events.Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/experiment"]
    said = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    return [(one.name.group, one.name.tag) for one in said]


@pytest.mark.parametrize("ended_early", [False, True])
def test_the_hparams_tab_finds_a_value_for_each_of_its_metrics_and_the_state(tmp_path, ended_early):
    figures = {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.625, "val_accuracy": 0.5}
    tensorboard_logs.write_hyperparameters(tmp_path, "run", {"epochs": 3})
    for epoch in range(3):
        tensorboard_logs.write_epoch(tmp_path, epoch, figures | {"learning_rate": 0.5**epoch})
    tensorboard_logs.write_end(tmp_path, 2, figures, ended_early)
    event_files.write_test(tmp_path, {"loss": 0.25, "accuracy": 0.875}, 2)
    found = {column: curve(tmp_path / column[0], column[1]) for column in columns_of(tmp_path)}
    assert found["", "best_epoch"] == [(1, 2.0)]
    assert found["", "best_val_accuracy"] == [(1, 0.5)]
    assert found["test", "epoch_accuracy"] == [(1, 0.875)]
    assert found["test", "epoch_loss"] == [(1, 0.25)]
    assert len(found) == 11
    assert all(found.values())
    assert curve(tmp_path / "train", "epoch_learning_rate") == [(0, 1.0), (1, 0.5), (2, 0.25)]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    end = events.PluginTagToContent("hparams")["_hparams_/session_end_info"]
    status = plugin_data_pb2.HParamsPluginData.FromString(end).session_end_info.status
    wanted = api_pb2.STATUS_FAILURE if ended_early else api_pb2.STATUS_SUCCESS
    assert status == wanted


def test_the_test_is_told_once_however_often_it_is_and_only_where_there_are_logs(tmp_path):
    event_files.write_test(tmp_path / "none", {"accuracy": 0.5}, 1)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    event_files.write_test(tmp_path / "link", {"accuracy": 0.5}, 1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "link"]
    for accuracy in (0.25, 0.5):
        event_files.write_test(tmp_path, {"accuracy": accuracy, "loss": None}, None)
    assert curve(tmp_path / "test", "epoch_accuracy") == [(0, 0.5)]


def test_a_name_that_no_event_file_can_hold_is_spelled_out(tmp_path):
    tensorboard_logs.write_hyperparameters(
        tmp_path, "a run \udcff", {"model": "half \ud800\n\x1b[31m"}
    )
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    values = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert rb"half \ud800\n\x1b[31m" in values


def test_what_was_written_after_the_last_kept_epoch_is_taken_back(tmp_path):
    tensorboard_logs.write_hyperparameters(tmp_path, "run", {"epochs": 5})
    for epoch in range(3):
        tensorboard_logs.write_epoch(tmp_path, epoch, {"loss": 1.0, "val_loss": 1.0})
    kept = tensorboard_logs.sizes(tmp_path)
    for epoch in (3, 4):
        tensorboard_logs.write_epoch(tmp_path, epoch, {"loss": 0.5, "val_loss": 0.5})
    tensorboard_logs.cut_back(tmp_path, kept)
    for epoch in (3, 4):
        tensorboard_logs.write_epoch(tmp_path, epoch, {"loss": 0.25, "val_loss": 0.25})
    for split in ("train", "validation"):
        points = curve(tmp_path / split, "epoch_loss")
        assert points == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.25), (4, 0.25)]


@pytest.mark.linux
def test_what_was_written_is_flushed_to_the_disk_with_its_name(tmp_path, monkeypatch):
    flushed = []
    descriptors = Path("/proc/self/fd")
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append((descriptors / str(fd)).readlink()))
    logs = tmp_path / "logs"
    tensorboard_logs.write_epoch(logs, 0, {"loss": 1.0})
    assert flushed == [logs / "train" / tensorboard_logs.FILE, logs / "train", logs]
    tensorboard_logs.write_epoch(logs, 1, {"loss": 0.5})
    assert flushed[3:] == [logs / "train" / tensorboard_logs.FILE]


def test_a_write_that_fails_half_way_is_taken_back(tmp_path, monkeypatch):
    tensorboard_logs.write_epoch(tmp_path, 0, {"loss": 1.0})
    path = tmp_path / "train" / tensorboard_logs.FILE
    before = path.read_bytes()
    small = path.stat().st_size + 20  # room for a part of the next record only
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (small, hard))
    try:
        with pytest.raises(OSError) as error:
            tensorboard_logs.write_epoch(tmp_path, 1, {"loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    tensorboard_logs.write_epoch(tmp_path, 1, {"loss": 0.5})
    assert curve(tmp_path / "train", "epoch_loss") == [(0, 1.0), (1, 0.5)]
