import csv
import errno
import json
import os
import pickle
import re
import shutil
import signal

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import constants
import model_analysis
from helper import UserError, sha256_of
from pipeline.analysis import metrics, run_results
from pipeline.analysis.evaluation import Evaluator
from pipeline.artifacts.dataset import display_name
from pipeline.artifacts.metadata import Report
from testkit.checkpoints import put_checkpoint, put_copy_of_dataset

pytestmark = pytest.mark.slow


def analyze(data):
    return model_analysis.main(["--data", str(data), "--once"])


def report(data, name):
    return json.loads((data / "model_analysis_results" / f"{name}.json").read_text())


def test_pictures_and_figures_appear_under_their_names(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset)
    assert analyze(data) == 0
    results = data / "model_analysis_results"
    assert sorted(path.name for path in results.iterdir()) == [
        f"{dataset}.json",
        f"confusion_matrix_{dataset}.pkl.png",
        "leaderboard.csv",
        "leaderboard.png",
        f"plot_model_{dataset}.pkl.png",
        f"predictions_{dataset}.csv",
        f"predictions_{dataset}.npz",
        f"visualize_errors_{dataset}.pkl.png",
    ]
    said = capsys.readouterr().out
    assert f"{display_name(dataset, 'colours')}: analyzed in " in said
    assert f"{metrics.in_words(report(data, dataset))}, 3 pictures" in said


def test_tensorboard_gets_the_test_beside_the_curves_of_its_run(data, dataset, capsys):
    for number, name in enumerate(("trained here", "dropped in", "in the way")):
        put_checkpoint(data, name, dataset, seed=number)
    folder = data / "model_checkpoints"
    (folder / "trained here" / "logs").mkdir(parents=True)
    (folder / "in the way" / "logs").mkdir(parents=True)
    (folder / "in the way" / "logs" / "test").write_text("a file of mine")
    assert analyze(data) == 0
    events = EventAccumulator(str(folder / "trained here" / "logs" / "test"))
    events.Reload()
    [point] = events.Tensors("epoch_accuracy")
    assert point.step == 1  # the second epoch is the best
    told = float(make_ndarray(point.tensor_proto))
    assert told == pytest.approx(report(data, "trained here")["accuracy"])
    assert not (folder / "dropped in").exists()
    assert (folder / "in the way" / "logs" / "test").read_text() == "a file of mine"
    assert "logs does not get the test accuracy: File exists." in capsys.readouterr().out


def test_a_checkpoint_whose_name_is_too_long_is_named_and_in_nobodys_way(data, dataset, capsys):
    put_checkpoint(data, "a" * 222, dataset)
    put_checkpoint(data, "b" * 221, dataset, seed=1)
    assert analyze(data) == 1
    assert report(data, "b" * 221)["test_images"] == 15
    assert len(predictions(data, "b" * 221)[0]) == 15
    assert (
        f"{'a' * 222}: its name has 222 bytes, expected 221 at the most, as files are named after"
        " it. Give it and the .json beside it a shorter one." in capsys.readouterr().out
    )
    for ending in (".pkl", ".json"):
        path = data / "model_checkpoints" / f"{'a' * 222}{ending}"
        path.rename(path.with_name(f"a{ending}"))
    assert analyze(data) == 0
    assert report(data, "a")["test_images"] == 15


def test_it_tells_what_it_does_and_how_far_it_is(data, dataset, told):
    put_checkpoint(data, dataset, dataset)
    analyze(data)
    doing = f"analyzing {display_name(dataset, 'colours')}"
    assert told[-3:] == [(doing, ""), (doing, "15 of 15 images"), ("stopped", "")]


