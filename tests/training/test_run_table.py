"""`python run_queue.py`: the table of all runs, whatever the stages are doing."""

import fcntl
import json
import random
import re
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

import constants
import run_queue
from constants import ROOT
from helper import whole_file
from pipeline import data_folder, run_warnings
from pipeline.artifacts import ledger, safe_pickle
from pipeline.artifacts.metadata import RunState
from pipeline.training import run_table, time_left, training_state
from pipeline.training.run_queue import RunQueue
from pipeline.training.run_table import RunTable

SETS = {
    "long": "epochs = 40\npriority = 2\nvalidation_split = 0.0\nearly_stopping_patience = 0\n",
    "short": "epochs = 10\nvalidation_split = 0.0\nearly_stopping_patience = 0\n",
}


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
        return RunTable(self.data).refresh(self.runs())


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
    assert {(row.model_priority, row.set_priority, row.eta) for row in place.table()} == {
        (7, 2, None),
        (7, 0, None),
    }


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
        table = place.table()
    assert [(row.state, row.epochs_done, row.cells()[-1]) for row in table] == [
        ("analyzed", 10, "test accuracy 0.875"),
        ("trained", 10, "validation accuracy 0.900"),
        ("failed", 0, "ValueError: no"),
        ("running", 4, ""),
    ]
    assert [(row.validation_accuracy, row.test_accuracy, row.reason) for row in table] == [
        (0.9, 0.875, ""),
        (0.9, None, ""),
        (None, None, "ValueError: no"),
        (None, None, ""),
    ]
    assert [(row.name, row.key) for row in table] == [(run.plain_name, run.key) for run in runs]
    assert all(type(row.state) is RunState for row in table)
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


def past(run, seconds, fitted, **more):
    """What a checkpoint says of a run that took so long for 10 epochs, beside 4 s for its start."""
    work = vars(time_left.work_of(run)) | {"fitted": fitted, "validated": 0, "passed": 0, **more}
    durations = {"start": 4.0, "frozen_part": 0.0, "epochs": seconds}
    return trained(run, work={**work, "durations": durations}, seconds=seconds + 4, epochs=10)


def test_the_eta_counts_images_by_set_size_and_precision_and_the_start_of_each_run(place):
    for path in (place.data / "dataset").glob("*.json"):
        path.write_text(path.read_text().replace('"train": 100', '"train": 300'))
        said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, "image_size": 32}))
    runs = place.runs()
    place.record(
        constants.TRAINING_RECORD,
        {
            "a": past(runs[0], 60.0, 100, epochs=10),  # 0.06 s for an image
            "b": past(runs[1], 20.0, 100),  # 0.02 s
            "c": past(runs[0], 999.0, 100, precision="float32"),
            "d": past(runs[0], 999.0, 100, image_size=64),
        },
    )
    # 40 epochs of 300 images at 0.06 s and a start of 4 s; then 10 at 0.02 s; the same for 2021.
    assert [row.eta for row in place.table()] == pytest.approx([724, 788, 1512, 1576])


