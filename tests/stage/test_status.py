import json
import os
import queue
import signal
from types import SimpleNamespace

import pytest

import constants
from helper import UserError
from pipeline.artifacts.metadata import read_json
from pipeline.stage import status as module
from pipeline.stage.log_lines import log, start_logging
from pipeline.stage.progress import counted
from pipeline.stage.status import StageStatus, Status, Task
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset


@pytest.fixture
def status():
    return Status()


@pytest.fixture
def written(monkeypatch):
    """What is written, in its order; each once it is on the disk."""
    contents, write_json = queue.Queue(), module.write_json

    def write(path, content, durable):
        write_json(path, content, durable)
        contents.put(json.loads(path.read_text()))

    monkeypatch.setattr(module, "write_json", write)
    return contents


def next_with(written, **expected):
    """The next content that has what is expected."""
    while True:
        content = written.get(timeout=patience())
        if expected.items() <= content.items():
            return content


def on_disk(data, stage="training"):
    return read_json(data / "status" / f"{stage}.json")


def test_it_says_who_does_what_and_how_far_it_is(status, data, written):
    with status.reporting("training", data):
        status.update("training a", "epoch 1 of 9")
        content = next_with(written, doing="training a")
    assert content["stage"] == "training"
    assert content["pid"] == os.getpid()
    assert content["version"] == constants.VERSION
    assert content["progress"] == "epoch 1 of 9"
    assert content["started"] <= content["since"]
    assert content["last_error"] == ""
    assert [path.name for path in (data / "status").iterdir()] == ["training.json"]


def test_what_is_done_is_told_in_numbers_too_and_read_as_it_was_written(status, data):
    task = Task("a__cnn__x", "2026-11-27 01:02:03", 30, 90, 2, 5, 12.5)
    with status.reporting("training", data):
        status.update("training a__cnn__x", "epoch 2 of 5", [task])
        status.heartbeat()
        status.error("why")
        status._write(data / "status" / "now.json", {})
    said = StageStatus.of(on_disk(data, "now"))
    assert said.tasks == (task,)
    assert (said.doing, said.progress) == ("training a__cnn__x", "epoch 2 of 5")
    assert on_disk(data)["tasks"] == []  # it has stopped


def test_what_is_counted_says_how_many_seconds_are_left(status, monkeypatch):
    times = iter([100.0, 110.0])
    monkeypatch.setattr(
        "pipeline.stage.progress.time", SimpleNamespace(monotonic=lambda: next(times))
    )
    monkeypatch.setattr("pipeline.stage.progress.now", lambda: "then")
    with counted(300, "testing", "images", status, "a__cnn__x") as more:
        more(100)
    _, _, progress, tasks, _ = status._now
    assert progress == "100 of 300 images"
    assert tasks == (Task("a__cnn__x", "then", 100, 300, eta=20.0),)


def test_it_is_written_twice_a_second_at_most_and_the_last_word_always(
    status, data, written, monkeypatch
):
    monkeypatch.setattr(module, "PAUSE", 3600)  # ends when the block does
    with status.reporting("training", data):
        first = written.get(timeout=patience())
        for number in range(20_000):  # long enough for many writes, were there no pause
            status.update(f"training {number}")
        assert written.empty()
    assert first["doing"] == "starting"
    assert written.get(timeout=patience())["doing"] == "stopped"
    assert written.empty()


def test_the_problems_of_inputs_are_those_there_are_now(status, data, written):
    with status.reporting("ingestion", data):
        status.set_problems({"raw/a": "is empty.", "raw/b": "x" * 10**6})
        problems = next_with(written, doing="starting", last_error="")["problems"]
        while not problems:  # the first content may have been written before
            problems = written.get(timeout=patience())["problems"]
        assert problems["raw/a"] == "is empty."
        assert len(problems["raw/b"]) == constants.LONGEST_IN_STATUS
        status.set_problems({str(number): "bad" for number in range(10_000)})
        next_with(written, problems={str(n): "bad" for n in range(constants.MOST_IN_STATUS)})
        status.set_problems({})
        next_with(written, problems={})