def test_the_figures_are_those_of_the_model_on_the_test_split(data, dataset):
    path = put_checkpoint(data, dataset, dataset)
    analyze(data)
    with open(path, "rb") as file:
        model = pickle.load(file)["model"]
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        test = pickle.load(file)["test"]
    predicted = model.predict(test["img"], verbose=0).argmax(1)
    figures = report(data, dataset)
    assert figures["accuracy"] == pytest.approx((predicted == test["label"]).mean())
    assert figures["errors"] == int((predicted != test["label"]).sum())
    assert figures["test_images"] == 15
    assert [row["class"] for row in figures["classes"]] == ["blue", "green", "red"]
    f1 = f1_score(test["label"], predicted, average=None, labels=[0, 1, 2], zero_division=np.nan)
    for row, expected in zip(figures["classes"], f1, strict=True):
        assert row["f1"] == (None if np.isnan(expected) else pytest.approx(expected))
    recall = np.diag(confusion_matrix(test["label"], predicted, labels=[0, 1, 2])) / 5
    assert [row["recall"] for row in figures["classes"]] == pytest.approx(list(recall))
    assert 0 <= figures["calibration_error"] <= 1
    assert figures["dataset_sha256"] == sha256_of(data / "dataset" / f"{dataset}.pkl")


def predictions(data, name):
    """The table and the arrays."""
    folder = data / "model_analysis_results"
    with open(folder / f"predictions_{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(folder / f"predictions_{name}.npz", allow_pickle=False) as arrays:
        return rows, dict(arrays)


def test_the_predictions_are_those_of_the_model_on_each_test_image(data, dataset):
    path = put_checkpoint(data, dataset, dataset)
    analyze(data)
    with open(path, "rb") as file:
        model = pickle.load(file)["model"]
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        test = pickle.load(file)["test"]
    rows, arrays = predictions(data, dataset)
    expected = model.predict(test["img"], verbose=0)
    assert arrays.keys() == {"probabilities", "labels", "class_names"}
    assert (arrays["probabilities"].dtype, arrays["labels"].dtype) == (np.float32, np.int64)
    assert arrays["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(arrays["labels"], test["label"])
    assert arrays["class_names"].tolist() == ["blue", "green", "red"]
    assert [row["file"] for row in rows] == [f"test/{i:06d}.png" for i in range(15)]
    assert [row["true"] for row in rows] == [arrays["class_names"][i] for i in test["label"]]
    assert [row["predicted"] for row in rows] == [
        arrays["class_names"][i] for i in expected.argmax(1)
    ]
    for column, values in (
        ("confidence", expected.max(1)),
        ("true_probability", expected[np.arange(15), test["label"]]),
    ):
        assert [float(row[column]) for row in rows] == pytest.approx(values.tolist(), abs=2e-6)
    said = Report.of(dataset, report(data, dataset))
    assert f"{said.outcomes:015b}" == "".join(
        str(int(row["true"] == row["predicted"])) for row in rows
    )
    assert report(data, dataset)["predictions"] == [
        f"predictions_{dataset}.csv",
        f"predictions_{dataset}.npz",
    ]


def test_the_report_appears_after_all_that_it_names(data, dataset, monkeypatch):
    names, replace = [], os.replace

    def named(source, target):
        names.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", named)
    put_checkpoint(data, dataset, dataset)
    analyze(data)
    said = report(data, dataset)
    named_in_it = {*said["pictures"], *said["predictions"]}
    assert len(named_in_it) == 5
    assert named_in_it <= set(names[: names.index(f"{dataset}.json", 2)])


def remove(table):
    table.unlink()


def forget_a_row(table):
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:3]))


def name_other_images(table):
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *(line[:-2] + "x\n" for line in lines[1:])]))


@pytest.mark.parametrize("change", [remove, forget_a_row, name_other_images])
def test_a_dataset_without_a_table_that_fits_has_numbers_for_names(data, dataset, change):
    """Datasets of before have none."""
    change(data / "dataset" / f"{dataset}.csv")
    put_checkpoint(data, dataset, dataset)
    assert analyze(data) == 0
    rows, _ = predictions(data, dataset)
    assert [row["file"] for row in rows] == [str(i) for i in range(15)]
    assert [row["true"] for row in rows] == ["blue", "green", "red"] * 5


