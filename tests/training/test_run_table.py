"""`python run_queue.py`: the table of all runs, whatever the stages are doing."""

import fcntl
import json
import subprocess
import sys

import pytest

import constants
import run_queue
from constants import ROOT
from helper import whole_file
from pipeline.artifacts import ledger, safe_pickle
from pipeline.training import run_table, training_state
from pipeline.training.run_queue import RunQueue

SETS = {"long": "epochs = 40\npriority = 2\n", "short": "epochs = 10\n"}


class Place:
    """A data folder, a models folder and a sets folder: 2 datasets x 1 model x 2 sets."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        for name in ("models", "sets", "data/dataset", "data/model_checkpoints"):
            (folder / name).mkdir(parents=True)
        (folder / "models" / "tiny.py").write_text(
            "PRIORITY = 7\ndef build_model(shape, n): pass\n"
        )
        for name, text in SETS.items():
            (folder / "sets" / f"{name}.toml").write_text(text)
        for year in (2021, 2022):
            path = self.data / "dataset" / f"{year}-06-08 20:57:20.868637.pkl"
            safe_pickle.publish(path, {"year": year}, {"counts": {"train": 100}})

    def options(self):
        return ["--data", str(self.data), "--models-folder", str(self.folder / "models"),
                "--hyperparameters-folder", str(self.folder / "sets")]  # fmt: skip

    def runs(self):
        return RunQueue(self.data, self.folder / "models", self.folder / "sets").look()

    def record(self, name, entries):
        with whole_file(self.data / name) as file:
            file.write(ledger._dump(entries))

    def table(self):
        return run_table.rows(self.runs(), self.data)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def trained(run, **more):
    figures = {
        "model": run.model.name,
        "seconds": 20.0,
        "images": 100,
        "epochs": 10,
        "accuracy": 0.9,
    }
    return {"state": "trained", "name": run.plain_name, **figures, **more}


def test_with_nothing_done_all_runs_wait_in_their_order(place):
    assert [(row.dataset[:4], row.hyperparameter_set, row.state) for row in place.table()] == [
        ("2022", "long", "waiting"),
        ("2022", "short", "waiting"),
        ("2021", "long", "waiting"),
        ("2021", "short", "waiting"),
    ]
    assert {(row.priority, row.eta) for row in place.table()} == {("7/2", None), ("7/0", None)}


def test_each_state_comes_from_what_is_on_disk(place):
    runs = place.runs()
    checkpoints = place.data / "model_checkpoints"
    for run in runs[:2]:
        (checkpoints / f"{run.plain_name}.pkl").write_bytes(b"")
    place.record(
        constants.TRAINING_RECORD,
        {
            runs[0].key: trained(runs[0]),
            runs[1].key: trained(runs[1]),
            runs[2].key: {
                "state": "failed",
                "name": runs[2].plain_name,
                "reason": "ValueError: no",
            },
        },
    )
    place.record(
        constants.ANALYSIS_RECORD,
        {"digest": {"state": "analyzed", "run": runs[0].plain_name, "accuracy": 0.875}},
    )
    training_state.save(checkpoints / runs[3].plain_name, runs[3].key, 4, {})
    log = checkpoints / runs[3].plain_name / "training.log"
    log.write_text("")
    with open(log) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [(row.state, row.epochs_done, row.result) for row in place.table()] == [
            ("analyzed", 10, "test accuracy 0.875"),
            ("trained", 10, "validation accuracy 0.900"),
            ("failed", 0, "ValueError: no"),
            ("running", 4, ""),
        ]
    assert place.table()[3].state == "waiting"  # whoever held the lock is gone
    (checkpoints / f"{runs[0].plain_name}.pkl").unlink()
    assert place.table()[0].state == "waiting"


def test_the_time_to_come_is_learned_from_past_runs_of_the_model(place):
    runs = place.runs()
    (place.data / "model_checkpoints" / f"{runs[1].plain_name}.pkl").write_bytes(b"")
    place.record(constants.TRAINING_RECORD, {runs[1].key: trained(runs[1])})
    training_state.save(place.data / "model_checkpoints" / runs[0].plain_name, runs[0].key, 30, {})
    # 20 s for 100 images in 10 epochs: 2 s an epoch; 10 are left of the first, then 40, then 10.
    assert [row.eta for row in place.table()] == [
        pytest.approx(20), None, pytest.approx(100), pytest.approx(120)
    ]  # fmt: skip


def test_the_eta_counts_as_many_at_a_time_as_run_now(place):
    runs, checkpoints = place.runs(), place.data / "model_checkpoints"
    place.record(constants.TRAINING_RECORD, {"gone": trained(runs[0])})
    locks = []
    for run in runs[:2]:
        (checkpoints / run.plain_name).mkdir()
        locks.append(open(checkpoints / run.plain_name / "training.log", "w"))  # noqa: SIM115
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
    # 40, 10, 40 and 10 epochs of 2 s each: the third takes the place of the second.
    assert [row.eta for row in place.table()] == pytest.approx([80, 20, 100, 100])
    for lock in locks:
        lock.close()


def test_an_entry_without_figures_is_shown_without(place):
    run = place.runs()[0]
    (place.data / "model_checkpoints" / f"{run.plain_name}.pkl").write_bytes(b"")
    bare = {"state": "trained", "name": run.plain_name, "accuracy": None}
    place.record(constants.TRAINING_RECORD, {run.key: bare})
    assert (place.table()[0].state, place.table()[0].result) == ("trained", "")


def test_entries_and_counts_of_another_type_are_not_known(place):
    run = place.runs()[0]
    (place.data / "model_checkpoints" / f"{run.plain_name}.pkl").write_bytes(b"")
    strange = {"state": "trained", "name": run.plain_name, "accuracy": "0.9", "epochs": [3]}
    strange |= {"model": 7, "seconds": "1", "images": 0}
    entries = {run.key: strange, "a": {"state": ["failed"]}, "b": {"images": 0, "epochs": 0}}
    place.record(constants.TRAINING_RECORD, entries)
    for path in (place.data / "dataset").glob("*.json"):
        path.write_text('{"counts": [30, 9]}')
    table = place.table()
    assert [(row.state, row.result, row.eta) for row in table] == [
        ("trained", "", None),
        *[("waiting", "", None)] * 3,
    ]
    assert run_table.as_text(table)


def test_an_analysis_without_a_figure_is_shown_without(place):
    run = place.runs()[0]
    (place.data / "model_checkpoints" / f"{run.plain_name}.pkl").write_bytes(b"")
    place.record(constants.TRAINING_RECORD, {run.key: trained(run)})
    entry = {"run": run.plain_name, "state": "analyzed", "accuracy": [1]}
    place.record(constants.ANALYSIS_RECORD, {"digest": entry})
    assert (place.table()[0].state, place.table()[0].result) == ("analyzed", "")


def test_a_damaged_record_is_left_alone(place):
    path = place.data / constants.TRAINING_RECORD
    path.write_bytes(b"damaged")
    assert len(place.table()) == 4
    assert path.read_bytes() == b"damaged"


def test_printing_changes_nothing(place, capsys):
    def state():
        return {path: path.stat().st_mtime_ns for path in place.folder.rglob("*")}

    before = state()
    assert run_queue.main(place.options()) == 0
    assert state() == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "dataset",
        "model",
        "set",
        "state",
        "priority",
        "epochs",
        "ETA",
        "result",
    ]
    assert lines[1].split() == [
        "2022-06-08",
        "20:57:20.868637",
        "tiny",
        "long",
        "waiting",
        "7/2",
        "0/40",
    ]
    assert len(lines) == 5


def test_json_is_for_programs_and_names_problems(place):
    (place.folder / "sets" / "wrong.toml").write_text("epoch = 1\n")
    shown = subprocess.run(
        [sys.executable, ROOT / "run_queue.py", *place.options(), "--json"],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 1
    content = json.loads(shown.stdout)
    assert len(content["runs"]) == 4
    assert content["runs"][0]["state"] == "waiting"
    assert 'unknown key "epoch"' in content["problems"][0]


def test_times_are_said_in_words():
    assert [run_table.in_words(seconds) for seconds in (4, 89, 600, 7200)] == [
        "4 s", "89 s", "10 min", "2.0 h"
    ]  # fmt: skip


def test_odd_names_stay_on_their_line(place):
    (place.folder / "models" / "a\nb\x1b.py").write_text("# odd\ndef build_model(shape, n): pass\n")
    assert len(run_table.as_text(place.table()).splitlines()) == 9


def test_before_anything_was_ever_dropped_there_is_just_the_head(tmp_path, capsys):
    assert run_queue.main(["--data", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
