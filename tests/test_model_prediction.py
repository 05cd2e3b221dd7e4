"""The fourth stage: what is dropped is classified, once, by the best checkpoint."""

import csv
import json
import os
import pickle
import shutil
import signal
import zipfile

import numpy as np
import pytest
from PIL import Image

import constants
import data_ingestion
import model_analysis
import model_prediction
from pipeline.analysis import drawing
from pipeline.artifacts.dataset import display_name
from pipeline.artifacts.metadata import CheckpointDescription, read_json
from pipeline.statistics import novelty
from testkit.checkpoints import put_checkpoint
from testkit.pictures import has_colour

pytestmark = pytest.mark.slow

NAMES = ["blue", "green", "red"]
INPUT = {"image_size": [32, 32], "fit": "crop", "background": [255, 255, 255]}
RUN = {"class_names": NAMES, "input": INPUT}


@pytest.fixture
def new(data):
    (data / "new_images").mkdir(exist_ok=True)
    return data / "new_images"


def predict(data, *options):
    return model_prediction.main([f"--data={data}", "--once", "--settle=0", *options])


def rows(data, name):
    with open(data / "predictions" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def described(data, name):
    return json.loads((data / "predictions" / f"{name}.json").read_text())


def set_accuracy(path, accuracy):
    description = path.with_suffix(".json")
    said = json.loads(description.read_text())
    description.write_text(json.dumps({**said, "metrics": {"val_accuracy": accuracy}}))


def test_the_test_images_themselves_get_the_classes_of_the_analysis(data, dataset, new, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    assert model_analysis.main([f"--data={data}", "--once"]) == 0
    shutil.copytree(data / "raw_dataset" / "colours", new / "colours")
    shutil.make_archive(str(new / "packed"), "zip", data / "raw_dataset" / "colours")
    assert predict(data) == 0
    with open(data / "model_analysis_results" / f"predictions_{dataset}.csv") as file:
        analyzed = {row["file"]: row for row in csv.DictReader(file)}
    for name in ("colours", "packed.zip"):
        found = {row["file"]: row for row in rows(data, name)}
        assert len(analyzed) == 15
        assert len(found) == 75
        for file, row in analyzed.items():
            assert found[file]["class"] == row["predicted"]
            assert float(found[file]["confidence"]) == pytest.approx(
                float(row["confidence"]), abs=2e-6
            )
        assert {row["problem"] for row in found.values()} == {""}
        said = described(data, name)
        assert (said["images"], sum(said["classes"].values())) == (75, 75)
        with Image.open(data / "predictions" / f"{name}.png") as sheet:
            assert sheet.text["Run"] == dataset
    assert "colours: classified in" in capsys.readouterr().out
    assert not (data / ".unpacked_new").exists()


@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
def test_an_image_becomes_input_as_those_that_were_trained_on(data, new, fit, tmp_path):
    draw = np.random.default_rng(0)
    for name in NAMES:
        folder = data / "raw_dataset" / "odd" / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = draw.integers(0, 2**16, (30, 50), np.uint16)  # 16 bits, not square
            Image.fromarray(pixels).save(folder / f"{number}.png")
    options = ["--once", "--settle=0", f"--fit={fit}", "--background=#102030", "--image-size=32"]
    assert data_ingestion.main([f"--data={data}", *options]) == 0
    [dataset] = (data / "dataset").glob("*.pkl")
    said = read_json(dataset.with_suffix(".json"))["preparation"]
    assert (said["fit"], said["background"]) == (fit, [16, 32, 48])
    (data / "model_checkpoints").mkdir(exist_ok=True)
    put_checkpoint(data, dataset.stem, dataset.stem)  # of before: the dataset says how
    assert model_analysis.main([f"--data={data}", "--once"]) == 0
    shutil.copytree(data / "raw_dataset" / "odd", new / "odd")
    assert predict(data) == 0
    with open(data / "model_analysis_results" / f"predictions_{dataset.stem}.csv") as file:
        analyzed = {row["file"]: row["confidence"] for row in csv.DictReader(file)}
    found = {row["file"]: row["confidence"] for row in rows(data, "odd")}
    assert analyzed
    assert {file: float(found[file]) for file in analyzed} == pytest.approx(
        {file: float(value) for file, value in analyzed.items()}, abs=2e-6
    )


def test_a_damaged_image_is_a_row_with_its_reason_and_blocks_no_other(data, dataset, new):
    put_checkpoint(data, dataset, dataset, RUN)
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")
    whole = (new / "some" / "000003.png").read_bytes()
    (new / "some" / "000003.png").write_bytes(whole[:-30])
    (new / "some" / "000004.jpg").write_bytes(b"no image")
    (new / "bad.jpg").write_bytes(b"neither")
    (new / "note.txt").write_text("none")
    (new / "empty").mkdir()
    with zipfile.ZipFile(new / "evil.zip", "w") as archive:
        archive.writestr("../outside.png", whole)
    assert predict(data) == 1
    found = {row["file"]: row for row in rows(data, "some")}
    assert len(found) == 16
    damaged = {file for file, row in found.items() if row["problem"]}
    assert damaged == {"000003.png", "000004.jpg"}
    assert {found[file]["class"] for file in damaged} == {""}
    assert "is no image that is read" in found["000004.jpg"]["problem"]
    assert rows(data, "bad.jpg")[0]["problem"]
    assert described(data, "empty")["problem"].startswith("no image is in it")
    assert 'leads out of its folder by ".."' in described(data, "evil.zip")["problem"]
    assert not (data / "outside.png").exists()
    problems = json.loads((data / "status" / "prediction.json").read_text())["problems"]
    assert {name.rpartition("/")[2] for name in problems} == {"empty", "evil.zip"}


def test_the_confidence_is_that_with_the_temperature_of_the_run(data, dataset, new):
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")
    said = []
    for temperature in (1.0, 2.0):
        run = {**RUN, "temperature": temperature}
        put_checkpoint(data, dataset, dataset, run)
        assert predict(data) == 0
        said.append(rows(data, "some"))
    for plain, calibrated in zip(*said, strict=True):
        assert plain["class"] == calibrated["class"]
        ratio = float(plain["confidence"]) / float(plain["second_confidence"])
        changed = float(calibrated["confidence"]) / float(calibrated["second_confidence"])
        assert changed == pytest.approx(ratio**0.5, rel=1e-3)


@pytest.fixture
def some_strange(data, dataset, new):
    """Test images of the dataset and two of noise; and what a checkpoint knows of its training images."""
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")
    draw = np.random.default_rng(0)
    for name in ("strange.png", "weird.png"):
        noise = draw.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(new / "some" / name)
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        images = {split: part["img"] for split, part in pickle.load(file).items()}
    flat = {split: each.reshape(len(each), -1) / 255 for split, each in images.items()}
    known, others = (novelty.normalized(flat[split]) for split in ("train", "test"))
    usual = float(novelty.distances(others, known).max())
    return {"features": known, "usual_distance": usual + 1e-4}


def test_images_unlike_all_training_images_are_marked(
    data, dataset, new, some_strange, capsys, monkeypatch
):
    put_checkpoint(data, dataset, dataset, RUN, some_strange)
    assert predict(data) == 0
    marked = {row["file"]: row["unlike_training"] for row in rows(data, "some")}
    assert sorted(marked.values()) == ["no"] * 15 + ["yes"] * 2
    assert (marked["strange.png"], marked["weird.png"]) == ("yes", "yes")
    assert described(data, "some")["unlike_training"] == 2
    sheet = (data / "predictions" / "some.png").read_bytes()
    assert has_colour(sheet, drawing.RED)
    capsys.readouterr()
    monkeypatch.setattr(constants, "PREDICTED_BYTES", 4 * 32 * 32 * 3)  # in parts of four images
    assert model_prediction.main([f"--data={data}", str(new / "some")]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    hint = "unlike all training images: perhaps none of these classes"
    hinted = [line.split()[0].rpartition("/")[2] for line in lines if line.endswith(hint)]
    assert hinted == ["strange.png", "weird.png"]


@pytest.mark.parametrize("known", [None, {"features": "all", "usual_distance": 1.0}, {}])
def test_a_checkpoint_that_knows_no_features_gives_no_hint(data, dataset, some_strange, known):
    put_checkpoint(data, dataset, dataset, RUN, known)
    assert predict(data) == 0
    assert {row["unlike_training"] for row in rows(data, "some")} == {""}


def test_each_content_is_classified_once_and_again_when_it_or_the_best_model_changes(
    data, dataset, new, capsys
):
    first = put_checkpoint(data, f"{dataset}__a__a", dataset, RUN)
    set_accuracy(first, 0.7)
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")

    def times():
        return capsys.readouterr().out.count(": classified in")

    assert (predict(data), times()) == (0, 1)
    assert (predict(data), times()) == (0, 0)
    os.utime(new / "some" / "000001.png", (1, 1))
    assert predict(data) == 0
    assert "some: same content as before, nothing new" in capsys.readouterr().out
    (new / "some" / "000001.png").unlink()
    assert (predict(data), times()) == (0, 1)
    worse = put_checkpoint(data, f"{dataset}__b__b", dataset, RUN, seed=1)
    set_accuracy(worse, 0.6)
    assert (predict(data), times()) == (0, 0)
    set_accuracy(worse, 0.8)
    assert (predict(data), times()) == (0, 1)
    assert described(data, "some")["run"] == f"{dataset}__b__b"
    assert (predict(data, f"--run={dataset}__a__a"), times()) == (0, 1)
    assert described(data, "some")["run"] == f"{dataset}__a__a"
    (data / "predictions" / "some.csv").unlink()
    assert (predict(data, f"--run={dataset}__a__a"), times()) == (0, 1)


def test_a_checkpoint_that_cannot_be_used_leaves_it_to_the_next_best(data, dataset, new, capsys):
    set_accuracy(put_checkpoint(data, f"{dataset}__a__a", dataset, RUN), 0.7)
    bad = put_checkpoint(data, f"{dataset}__b__b", dataset, RUN, seed=1)
    set_accuracy(bad, 0.9)
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")
    assert predict(data) == 1  # one checkpoint could not be used
    title = display_name(dataset, "colours")
    assert f"{title}__b__b: cannot be used: " in capsys.readouterr().out
    assert described(data, "some")["run"] == f"{dataset}__a__a"


def test_without_a_checkpoint_it_waits_for_one(data, dataset, new, start):
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")
    assert predict(data) == 1
    stage = start("model_prediction.py", "--data", data, "--settle", "0.1")
    stage.wait_for("1 input to classify, but there is no checkpoint in ")
    put_checkpoint(data, dataset, dataset, RUN)
    stage.wait_for("some: classified in ")
    shutil.copytree(data / "raw_dataset" / "colours" / "train", new / "more" / "nested")
    stage.wait_for("more: classified in ")
    assert stage.end(signal.SIGINT) == 0
    assert stage.lines[-1].endswith("| stopped")
    assert len(rows(data, "more")) == 60


def test_killed_before_the_description_it_classifies_again(data, dataset, new, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    shutil.copytree(data / "raw_dataset" / "colours" / "test", new / "some")
    assert predict(data) == 0
    expected = (data / "predictions" / "some.csv").read_bytes()
    (data / "predictions" / "some.json").unlink()
    (data / "predictions" / "some.csv").write_bytes(b"of before")
    (data / "predictions" / ".some.png.partial").write_bytes(b"half")
    assert predict(data) == 0
    assert (data / "predictions" / "some.csv").read_bytes() == expected
    assert sorted(path.name for path in (data / "predictions").iterdir()) == [
        "some.csv",
        "some.json",
        "some.png",
    ]


def test_a_test_part_without_labels_is_classified_by_itself(data):
    draw = np.random.default_rng(0)
    for folder in ("train/cat", "train/dog", "test"):
        (data / "raw_dataset" / "kaggle" / folder).mkdir(parents=True)
        for number in range(10):
            pixels = draw.integers(0, 256, (32, 32, 3), np.uint8)
            path = data / "raw_dataset" / "kaggle" / folder / f"{number}.png"
            Image.fromarray(pixels).save(path)
    assert data_ingestion.main([f"--data={data}", "--once", "--settle=0"]) == 0
    assert predict(data) == 0  # nothing to do yet
    [dataset] = (data / "dataset").glob("*.pkl")
    run = {"class_names": ["cat", "dog"], "input": INPUT}
    put_checkpoint(data, dataset.stem, dataset.stem, run, classes=2)
    assert predict(data) == 0
    assert [row["file"] for row in rows(data, "kaggle__test")] == [
        f"test/{number}.png" for number in range(10)
    ]


def test_images_that_are_named_are_printed_as_a_table(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    folder = data / "raw_dataset" / "colours" / "test"
    (folder / "bad.gif").write_bytes(b"GIF89a")
    arguments = [f"--data={data}", str(folder / "000001.png"), str(folder)]
    assert model_prediction.main(arguments) == 1  # as one is damaged
    head, single, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "class", "confidence", "second", "class", "confidence"]
    assert single.split()[0] == str(folder / "000001.png")
    assert len(lines) == 16
    assert lines[-1].startswith(f"{folder}/bad.gif ")
    assert not (data / "predictions").exists() or not list((data / "predictions").iterdir())
    with open(data / "model_checkpoints" / f"{dataset}.pkl", "rb") as file:
        model = pickle.load(file)["model"]
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        images = pickle.load(file)["test"]["img"]
    best = model.predict(images, verbose=0).argmax(1)
    assert [line.split()[1] for line in lines[:-1]] == [NAMES[number] for number in best]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data/README.md"], "is no image, folder or archive"),
        (["nowhere.jpg"], "nowhere.jpg is not there"),
        (["docs/visualize_errors.png"], "there is no checkpoint in "),
        (["docs/visualize_errors.png", "--run=mine"], ": mine is no checkpoint in "),
        (["docs/visualize_errors.png", "--dataset=2001"], "has no checkpoint of dataset 2001"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_status_2(data, capsys, arguments, sentence):
    assert model_prediction.main([f"--data={data}", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1


def test_what_a_checkpoint_says_of_its_input_may_be_anybodys():
    odd = {"input": {"image_size": ["a", 3.5], "fit": 7, "background": [1], "ranges": {"x": [1]}}}
    said = CheckpointDescription.of({"run": odd})
    assert (said.input_size, said.preparation) == ((), {})