def test_the_mistakes_are_drawn_with_the_names_of_their_files(data, dataset):
    put_checkpoint(data, f"{dataset}__a__a", dataset)
    analyze(data)
    (data / "dataset" / f"{dataset}.csv").unlink()
    put_checkpoint(data, f"{dataset}__b__b", dataset, {"again": 1})
    analyze(data)
    assert report(data, f"{dataset}__a__a")["errors"] > 0
    tall, low = (
        Image.open(data / "model_analysis_results" / f"visualize_errors_{dataset}{pair}.pkl.png")
        for pair in ("__a__a", "__b__b")
    )
    assert tall.height > low.height
    assert tall.width == low.width


def test_a_checkpoint_knows_its_classes_where_the_dataset_does_not_say_them(data, dataset):
    (data / "dataset" / f"{dataset}.json").unlink()
    names = ["cat", "dog", "eel"]
    form = {"image_size": [32, 32], "channels": "RGB", "dtype": "uint8", "range": [0, 255]}
    put_checkpoint(data, dataset, dataset, {"class_names": names, "input": form})
    put_checkpoint(data, f"{dataset}__of__before", dataset, seed=1)
    assert analyze(data) == 0
    said = report(data, dataset)
    assert [row["class"] for row in said["classes"]] == names
    assert (said["trained"]["class_names"], said["trained"]["input"]) == (names, form)
    assert predictions(data, dataset)[1]["class_names"].tolist() == names
    said = report(data, f"{dataset}__of__before")
    assert [row["class"] for row in said["classes"]] == ["0", "1", "2"]
    assert not {"class_names", "input"} & said["trained"].keys()


def test_each_picture_says_what_it_shows(data, dataset):
    put_checkpoint(data, dataset, dataset)
    analyze(data)
    pictures = list((data / "model_analysis_results").glob("*.pkl.png"))
    assert len(pictures) == 3
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.text["Run"] == dataset
            assert sha256_of(data / "dataset" / f"{dataset}.pkl") in picture.text["Dataset"]
            assert json.loads(picture.text["Settings"]) == {"epochs": 2}


def test_nothing_is_done_twice_whatever_becomes_of_the_record(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset)
    record = data / constants.ANALYSIS_RECORD
    for damage in (
        lambda: None,
        lambda: None,
        record.unlink,
        lambda: record.write_bytes(b"damaged"),
    ):
        damage()
        assert analyze(data) == 0
    assert capsys.readouterr().out.count(": analyzed in") == 1


def test_a_deleted_result_is_made_again(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset)
    analyze(data)
    for path in (data / "model_analysis_results").iterdir():
        path.unlink()
    assert analyze(data) == 0
    assert capsys.readouterr().out.count(": analyzed in") == 2


def board(data):
    return pandas.read_csv(data / "model_analysis_results" / "leaderboard.csv")


def test_the_leaderboard_follows_each_analysis_and_each_deletion(data, dataset, start):
    put_checkpoint(data, f"{dataset}__a__a", dataset, seed=1)
    stage = start("model_analysis.py", "--data", data)
    stage.wait_for("__a__a: analyzed in")
    path = put_checkpoint(data, f"{dataset}__b__b", dataset, seed=2)
    stage.wait_for("__b__b: analyzed in")
    path.unlink()
    (data / "model_analysis_results" / f"{dataset}__b__b.json").unlink()
    put_checkpoint(data, f"{dataset}__c__c", dataset, seed=3)
    stage.wait_for("__c__c: analyzed in")
    stage.end(signal.SIGINT)
    analyze(data)  # finishes the board, should it have been stopped before
    assert sorted(board(data).run) == [f"{dataset}__a__a", f"{dataset}__c__c"]
    for row in board(data).itertuples():
        assert row.accuracy == pytest.approx(report(data, row.run)["accuracy"], abs=1e-6)


