import shutil
import signal
import time

import pytest

import data_ingestion
from pipeline.data_folder import DataFolder
from pipeline.raw_data import ingestion
from pipeline.stage import lock
from pipeline.stage.log_lines import start_logging
from pipeline.stage.process import Stage
from pipeline.stage.retry import retry_until_disk_works
from pipeline.training import health
from testkit.raw_datasets import make_raw_dataset

SCRIPTS = {
    "data_ingestion.py": "ingestion",
    "model_training.py": "training",
    "model_analysis.py": "analysis",
    "model_prediction.py": "prediction",
}
AFRESH = "was deleted or replaced, or the stage's lock in it; starting afresh"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def started(start, script, data, *options):
    process = start(script, "--data", data, *options)
    process.wait_for("watching")
    return process


def suspended(process):
    """Stops it as a busy machine might, until signal CONT: others are faster for certain."""
    process.process.send_signal(signal.SIGSTOP)
    return process


@pytest.mark.parametrize("script", SCRIPTS)
def test_when_the_folder_is_made_again_by_another_process_the_first_one_gives_way(
    data, start, script
):
    first = suspended(started(start, script, data))
    shutil.rmtree(data)
    second = started(start, script, data)
    first.process.send_signal(signal.SIGCONT)
    first.wait_for(
        f"{SCRIPTS[script]} on {data}: process {second.process.pid} took over when the folder was"
        " deleted or replaced. This one ends."
    )
    assert first.end() == 1
    assert len(first.lines) == 2
    told = health.health_of(SCRIPTS[script], data)
    assert (told.state, told.pid) == ("live", second.process.pid)
    assert second.end(signal.SIGTERM) == 0


def put_aside(data):
    data.rename(data.with_name("aside"))


def delete(data):
    """In one step: the stage may make it again while what is in it goes."""
    put_aside(data)
    shutil.rmtree(data.with_name("aside"))


def replace_by_a_link(data):
    put_aside(data)
    data.with_name("elsewhere").mkdir()
    data.symlink_to("elsewhere")


def delete_the_lock(data):
    [path] = data.glob(".*.lock")
    path.unlink()


@pytest.mark.parametrize("change", [delete, put_aside, replace_by_a_link, delete_the_lock])
def test_a_stage_whose_folder_goes_takes_the_lock_in_the_new_one(data, start, change):
    process = started(start, "data_ingestion.py", data)
    change(data)
    process.wait_for(AFRESH)
    process.wait_for("watching")
    second = start("data_ingestion.py", "--data", data)
    second.wait_for(f"already running as process {process.process.pid}.")
    assert second.end() == 1
    told = health.health_of("ingestion", data)
    assert (told.state, told.pid) == ("live", process.process.pid)
    assert process.end(signal.SIGINT) == 0


def test_in_a_folder_that_was_made_again_what_was_done_before_is_done_again(data, start):
    made = make_raw_dataset(data.with_name("made"))
    shutil.copytree(made, data / "raw_dataset" / "colours")
    process = started(start, "data_ingestion.py", data, "--settle", "0.1")
    process.wait_for("ingested as dataset")
    delete(data)
    process.wait_for(AFRESH)
    process.wait_for("watching")
    shutil.copytree(made, data / "raw_dataset" / "colours")
    process.wait_for("ingested as dataset")
    assert len(list((data / "dataset").glob("*.pkl"))) == 1


def test_what_was_read_before_the_folder_was_replaced_is_not_published_after(data, monkeypatch):
    DataFolder(data).make()
    made = make_raw_dataset(data / "raw_dataset" / "colours", train=6, test=3)
    options = data_ingestion.parse(["--data", str(data), "--settle", "0"])
    start_logging("ingestion")
    read = ingestion.read

    def read_while_another_takes_over(*arguments):
        content = read(*arguments)
        put_aside(data)
        DataFolder(data).make()
        (data.with_name("aside") / "raw_dataset" / "colours").rename(made)  # not one file changed
        lock.StageLock("ingestion", data).path.touch()
        return content

    monkeypatch.setattr(ingestion, "read", read_while_another_takes_over)
    with lock.StageLock("ingestion", data), pytest.raises(lock.Displaced):
        ingestion.Ingestion(data / "raw_dataset", options, Stage()).look()
    assert list(data.with_name("aside").rglob("*.pkl")) == []
    assert names_in(data) == [
        ".ingestion.lock",
        "dataset",
        "model_analysis_results",
        "model_checkpoints",
        "new_images",
        "predictions",
        "raw_dataset",
        "requests",
    ]
    assert names_in(data / "dataset") == []


def test_nothing_is_written_once_the_lock_is_lost(tmp_path):
    with lock.StageLock("training", tmp_path):
        (tmp_path / ".training.lock").unlink()
        with pytest.raises(lock.Displaced):
            retry_until_disk_works((tmp_path / "result").touch, print)
    assert not (tmp_path / "result").exists()


def test_a_folder_of_the_tree_that_goes_alone_is_made_again(data, capsys):
    DataFolder(data).make()
    start_logging("training")
    with lock.StageLock("training", data):
        (data / "model_checkpoints").rmdir()
        retry_until_disk_works((data / "model_checkpoints" / "x.pkl").touch, print)
    assert (data / "model_checkpoints" / "x.pkl").exists()
    assert capsys.readouterr().out == ""


def test_a_lock_that_is_replaced_before_it_is_locked_does_not_count(tmp_path, monkeypatch):
    path, flock = tmp_path / ".training.lock", lock.fcntl.flock

    def replace_and_lock(*arguments):
        path.unlink()
        path.touch()
        flock(*arguments)

    monkeypatch.setattr(lock.fcntl, "flock", replace_and_lock)
    with pytest.raises(lock.Displaced):
        lock.StageLock("training", tmp_path).__enter__()
    assert lock.lock_held() is None


TINY = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Flatten(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""


def test_a_run_in_training_writes_nothing_into_the_folder_that_another_works_in(
    data, tmp_path, start, dataset
):
    for name, text in {
        "models/tiny.py": TINY,
        "sets/long.toml": "epochs = 2000\nearly_stopping_patience = 0\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    folders = "--models-folder", tmp_path / "models", "--hyperparameters-folder", tmp_path / "sets"
    run = f"{dataset}__tiny__long"
    first = started(start, "model_training.py", data, *folders)
    wait_until((data / "model_checkpoints" / run / "resume.state").exists)
    suspended(first)  # but not the process that trains
    put_aside(data)
    DataFolder(data).make()
    log = data.with_name("aside") / "model_checkpoints" / run / "training.log"
    wait_until(lambda: not health.is_locked(log))  # it has ended
    assert names_in(data / "model_checkpoints") == []
    second = started(start, "model_training.py", data, *folders)
    first.process.send_signal(signal.SIGCONT)
    first.wait_for(f"process {second.process.pid} took over")
    assert first.end() == 1
    assert not [line for line in first.lines if "Traceback" in line]
    assert names_in(data / "model_checkpoints") == []


def wait_until(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