def test_the_first_epoch_of_a_run_gives_a_guess_for_all_that_wait_for_its_model(place, capsys):
    runs, checkpoints = place.runs(), place.data / "model_checkpoints"
    state = {"durations": {"start": 5.0, "frozen_part": 0.0, "epochs": 3.0}}
    training_state.save(checkpoints / runs[0].plain_name, runs[0].key, 1, state)
    log = checkpoints / runs[0].plain_name / "training.log"
    log.write_text("")
    with open(log) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [row.eta for row in place.table()] == pytest.approx([117, 152, 277, 312])
        run_queue.main(place.options())
    assert re.search(
        r"^3 waiting, 1 running, done about .*\d\d:\d\d$", capsys.readouterr().out, re.M
    )
    # Paused: the process that goes on with it has to start, too.
    assert [row.eta for row in place.table()] == pytest.approx([122, 157, 282, 317])


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
    assert (place.table()[0].state, place.table()[0].cells()[-1]) == ("trained", "")


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
    assert [(row.state, row.cells()[-1], row.eta) for row in table] == [
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
    assert (place.table()[0].state, place.table()[0].cells()[-1]) == ("analyzed", "")


def test_an_accuracy_is_shown_with_its_interval_and_beside_guessing(place):
    run = place.runs()[0]
    (place.data / "model_checkpoints" / f"{run.plain_name}.pkl").write_bytes(b"")
    place.record(constants.TRAINING_RECORD, {run.key: trained(run)})
    entry = {"run": run.plain_name, "state": "analyzed", "accuracy": 0.95, "test_images": 280}
    place.record(constants.ANALYSIS_RECORD, {"digest": {**entry, "no_better_than_guessing": True}})
    row = place.table()[0]
    assert row.cells()[-1] == ("test accuracy 0.950 (0.918-0.970 of 280), no better than guessing")
    assert row.test_interval == pytest.approx((0.918, 0.970), abs=0.001)


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
    assert lines[5:] == ["4 waiting"]


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
    assert content["runs"][0] == {
        "name": place.runs()[0].plain_name,
        "key": place.runs()[0].key,
        "dataset": "2022-06-08 20:57:20.868637",
        "model": "tiny",
        "hyperparameter_set": "long",
        "model_priority": 7,
        "set_priority": 2,
        "state": "waiting",
        "epochs_done": 0,
        "epochs": 40,
        "eta": None,
        "validation_accuracy": None,
        "test_accuracy": None,
        "test_interval": None,
        "test_images": None,
        "no_better_than_guessing": False,
        "reason": "",
        "warnings": [],
        "dataset_name": "",
        "dataset_time": "2022-06-08 20:57:20.868637",
        "requested_priority": 0,
        "hidden": False,
        "note": "",
    }
    assert 'unknown key "epoch"' in content["problems"][0]


def test_what_several_seeds_reach_is_said_with_mean_and_spread(place, capsys):
    (place.folder / "sets" / "long.toml").unlink()
    (place.folder / "sets" / "short.toml").write_text("epochs = 10\nseeds = [0, 5, 1, 2]\n")
    runs = place.runs()[:3]
    entries = {}
    for run, accuracy in zip(runs, (0.5, 0.75, 1.0), strict=True):
        (place.data / "model_checkpoints" / f"{run.plain_name}.pkl").write_bytes(b"")
        entries[run.plain_name] = {"state": "analyzed", "run": run.plain_name, "accuracy": accuracy}
    place.record(constants.TRAINING_RECORD, {run.key: trained(run) for run in runs})
    place.record(constants.ANALYSIS_RECORD, entries)
    assert run_queue.main(place.options()) == 0
    line = "2022-06-08 20:57:20.868637 tiny short: test accuracy 0.750 +- 0.250 (0.500-1.000) over 3 seeds"
    assert line in capsys.readouterr().out.splitlines()
    assert run_queue.main([*place.options(), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    names = {"dataset_name": "", "model": "tiny", "hyperparameter_set": "short"}
    spread = {"count": 3, "mean": 0.75, "deviation": 0.25, "low": 0.5, "high": 1.0}
    assert content["over_seeds"] == [
        {
            "dataset": f"{year}-06-08 20:57:20.868637",
            **names,
            "seeds": [0, 5, 1, 2],
            "test_accuracy": spread if year == 2022 else None,
        }
        for year in (2022, 2021)
    ]
    assert [row["hyperparameter_set"] for row in content["runs"][:4]] == [
        f"short__seed{seed}" for seed in (0, 5, 1, 2)
    ]


def test_what_makes_a_runs_figures_mislead_is_in_its_row(place):
    runs = place.runs()[:3]
    for run in runs:
        (place.data / "model_checkpoints" / f"{run.plain_name}.pkl").write_bytes(b"")
    early, without = ["ended early in epoch 5: NaN"], [run_warnings.NO_VALIDATION]
    warned = [{"warnings": early}, {"warnings": without, "validated": False}, {"warnings": early}]
    entries = {run.key: trained(run, **more) for run, more in zip(runs, warned, strict=True)}
    place.record(constants.TRAINING_RECORD, entries)
    analyzed = {"state": "analyzed", "run": runs[2].plain_name, "accuracy": 0.875}
    place.record(constants.ANALYSIS_RECORD, {"digest": analyzed})
    rows = place.table()[:3]
    assert [row.cells()[-1] for row in rows] == [
        "validation accuracy 0.900; ended early in epoch 5: NaN",
        "no validation: the best epoch is chosen by what it was fitted on",
        "test accuracy 0.875; ended early in epoch 5: NaN",
    ]
    plain = run_table.as_plain(rows)
    assert [list(row["warnings"]) for row in plain] == [early, without, early]
    assert plain[1]["validation_accuracy"] is None  # it is of the images that were fitted


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


class Life:
    """Changes that happen to a data folder, drawn at random."""

    def __init__(self, place, seed):
        self.place, self.draw = place, random.Random(seed)
        self.checkpoints = place.data / "model_checkpoints"
        self.records = {constants.TRAINING_RECORD: {}, constants.ANALYSIS_RECORD: {}}
        self.locks = []
        self.dropped = 0

    def change(self):
        changes = [name for name in vars(Life) if name.startswith("when_")]
        often = [name for name in changes if name.startswith("when_it_")]
        what = self.draw.choice([*changes, *often, *often])
        getattr(self, what)(self.draw.choice(self.place.runs()))
        return what

    def remove(self, path):
        """Remove a file that is dropped, if another one is left."""
        if len(list(path.parent.glob(f"*{path.suffix}"))) > 1:
            path.unlink()

    def enter(self, name, key, entry):
        if self.draw.random() < 0.5:
            self.records[name].pop(key, None)  # else it is replaced where it stands
        self.records[name][key] = entry
        self.place.record(name, self.records[name])

    def when_it_is_trained(self, run):
        name = run.name_in(self.checkpoints)
        (self.checkpoints / f"{name}.pkl").touch()
        seconds, accuracy = self.draw.randint(1, 99), self.draw.choice([0.5, 0.75, None])
        entry = trained(run, name=name, seconds=seconds, accuracy=accuracy)
        self.enter(constants.TRAINING_RECORD, run.key, entry)

    def when_it_fails(self, run):
        reason = self.draw.choice(["ValueError: no", "out of memory,\nkilled"])
        entry = {"state": "failed", "name": run.name_in(self.checkpoints), "reason": reason}
        self.enter(constants.TRAINING_RECORD, run.key, entry)

    def when_it_is_analyzed(self, run):
        entry = {"state": "analyzed", "run": run.plain_name, "accuracy": self.draw.random()}
        self.enter(constants.ANALYSIS_RECORD, str(self.draw.randint(1, 9)), entry)

    def when_its_test_fails(self, run):
        entry = {"state": "failed", "run": run.plain_name, "reason": "it hung"}
        self.enter(constants.ANALYSIS_RECORD, str(self.draw.randint(1, 9)), entry)

    def when_failed_ones_are_forgotten(self, run):
        entries = self.records[constants.TRAINING_RECORD]
        left = {key: entry for key, entry in entries.items() if entry["state"] != "failed"}
        self.records[constants.TRAINING_RECORD] = left
        self.place.record(constants.TRAINING_RECORD, left)

    def when_it_runs(self, run):
        folder = self.checkpoints / run.name_in(self.checkpoints)
        folder.mkdir(exist_ok=True)
        self.locks.append(open(folder / "training.log", "w"))  # noqa: SIM115
        with suppress(BlockingIOError):  # it runs already
            fcntl.flock(self.locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)

    def when_an_epoch_ends(self, run):
        folder = self.checkpoints / run.name_in(self.checkpoints)
        training_state.save(folder, run.key, self.draw.randint(1, 9), {})

    def when_those_that_run_stop(self, run=None):
        while self.locks:
            self.locks.pop().close()

    def when_its_checkpoint_goes(self, run):
        (self.checkpoints / f"{run.plain_name}.pkl").unlink(missing_ok=True)

    def when_its_folder_goes(self, run):
        self.when_those_that_run_stop()
        shutil.rmtree(self.checkpoints / run.plain_name, ignore_errors=True)

    def when_all_checkpoints_go(self, run):
        self.when_those_that_run_stop()
        shutil.rmtree(self.checkpoints)
        self.checkpoints.mkdir()

    def when_a_record_is_damaged(self, run):
        name = self.draw.choice(list(self.records))
        (self.place.data / name).write_bytes(b"damaged")

    def when_a_record_goes(self, run):
        name = self.draw.choice(list(self.records))
        self.records[name] = {}
        (self.place.data / name).unlink(missing_ok=True)

    def when_another_hand_writes_a_record(self, run):
        name = self.draw.choice(list(self.records))
        text = json.dumps(self.records[name], indent=self.draw.choice([None, 1]))
        (self.place.data / name).write_bytes(ledger._sealed(text))

    def when_a_dataset_comes(self, run):
        self.dropped += 1
        path = self.place.data / "dataset" / f"2023-06-08 20:57:20.{self.dropped:06}.pkl"
        safe_pickle.publish(path, {"number": self.dropped}, {"counts": {"train": 100}})

    def when_its_dataset_goes(self, run):
        self.remove(run.dataset.path)

    def when_a_model_comes(self, run):
        self.dropped += 1
        path = self.place.folder / "models" / f"m{self.dropped}.py"
        path.write_text(f"NUMBER = {self.dropped}\ndef build_model(shape, n): pass\n")

    def when_its_model_is_edited(self, run):
        self.dropped += 1
        run.model.path.write_text(f"PRIORITY = {self.dropped}\nN = {self.dropped // 2}\n")

    def when_its_model_goes(self, run):
        self.remove(run.model.path)

    def when_a_set_comes(self, run):
        self.dropped += 1
        text = f"epochs = {self.dropped + 100}\n"
        (self.place.folder / "sets" / f"s{self.dropped}.toml").write_text(text)

    def when_its_set_goes(self, run):
        self.remove(run.hyperparameters.path)


@pytest.mark.parametrize("seed", range(2))
def test_after_each_change_the_table_is_as_if_made_afresh(place, monkeypatch, seed):
    monkeypatch.setattr(data_folder, "CLOCK_TICK", 0.02)
    queue = RunQueue(place.data, place.folder / "models", place.folder / "sets")
    life, table = Life(place, seed), RunTable(place.data)
    table.refresh(queue.look())
    met, done = set(), []
    for _ in range(120):
        done.append(life.change())
        if life.draw.random() < 0.7:  # so that what has been read is relied on
            wait_until_settled(place.data)
        rows = table.refresh(queue.look())
        assert rows == place.table(), done[-5:]
        met |= {row.state for row in rows}
        if life.draw.random() < 0.3:
            assert table.refresh(queue.look()) == place.table(), done[-5:]
    assert met == {*RunState} - {RunState.CANCELLED}
    life.when_those_that_run_stop()


def wait_until_settled(data):
    paths = [data / "model_checkpoints", *data.glob("*.pkl")]
    while not all(data_folder.state_of(path)[1] for path in paths):
        pass


def test_what_goes_while_a_run_ends_is_seen_at_the_next_look(place):
    """The folder is not listed in the same refresh that reads a record."""
    life, table, (first, second, *_) = Life(place, 0), RunTable(place.data), place.runs()
    life.when_it_is_trained(first)
    assert [row.state for row in table.refresh(place.runs())][:2] == ["trained", "waiting"]
    life.when_its_checkpoint_goes(first)
    life.when_it_is_trained(second)
    assert table.refresh(place.runs())[1].state == "trained"
    assert table.refresh(place.runs())[0].state == "waiting"


def test_with_a_record_that_always_changes_the_folder_is_listed_every_other_time(place):
    life, table, (first, second, *_) = Life(place, 0), RunTable(place.data), place.runs()
    life.when_it_is_trained(first)
    table.refresh(place.runs())
    life.when_its_checkpoint_goes(first)
    for _ in range(2):
        life.when_it_is_trained(second)
        rows = table.refresh(place.runs())
    assert [row.state for row in rows][:2] == ["waiting", "trained"]


def test_rows_are_made_again_only_where_something_changed(place):
    life, table, runs = Life(place, 0), RunTable(place.data), place.runs()
    before = list(table.refresh(runs))
    life.when_it_is_trained(runs[1])
    after = table.refresh(runs)
    assert [new is old for new, old in zip(after, before, strict=True)] == [True, False, True, True]