def test_a_result_that_is_not_on_record_is_entered_and_not_made_again(data, dataset, capsys):
    put_checkpoint(data, f"{dataset}__a__a", dataset, seed=1)
    analyze(data)
    record = data / constants.ANALYSIS_RECORD
    before = record.read_bytes()
    put_checkpoint(data, dataset, dataset)
    analyze(data)
    complete = record.read_bytes()
    record.write_bytes(before)  # as if the stage had died just before it entered the second
    capsys.readouterr()
    analyze(data)
    assert ": analyzed in" not in capsys.readouterr().out
    assert record.read_bytes() == complete


def test_dying_before_the_record_gives_no_second_result(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset)
    analyze(data)
    (data / constants.ANALYSIS_RECORD).unlink()
    (data / "model_analysis_results" / f"{dataset}.json").rename(data / "aside.json")
    analyze(data)  # died before the .json, which comes last: done again
    assert capsys.readouterr().out.count(": analyzed in") == 2


def test_the_newest_dataset_goes_first_and_then_the_priorities(data, dataset, capsys):
    old = "2001-01-01 00:00:00.000000"
    put_copy_of_dataset(data, dataset, old)
    for place, model, model_priority, chosen, set_priority in [
        (old, "z", 9, "z", 9),
        (dataset, "z", 0, "a", 3),
        (dataset, "c", 1, "a", 3),
        (dataset, "c", 1, "b", 7),
    ]:
        run = {"model": model, "model_priority": model_priority}
        run |= {"hyperparameter_set": chosen, "settings": {"priority": set_priority}}
        put_checkpoint(data, f"{place}__{model}__{chosen}", place, run)
    assert analyze(data) == 0
    said = re.findall(r"__(\w)__(\w): analyzed in", capsys.readouterr().out)
    assert said == [("c", "b"), ("c", "a"), ("z", "a"), ("z", "z")]


def test_a_copy_under_another_name_is_no_new_checkpoint(data, dataset, capsys):
    path = put_checkpoint(data, dataset, dataset)
    for ending in (".pkl", ".json"):
        shutil.copy(path.with_suffix(ending), path.with_name("a copy" + ending))
    assert analyze(data) == 0
    assert capsys.readouterr().out.count(": analyzed in") == 1


def test_a_checkpoint_without_description_finds_its_dataset_by_name(data, dataset):
    path = put_checkpoint(data, f"{dataset}__mine__long", dataset)
    path.with_suffix(".json").unlink()
    assert analyze(data) == 0
    assert report(data, path.stem)["dataset"] == dataset


def test_a_renamed_dataset_is_found_by_its_content(data, dataset):
    put_checkpoint(data, dataset, dataset)
    for ending in (".pkl", ".json"):
        (data / "dataset" / f"{dataset}{ending}").rename(data / "dataset" / f"renamed{ending}")
    assert analyze(data) == 0
    assert report(data, dataset)["dataset"] == "renamed"


def test_a_missing_dataset_is_waited_for(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset)
    path = data / "dataset" / f"{dataset}.pkl"
    path.rename(data / "aside.pkl")
    assert analyze(data) == 1
    assert f"{dataset}: waits for its dataset {dataset}, which is not in" in capsys.readouterr().out
    (data / "aside.pkl").rename(path)
    assert analyze(data) == 0


