"""Descriptions, reports, states and entries: read by type, whatever they hold."""

import json
import math
import random

import pytest

from pipeline.artifacts import metadata
from pipeline.artifacts.checkpoint import run_in
from pipeline.artifacts.metadata import (
    AnalysisEntry,
    CheckpointDescription,
    CrossTested,
    DatasetDescription,
    IngestionEntry,
    Report,
    TrainingEntry,
    said_in,
)
from pipeline.json_values import json_object
from pipeline.stage.status import StageStatus
from prove.any_json import DATASET, anything, text_of

READERS = {
    "dataset": DatasetDescription.of,
    "checkpoint": CheckpointDescription.of,
    "report": lambda said: Report.of("x", said),
    "cross-tested": CrossTested.of,
    "status": StageStatus.of,
    "ingestion": IngestionEntry.of,
    "training": TrainingEntry.of,
    "analysis": AnalysisEntry.of,
    "run": run_in,
}
RUN = {"key": "k", "model": "m", "model_priority": 2, "seconds": 1.5, "images": 90, "epochs": 3}


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_raises_and_what_it_gives_can_be_compared_and_said(reader):
    draw = random.Random(reader)
    for _ in range(500):
        said = json_object(text_of({key: anything(draw) for key in _keys(draw)}))
        found = READERS[reader](said)
        assert found == READERS[reader](said)
        assert json.dumps(str(found))


def _keys(draw):
    known = [*DATASET, *RUN, "run", "metrics", "accuracy", "accuracies", "said", "pid", "problems"]
    known += [
        "tasks",
        "classes",
        "image_shape",
        "trained",
        "state",
        "name",
        "reason",
        "doing",
        "loss",
    ]
    return draw.sample(known, 9)


def test_a_description_is_read_as_it_was_written():
    found = DatasetDescription.of({**DATASET, "sha256": "s"})
    assert (found.class_names, found.image_size, found.train_images) == (("cat", "dog"), 8, 90)
    assert found.warnings == DATASET["warnings"]
    said = {"run": RUN, "metrics": {"accuracy": 0.5, "val_accuracy": 0.25}, "sha256": "s"}
    found = CheckpointDescription.of(said)
    assert (found.key, found.model, found.priorities, found.accuracy) == ("k", "m", (2, 0), 0.25)


@pytest.mark.parametrize("counts", [[30, 9], {"train": "30"}, {"train": -1}, {"train": 10**400}, 3])
def test_counts_of_another_type_are_not_known(counts):
    assert DatasetDescription.of({"counts": counts}).train_images is None


@pytest.mark.parametrize("metrics", [[1], "x", {"accuracy": "1"}, {"val_accuracy": math.nan}, None])
def test_metrics_of_another_type_are_not_known(metrics):
    found = CheckpointDescription.of({"run": {"key": "k"}, "metrics": metrics})
    assert (found.key, found.accuracy) == ("k", None)


def test_class_names_are_known_all_or_none():
    def names(some):
        return DatasetDescription.of({"class_names": some}).class_names

    assert names(["a", 7]) == ("a", "7")
    assert names(["a", [["b"]]]) == names(["a", None]) == names("ab") == ()


@pytest.mark.parametrize("name", ["../x", "/x", "", "..", "a\0b", 7, "x" * 222, "\u732b" * 74])
def test_a_name_in_a_record_leads_to_no_other_folder(name):
    assert TrainingEntry.of({"name": name}).name is None
    assert AnalysisEntry.of({"run": name}).run is None
    assert IngestionEntry.of({"dataset": name}).dataset is None


def test_of_a_run_in_a_pickle_only_what_json_can_hold_is_passed_on():
    run = {"key": "k", b"x": 1, "bytes": b"x", "nan": math.nan, "best_epoch": 1.5, "deep": [[]]}
    run["settings"] = {"epochs": 3, "odd": [1], 7: 8}
    assert run_in({"run": run}) == {"key": "k", "settings": {"epochs": 3}}
    assert run_in({"run": [1]}) == {"settings": {}}


def test_of_a_run_in_a_pickle_class_names_and_input_are_passed_on_as_far_as_they_are_such():
    form = {"image_size": [8, 8], "channels": "RGB", "range": [0, 255], "resize": "bilinear"}
    run = {"class_names": ["cat", "dog"], "input": form}
    assert run_in({"run": run}) == {**run, "settings": {}}
    odd = {"image_size": [8, -8], "range": [0, 1, 2], "channels": ["RGB"], "resize": "bilinear"}
    run = {"class_names": ["cat", None], "input": odd}
    assert run_in({"run": run}) == {"input": {"resize": "bilinear"}, "settings": {}}


def test_what_is_no_file_or_too_large_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(metadata.constants, "MOST_JSON_BYTES", 9)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "large.json").write_text('{"a": 1234}')
    for _ in range(2):
        assert said_in(tmp_path / "folder.json") == said_in(tmp_path / "large.json") == {}
    folder, large = (record.getMessage() for record in caplog.records)
    assert "folder.json cannot be read: it is a folder, expected a file." in folder
    assert "large.json cannot be read: it has 11 bytes, at most 9 are allowed." in large


def report_of(**more):
    said = {"run": "r", "checkpoint_sha256": "c", "dataset": "d", "dataset_sha256": "s"}
    said |= {"accuracy": 0.7, "test_images": 10, "errors": 3, "right": "f8c0"}
    return Report.of("r", {**said, **more})


def test_of_each_test_image_a_report_says_whether_it_was_right():
    assert f"{report_of().outcomes:010b}" == "1111100011"


@pytest.mark.parametrize(
    "wrong",
    [*({"right": text} for text in ("f8", "f8c000", "x", 7)), {"errors": 4}, {"errors": None}],
)
def test_outcomes_that_do_not_fit_the_figures_are_not_known(wrong):
    assert report_of(**wrong).outcomes is None