def test_a_disk_that_sleeps_is_not_woken_by_it(status, data, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with status.reporting("training", data):
        status.update("waiting")
    assert on_disk(data)["doing"] == "stopped"
    assert flushed == []


def test_without_news_nothing_is_written(status, data, written, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0)
    with status.reporting("training", data):
        status.update("training a")
        next_with(written, doing="training a")
        with pytest.raises(queue.Empty):
            for _ in range(3):  # one may be on its way
                written.get(timeout=0.1)


def test_since_is_when_it_began_what_it_does(status, data, written, monkeypatch):
    clock = iter("abcdefgh")
    monkeypatch.setattr(module, "now", lambda: next(clock))
    with status.reporting("training", data):
        status.update("training a")
        status.heartbeat("half")
        content = next_with(written, doing="training a", progress="half")
        status.heartbeat()
        assert (content["since"], content["started"]) == ("c", "b")
    assert on_disk(data)["since"] == "d"


@pytest.mark.slow
def test_only_the_main_loop_gives_a_sign_of_life(status, data, written):
    """Its file is written by a thread, which must not make a loop that hangs look alive."""
    with status.reporting("training", data):
        status.update("hanging")
        before = next_with(written, doing="hanging")["said"]
        status.error("some thread's")
        after = next_with(written, doing="hanging")
        assert after["last_error"].endswith("some thread's")
        assert after["said"] == before
        status.heartbeat()
        assert written.get(timeout=patience())["said"] > before


def test_the_last_error_that_was_logged_is_in_it(status, data, capsys):
    start_logging("training")
    with status.reporting("training", data):
        log.error("%s: failed", "one")
        log.error("%s: failed", "two\nlines")
        log.warning("no error")
    assert on_disk(data)["last_error"].endswith(" two\nlines: failed")
    with status.reporting("training", data):
        log.info("a new process has none")
    assert on_disk(data)["last_error"] == ""
    assert not any(isinstance(handler, module.LastError) for handler in log.handlers)


def test_what_ends_a_stage_is_its_last_error(status, data):
    with pytest.raises(UserError), status.reporting("training", data):
        raise UserError("the disk is gone")
    assert on_disk(data)["last_error"].endswith(" the disk is gone")
    assert on_disk(data)["doing"] == "stopped"


def test_a_disk_that_gets_full_is_one_line_each_time_and_the_status_comes_when_there_is_room(
    status, data, written, monkeypatch, capsys
):
    start_logging("training")
    write_json, tried = module.write_json, queue.Queue()

    def full_now_and_then(*arguments, **keywords):
        tried.put(None)
        if full.pop():
            raise OSError(28, "No space left on device")
        write_json(*arguments, **keywords)

    full = [*[False] * 9, True, False, True, True]
    monkeypatch.setattr(module, "write_json", full_now_and_then)
    monkeypatch.setattr(module, "PAUSE", 0)
    with status.reporting("training", data):
        for _ in range(4):
            tried.get(timeout=patience())
            status.update("training a")
        next_with(written, doing="training a")
    path = data / "status" / "training.json"
    line = f"training  | cannot write {path}: No space left on device. The stage goes on."
    assert [one.split(" ", 1)[1] for one in capsys.readouterr().out.splitlines()] == [line, line]


def test_a_stage_works_without_a_status_folder(data, start):
    make_raw_dataset(data / "raw_dataset" / "colours")
    (data / "status").write_text("in the way")
    process = start("data_ingestion.py", "--data", data, "--once", "--settle", "0")
    process.wait_for("ingested as dataset")
    assert process.end() == 0
    warnings = [line for line in process.lines if "status/ingestion.json" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith("ingestion.json: File exists. The stage goes on.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_that_was_stopped_says_so_and_one_that_was_killed_cannot(data, start, number):
    process = start("data_ingestion.py", "--data", data)
    process.wait_for("watching")
    process.end(number)
    doing = on_disk(data, "ingestion").get("doing")
    assert (doing == "stopped") == (number == signal.SIGTERM)