class Evil:
    def __reduce__(self):
        return (open, ("proof", "w"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"model": 3, "history": {}},
            'is no checkpoint: a dict with "model" and "history" was expected.',
        ),
        ([1, 2], 'is no checkpoint: a dict with "model" and "history" was expected.'),
        (Evil(), "asks for io.open, which this project never writes. Not loaded."),
    ],
)
def test_a_bad_checkpoint_is_named_and_does_not_stand_in_the_way(
    data, dataset, capsys, content, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (data / "model_checkpoints" / f"{dataset}__z__z.pkl").write_bytes(pickle.dumps(content))
    put_checkpoint(data, dataset, dataset)
    assert analyze(data) == 1
    said = capsys.readouterr().out
    assert sentence in said
    assert f"{display_name(dataset, 'colours')}: analyzed in" in said
    assert not (tmp_path / "proof").exists()
    analyze(data)
    assert sentence not in capsys.readouterr().out  # not tried again until its content changes


def test_a_model_for_other_images_is_a_sentence(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset, size=16)
    assert analyze(data) == 1
    assert "takes (None, 16, 16, 3) and gives (None, 3); its dataset needs (None, 32, 32, 3)" in (
        capsys.readouterr().out
    )


def test_a_damaged_checkpoint_is_noticed(data, dataset, capsys):
    path = put_checkpoint(data, dataset, dataset)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert analyze(data) == 1
    sentence = "is damaged: its SHA-256 is not the one in"
    assert sentence in capsys.readouterr().out
    for _ in range(2):  # another process knows it, too
        [(run, problem)] = problems(data).items()
        assert run == dataset
        assert sentence in problem
        assert analyze(data) == 1
    path.unlink()
    assert analyze(data) == 0
    assert problems(data) == {}


def problems(data):
    """What the status of analysis says is wrong, by run."""
    return json.loads((data / "status" / "analysis.json").read_text())["problems"]


def test_a_checkpoint_that_cannot_be_read_for_now_stops_no_other(
    data, dataset, capsys, monkeypatch
):
    put_checkpoint(data, f"{dataset}__z__z", dataset, {"model_priority": 9}, seed=1)
    put_checkpoint(data, dataset, dataset)
    evaluate = Evaluator.evaluate

    def evaluate_on_a_bad_disk(self, path, *arguments):
        if path.stem.endswith("z"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return evaluate(self, path, *arguments)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate_on_a_bad_disk)
    assert analyze(data) == 1
    said = capsys.readouterr().out
    assert said.count("__z__z: cannot be read: Input/output error. Make it readable.") == 1
    assert f"{display_name(dataset, 'colours')}: analyzed in" in said
    monkeypatch.undo()
    assert analyze(data) == 0
    assert f"{display_name(dataset, 'colours')}__z__z: analyzed in" in capsys.readouterr().out


def test_a_fault_with_one_checkpoint_stops_no_other(data, dataset, capsys, monkeypatch):
    put_checkpoint(data, f"{dataset}__z__z", dataset, seed=1)
    put_checkpoint(data, dataset, dataset)
    draw = run_results.draw

    def draw_with_a_fault(report, *arguments):
        if report["run"].endswith("z"):
            raise ZeroDivisionError("a fault")
        return draw(report, *arguments)

    monkeypatch.setattr(run_results, "draw", draw_with_a_fault)
    assert analyze(data) == 1
    said = capsys.readouterr().out
    assert f"{display_name(dataset, 'colours')}__z__z: failed: ZeroDivisionError: a fault" in said
    assert "Traceback" in said
    assert f"{display_name(dataset, 'colours')}: analyzed in" in said


@pytest.mark.parametrize("fault", [TypeError("incompatible arguments"), UserError("damaged")])
def test_a_stop_that_a_library_made_a_fault_of_is_a_stop(data, dataset, capsys, monkeypatch, fault):
    def draw_while_asked_to_stop(*_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise fault from None

    put_checkpoint(data, dataset, dataset)
    monkeypatch.setattr(run_results, "draw", draw_while_asked_to_stop)
    assert analyze(data) == 130
    assert "failed" not in capsys.readouterr().out
    monkeypatch.undo()
    (data / "model_checkpoints" / f"{dataset}__bad__x.pkl").write_bytes(b"bad")
    assert analyze(data) == 1
    said = capsys.readouterr().out
    assert f"{display_name(dataset, 'colours')}: analyzed in" in said
    assert f"{display_name(dataset, 'colours')}__bad__x: failed" in said


def test_a_long_list_of_checkpoints_is_said_in_one_line_each_and_nothing_else(data, dataset, start):
    for seed in range(7):
        put_checkpoint(data, f"{dataset}__m__{seed}", dataset, seed=seed)
    stage = start("model_analysis.py", "--data", data, "--once")
    assert stage.end() == 0
    assert len(stage.lines) == 8
    assert "watching" in stage.lines[0]
    assert all(": analyzed in" in line for line in stage.lines[1:])
