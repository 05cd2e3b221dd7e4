import csv
import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

import constants
import data_ingestion
from helper import sha256_of
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.ledger import entries_in
from pipeline.images import image_reader
from pipeline.raw_data import groundtruth
from pipeline.raw_data import ingestion as module
from pipeline.stage.log_lines import start_logging
from pipeline.stage.process import Stage
from testkit.raw_datasets import make_raw_dataset


def ingest(data, *options):
    return data_ingestion.main(
        ["--data", str(data), "--once", "--settle", "0.05", *map(str, options)]
    )


def datasets(data):
    return sorted((data / "dataset").glob("*.pkl"))


@pytest.fixture
def ingestion(data):
    """A stage that looks when the test says so."""
    options = data_ingestion.parse(["--data", str(data), "--settle", "0"])
    options.data = data
    (data / "dataset").mkdir()
    start_logging("ingestion")
    return module.Ingestion(data / "raw_dataset", options, Stage())


def test_the_dataset_is_exactly_in_its_format(data):
    make_raw_dataset(data / "raw_dataset" / "colours", train=30, test=9)
    assert ingest(data) == 0
    [path] = datasets(data)
    with open(path, "rb") as file:
        dataset = pickle.load(file)
    assert list(dataset) == ["test", "train"]
    for split, count in (("test", 9), ("train", 30)):
        part = dataset[split]
        assert set(part) == {"img", "label", "class"}
        assert (part["img"].shape, part["img"].dtype) == ((count, 32, 32, 3), np.uint8)
        assert (part["label"].shape, part["label"].dtype) == ((count,), np.int64)
        assert (part["class"].shape, part["class"].dtype) == ((count, 3), np.float32)
        assert part["label"].tolist() == [number % 3 for number in range(count)]
        assert np.array_equal(part["class"], np.eye(3, dtype=np.float32)[part["label"]])


def test_it_tells_what_it_does_and_how_far_it_is(data, told):
    make_raw_dataset(data / "raw_dataset" / "colours", train=30, test=9)
    ingest(data)
    assert ("waiting", "1 raw dataset to settle") in told
    progress = [progress for doing, progress in told if doing == "ingesting colours"]
    assert progress == ["", "30 of 39 images", "39 of 39 images"]
    assert told[-1] == ("stopped", "")


def test_the_description_says_where_it_came_from_and_what_is_in_it(data):
    make_raw_dataset(data / "raw_dataset" / "colours", names=True)
    ingest(data)
    [path] = datasets(data)
    description = json.loads(path.with_suffix(".json").read_text())
    assert description["raw_dataset"].endswith("raw_dataset/colours")
    assert description["counts"] == {"train": 60, "test": 15}
    assert description["class_names"] == ["blue", "green", "red"]
    assert description["images_per_class"]["train"] == {"blue": 20, "green": 20, "red": 20}
    assert description["sha256"] == sha256_of(path)
    assert description["warnings"] == {}


def test_the_watched_folder_itself_can_be_the_raw_dataset(data):
    make_raw_dataset(data / "raw_dataset")
    assert ingest(data) == 0
    assert len(datasets(data)) == 1


def test_input_data_names_another_folder(data, tmp_path):
    make_raw_dataset(tmp_path / "elsewhere" / "colours")
    assert ingest(data, "--input-data", tmp_path / "elsewhere") == 0
    assert len(datasets(data)) == 1


def test_a_missing_input_folder_is_one_sentence(data, tmp_path, capsys):
    assert ingest(data, "--input-data", tmp_path / "nowhere") == 1
    assert "nowhere is no folder. Make it, or name another one." in capsys.readouterr().out


def test_image_size_is_that_of_the_images(data):
    make_raw_dataset(data / "raw_dataset" / "colours", train=6, test=3)
    ingest(data, "--image-size", 12)
    with open(datasets(data)[0], "rb") as file:
        assert pickle.load(file)["train"]["img"].shape == (6, 12, 12, 3)


@pytest.mark.parametrize(
    "options", [["--image-size", "0"], ["--settle", "-1"], ["--settle", "nan"], ["--sette", "1"]]
)
def test_wrong_options_exit_with_2(options, data, capsys):
    with pytest.raises(SystemExit) as ended:
        data_ingestion.main(["--data", str(data), *options])
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_what_keeps_a_raw_dataset_out_is_in_the_status(data):
    (make_raw_dataset(data / "raw_dataset" / "bad") / "train" / "000000.png").write_bytes(b"")
    make_raw_dataset(data / "raw_dataset" / "good")
    assert ingest(data) == 1
    [(name, problem)] = json.loads((data / "status" / "ingestion.json").read_text())[
        "problems"
    ].items()
    assert name == str(data / "raw_dataset" / "bad")
    assert problem == "train/000000.png (row 2) is empty. Replace the image."


def test_nothing_is_done_twice(data, capsys):
    make_raw_dataset(data / "raw_dataset" / "colours")
    for _ in range(3):
        assert ingest(data) == 0
    assert len(datasets(data)) == 1
    assert capsys.readouterr().out.count("ingested as dataset") == 1


def test_the_same_content_under_two_names_is_one_dataset(data, capsys):
    make_raw_dataset(data / "raw_dataset" / "colours")
    shutil.copytree(data / "raw_dataset" / "colours", data / "raw_dataset" / "again")
    assert ingest(data) == 0
    assert len(datasets(data)) == 1
    assert (
        f"same content as dataset {datasets(data)[0].stem}, nothing new" in capsys.readouterr().out
    )


def test_a_changed_raw_dataset_is_a_new_dataset(data):
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    ingest(data)
    Image.new("RGB", (8, 8), "white").save(folder / "train" / "000000.png")
    ingest(data)
    first, second = datasets(data)
    with open(first, "rb") as before, open(second, "rb") as after:
        before, after = pickle.load(before), pickle.load(after)
    assert after["train"]["img"][0].min() == 255 > before["train"]["img"][0].min()
    assert np.array_equal(after["train"]["img"][1:], before["train"]["img"][1:])


def test_raw_data_is_never_altered(data):
    folder = make_raw_dataset(data / "raw_dataset" / "colours")

    def state():
        return {
            path: (path.stat().st_mtime_ns, path.is_file() and sha256_of(path))
            for path in folder.rglob("*")
        }

    before = state()
    ingest(data)
    assert state() == before


def test_a_lost_or_damaged_record_costs_no_history(data, capsys):
    make_raw_dataset(data / "raw_dataset" / "colours")
    ingest(data)
    record = data / constants.INGESTION_RECORD
    for damage in (lambda: record.unlink(), lambda: record.write_bytes(record.read_bytes()[:-9])):
        damage()
        assert ingest(data) == 0
        assert len(datasets(data)) == 1
    assert "is damaged" in capsys.readouterr().out


def test_many_that_come_at_once_are_recorded_together(ingestion, data, monkeypatch):
    for seed in range(8):
        make_raw_dataset(data / "raw_dataset" / f"{seed}", train=6, test=3, seed=seed)
    writes, save = [], ingestion.writer.record.save
    monkeypatch.setattr(constants, "RECORD", 600)
    monkeypatch.setattr(ingestion.writer.record, "save", lambda: writes.append(save()))
    ingestion.look()
    ingestion.look()
    assert len(datasets(data)) == 8
    assert len(writes) <= 3  # one at the first one, and one after each look
    assert len(entries_in(data / constants.INGESTION_RECORD)) == 16


def test_dying_between_result_and_record_gives_no_second_result(data):
    make_raw_dataset(data / "raw_dataset" / "colours")
    (data / "dataset").mkdir()
    options = data_ingestion.parse(["--data", str(data), "--settle", "0"])
    options.data = data
    dying = module.Ingestion(data / "raw_dataset", options, Stage())

    def die(*_, **__):
        raise KeyboardInterrupt

    dying.writer.record.save = die
    with pytest.raises(KeyboardInterrupt):
        dying.look()
    assert len(datasets(data)) == 1
    assert ingest(data) == 0
    assert len(datasets(data)) == 1


@pytest.mark.parametrize("lost", [[".pkl"], [".pkl", ".csv"]])
def test_dying_before_the_dataset_leaves_nothing_alone_that_is_beside_it(data, lost):
    make_raw_dataset(data / "raw_dataset" / "colours")
    ingest(data)
    [path] = datasets(data)
    before = {each: each.read_bytes() for each in (data / "dataset").iterdir()}
    for ending in lost:
        path.with_suffix(ending).unlink()
    (data / constants.INGESTION_RECORD).unlink()
    ingest(data)
    assert {each: each.read_bytes() for each in (data / "dataset").iterdir()} == before


def test_a_dataset_appears_after_all_that_is_beside_it(data, monkeypatch):
    names, replace = [], os.replace

    def named(source, target):
        names.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", named)
    make_raw_dataset(data / "raw_dataset" / "colours")
    ingest(data)
    [path] = datasets(data)
    # The description is first: by it an earlier process's name is found again.
    assert [name.suffix for name in names if name.stem == path.stem] == [".json", ".csv", ".pkl"]


def test_the_table_beside_a_dataset_names_the_file_of_each_image(data):
    folder = make_raw_dataset(data / "raw_dataset" / "colours", train=6, test=3, names=True)
    (folder / "test" / "000001.png").rename(folder / "test" / "-1.png")
    table = (folder / "test" / "groundtruth.csv").read_text()
    (folder / "test" / "groundtruth.csv").write_text(table.replace("000001.png", "test/-1.png"))
    ingest(data)
    [path] = datasets(data)
    with open(path, "rb") as file:
        dataset = pickle.load(file)
    with open(path.with_suffix(".csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["index"], row["file"], row["class"]) for row in rows] == [
        ("test", "0", "test/000000.png", "blue"),
        ("test", "1", "test/-1.png", "green"),
        ("test", "2", "test/000002.png", "red"),
        *(
            ("train", str(i), f"train/{i:06d}.png", ["blue", "green", "red"][i % 3])
            for i in range(6)
        ),
    ]
    for row in rows:
        image = dataset[row["split"]]["img"][int(row["index"])]
        assert row["digest"] == hashlib.sha256(image.tobytes()).hexdigest()[:32]


def test_it_says_once_per_change_what_is_still_missing(data, ingestion, capsys, monkeypatch):
    monkeypatch.setattr(constants, "SAY_AGAIN", 0)
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    aside = [(folder / "train" / f"{number:06d}.png") for number in (7, 8)]
    for path in aside:
        path.rename(path.with_suffix(".part"))
    for _ in range(3):
        ingestion.look()
    aside[0].with_suffix(".part").rename(aside[0])
    for _ in range(3):
        ingestion.look()
    said = [line for line in capsys.readouterr().out.splitlines() if "not whole" in line]
    assert [line.split("not whole: ")[1] for line in said] == [
        "train: 2 of 60 listed images are not there yet, first 000007.png (row 9).",
        "train: 1 of 60 listed images is not there yet, first 000008.png (row 10).",
    ]
    aside[1].with_suffix(".part").rename(aside[1])
    ingestion.look()
    ingestion.look()
    assert len(datasets(data)) == 1


def test_a_change_that_changes_nothing_of_what_is_missing_is_not_said_again(
    data, ingestion, capsys, monkeypatch
):
    monkeypatch.setattr(constants, "SAY_AGAIN", 0)
    ingestion.options.settle = 60
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    (folder / "train" / "000007.png").unlink()
    for number in range(4):
        (folder / "train" / "notes.txt").write_text("x" * number)
        ingestion.look()
    assert capsys.readouterr().out.count("not whole") == 1


@pytest.mark.parametrize(("again", "lines"), [(1000, 0), (0, 20)], ids=["short", "long"])
def test_a_copy_that_goes_on_is_said_to_be_not_whole_only_if_it_takes_long(
    data, ingestion, capsys, monkeypatch, again, lines
):
    monkeypatch.setattr(constants, "SAY_AGAIN", again)
    ingestion.options.settle = 60
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    for path in sorted((folder / "train").glob("*.png"))[:20]:
        path.unlink()
        ingestion.look()
    assert capsys.readouterr().out.count("not whole") == lines


def test_nothing_is_read_before_it_has_settled(data, ingestion):
    ingestion.options.settle = 60
    make_raw_dataset(data / "raw_dataset" / "colours")
    for _ in range(3):
        pause = ingestion.look()
    assert 50 < pause <= 60
    assert datasets(data) == []


def test_what_has_settled_is_looked_at_again_only_if_it_may_have_changed(
    data, ingestion, monkeypatch
):
    folders = [
        make_raw_dataset(data / "raw_dataset" / name, seed=seed) for seed, name in enumerate("ab")
    ]
    ingestion.look()
    scan, seen = module.scan, []

    def seeing(folder, *arguments):
        seen.append(folder)
        return scan(folder, *arguments)

    monkeypatch.setattr(module, "scan", seeing)
    ingestion.look(set())
    assert seen == []
    ingestion.look({"b", "gone"})
    assert seen == folders[1:]
    ingestion.options.settle = 60
    (folders[0] / "train" / "000000.png").unlink()
    ingestion.look({"a"})
    seen.clear()
    ingestion.look(set())  # what is not whole may become so without a word
    assert seen == folders[:1]
    seen.clear()
    ingestion.look()
    assert seen == folders


@pytest.mark.parametrize("first", ["new", "known already", "damaged"])
def test_a_change_while_reading_means_reading_again(data, ingestion, monkeypatch, capsys, first):
    if first == "known already":
        make_raw_dataset(data / "raw_dataset" / "an equal one")
        ingestion.look()
        ingestion.look()
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    image, read = folder / "train" / "000000.png", module.read
    if first == "damaged":
        image.write_bytes(image.read_bytes()[:-20])

    def read_while_it_changes(*arguments):
        try:
            return read(*arguments)
        finally:
            Image.new("RGB", (8, 8), "white").save(image)
            monkeypatch.undo()

    before = datasets(data)
    monkeypatch.setattr(module, "read", read_while_it_changes)
    ingestion.look({"colours"})
    assert datasets(data) == before
    for _ in range(3):
        ingestion.look()
    path = datasets(data)[-1]
    with open(path, "rb") as file:
        assert pickle.load(file)["train"]["img"][0].min() == 255
    printed = capsys.readouterr().out
    assert "changed while it was read" in printed
    assert "damaged" not in printed and "cut off" not in printed


def test_a_change_while_the_disk_is_full_means_reading_again(data, ingestion, monkeypatch):
    monkeypatch.setattr(constants, "RETRY", 0.01)
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    write_json = safe_pickle.write_json

    def full_once(*arguments):
        monkeypatch.setattr(safe_pickle, "write_json", write_json)
        Image.new("RGB", (8, 8), "white").save(folder / "train" / "000000.png")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safe_pickle, "write_json", full_once)
    for _ in range(4):
        ingestion.look()
    [path] = datasets(data)
    with open(path, "rb") as file:
        assert pickle.load(file)["train"]["img"][0].min() == 255


def test_a_bad_raw_dataset_is_named_and_does_not_stand_in_the_way(data, capsys):
    bad = make_raw_dataset(data / "raw_dataset" / "a bad one")
    (bad / "train" / "000003.png").write_bytes((bad / "train" / "000003.png").read_bytes()[:-20])
    make_raw_dataset(data / "raw_dataset" / "good", seed=1)
    assert ingest(data) == 1
    said = capsys.readouterr().out
    assert len(datasets(data)) == 1
    assert "a bad one: not ingested: train/000003.png (row 5) is cut off" in said
    assert "good: ingested as dataset" in said


def test_a_bad_raw_dataset_is_tried_again_when_it_changes_and_not_before(data, capsys, monkeypatch):
    folder = make_raw_dataset(data / "raw_dataset" / "colours")
    image = folder / "train" / "000003.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:-20])
    ingest(data)
    reads = []
    read = module.read
    monkeypatch.setattr(module, "read", lambda *arguments: reads.append(1) or read(*arguments))
    assert ingest(data) == 1
    assert reads == []
    assert "not ingested before, and unchanged since: train/000003.png" in capsys.readouterr().out
    image.write_bytes(whole)
    assert ingest(data) == 0
    assert reads == [1]
    assert len(datasets(data)) == 1


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda f: (f / "test" / "extra.png").write_bytes(b"x"),
            "test: 1 of 16 images has no row in groundtruth.csv yet, first extra.png.",
        ),
        (
            lambda f: _append(f, "000001.png,1"),
            "train/groundtruth.csv: 1 row names a file a second time, first 000001.png (row 62, before in",
        ),
        (
            lambda f: _replace(f, "000001.png,1", "000001.png"),
            'train/groundtruth.csv: 1 row does not have 2 cells, first row 3 (1 cell: "000001.png").',
        ),
        (
            lambda f: (f / "test" / "groundtruth.csv").write_text("file,label\n"),
            "test/groundtruth.csv lists no image.",
        ),
        (
            lambda f: _replace(f, "000001.png,1", "000001.png,7", split="test"),
            'test: no training image has the label "7" (1 image, first test/000001.png, row 3).',
        ),
        (lambda f: shutil.rmtree(f / "test"), "test: there is no folder test/ yet."),
    ],
)
def test_each_mistake_is_named_with_file_and_row(data, capsys, spoil, sentence):
    spoil(make_raw_dataset(data / "raw_dataset" / "colours"))
    assert ingest(data) == 1
    assert sentence in capsys.readouterr().out
    assert datasets(data) == []


def _replace(folder, old, new, split="train"):
    path = folder / split / "groundtruth.csv"
    path.write_text(path.read_text().replace(old, new))


def _append(folder, row):
    with open(folder / "train" / "groundtruth.csv", "a") as file:
        file.write(row + "\n")


def test_what_spoils_results_silently_is_a_warning_in_log_and_description(data, capsys):
    folder = make_raw_dataset(data / "raw_dataset" / "colours", train=24)
    shutil.copy(folder / "train" / "000000.png", folder / "test" / "000000.png")
    shutil.copy(folder / "train" / "000001.png", folder / "train" / "000002.png")
    assert ingest(data) == 0
    said = capsys.readouterr().out
    assert (
        "test images that stand in train too (equal pixels): 1, first test/000000.png = train/000000.png"
        in said
    )
    assert (
        "images that stand there with different labels (equal pixels): 1, first train/000001.png and"
        in said
    )
    assert "classes with under 10 training images: 3 of 3, first 0 with 8" in said
    warnings = json.loads(datasets(data)[0].with_suffix(".json").read_text())["warnings"]
    assert {kind: warning["count"] for kind, warning in warnings.items()} == {
        "in_train_and_test": 1,
        "different_labels": 1,
        "few_images": 3,
    }


def test_a_file_that_is_no_archive_gets_a_hint(data, capsys):
    (data / "raw_dataset" / "photo.jpg").write_bytes(b"x")
    (data / "raw_dataset" / ".DS_Store").write_bytes(b"x")
    ingest(data)
    said = capsys.readouterr().out
    assert "photo.jpg is a file. Drop a folder of labelled images, or an archive of one" in said
    assert ".DS_Store" not in said


def test_a_full_disk_is_one_sentence_and_no_loss(data, ingestion, capsys, monkeypatch):
    monkeypatch.setattr(constants, "RETRY", 0.01)
    make_raw_dataset(data / "raw_dataset" / "colours")
    refusals = iter(range(5))
    fsync = os.fsync

    def full_for_a_while(descriptor):
        if next(refusals, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_for_a_while)
    ingestion.look()
    ingestion.look()
    assert len(datasets(data)) == 1
    said = capsys.readouterr().out
    assert said.count("the disk is full. Free some space; trying again every") == 1
    assert "the disk works again" in said
    assert list(data.rglob("*.partial")) == []


def test_a_fault_with_one_raw_dataset_stops_no_other(data, ingestion, capsys, monkeypatch):
    for name in ("a", "b", "c"):
        make_raw_dataset(data / "raw_dataset" / name, seed=ord(name))
    read = module.read

    def read_with_a_fault(place, *arguments):
        if place.name == "b":
            raise ZeroDivisionError("a fault")
        if place.name == "a":
            raise OSError(errno.EMFILE, "Too many open files")
        return read(place, *arguments)

    monkeypatch.setattr(module, "read", read_with_a_fault)
    for _ in range(3):
        ingestion.look()
    said = capsys.readouterr().out
    assert len(datasets(data)) == 1
    assert "b: cannot be used: ZeroDivisionError: a fault" in said
    assert "Traceback" in said
    assert "a: cannot be used: it cannot be read: Too many open files. Make it readable." in said
    assert said.count("Traceback") == 1
    monkeypatch.undo()
    for _ in range(3):
        ingestion.look()
    assert len(datasets(data)) == 2
    (data / "raw_dataset" / "b" / "train" / "000000.png").touch()
    for _ in range(3):
        ingestion.look()
    assert len(datasets(data)) == 3


def test_a_description_that_is_no_file_doubles_no_dataset_and_is_in_nobodys_way(
    data, ingestion, capsys
):
    make_raw_dataset(data / "raw_dataset" / "colours")
    look_until_read(ingestion)
    [path] = datasets(data)
    path.with_suffix(".json").unlink()
    os.mkfifo(path.with_suffix(".json"))
    make_raw_dataset(data / "raw_dataset" / "again")
    make_raw_dataset(data / "raw_dataset" / "other", seed=1)
    look_until_read(ingestion)
    said = capsys.readouterr().out
    assert "json cannot be read: it is a pipe, expected a file." in said
    assert f"again: same content as dataset {path.stem}, nothing new" in said
    assert len(datasets(data)) == 2


def look_until_read(ingestion):
    for _ in range(3):
        ingestion.look()


@pytest.mark.parametrize("name", ["groundtruth.csv", "000003.png"])
def test_a_disk_error_while_reading_is_no_fault_of_the_raw_dataset(
    data, ingestion, capsys, monkeypatch, name
):
    make_raw_dataset(data / "raw_dataset" / "colours")
    read_raw, failing = image_reader.read_raw, [errno.EIO]

    def read_with_an_error(path, most):
        if path.endswith(f"train/{name}") and failing:
            raise OSError(failing.pop(), "Input/output error", path)
        return read_raw(path, most)

    for reader in (image_reader, groundtruth):
        monkeypatch.setattr(reader, "read_raw", read_with_an_error)
    for _ in range(4):
        ingestion.look()
    assert f"train/{name} cannot be read: Input/output error. Make it" in capsys.readouterr().out
    assert len(datasets(data)) == 1


def test_with_once_a_full_disk_ends_it_with_a_sentence(data, capsys, monkeypatch):
    make_raw_dataset(data / "raw_dataset" / "colours")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert ingest(data) == 1
    assert capsys.readouterr().out.rstrip().endswith("the disk is full. Free some space.")


def test_names_come_one_after_the_other_even_if_the_clock_goes_back(data):
    make_raw_dataset(data / "raw_dataset" / "one")
    (data / "dataset").mkdir()
    (data / "dataset" / "2999-12-31 23:59:59.999999.pkl").write_bytes(b"")
    ingest(data)
    assert datasets(data)[-1].stem == "3000-01-01 00:00:00.000000"


def test_the_running_stage_ingests_what_is_renamed_into_place(data, tmp_path, start):
    stage = start("data_ingestion.py", "--data", data, "--settle", "0.1")
    stage.wait_for("watching")
    make_raw_dataset(tmp_path / "built").rename(data / "raw_dataset" / "colours")
    stage.wait_for("colours: ingested as dataset")
    make_raw_dataset(tmp_path / "other", seed=1).rename(data / "raw_dataset" / "other")
    stage.wait_for("other: ingested as dataset")
    assert len(datasets(data)) == 2


@pytest.mark.parametrize("how", ["polling", "no events at all"])
def test_nothing_depends_on_events(data, tmp_path, start, how):
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "sitecustomize.py").write_text(
        "import watchdog.observers\n"
        "class Silent(watchdog.observers.Observer):\n"
        "    def dispatch_events(self, event_queue): event_queue.get()\n"
        "watchdog.observers.Observer = Silent\n"
    )
    environment = {} if how == "polling" else {"PYTHONPATH": str(silent)}
    options = ["--poll"] if how == "polling" else []
    stage = start(
        "data_ingestion.py", "--data", data, "--settle", "0.1", *options, environment=environment
    )
    stage.wait_for("watching")
    make_raw_dataset(tmp_path / "built").rename(data / "raw_dataset" / "colours")
    stage.wait_for("colours: ingested as dataset")


def test_a_slow_copy_is_never_read_half(data, tmp_path, start):
    whole = make_raw_dataset(tmp_path / "built", train=120)
    stage = start("data_ingestion.py", "--data", data, "--settle", "0.3")
    stage.wait_for("watching")
    target = data / "raw_dataset" / "colours"
    for split in ("test", "train"):  # the CSV comes first: every state on the way is a half one
        (target / split).mkdir(parents=True)
        for path in sorted((whole / split).iterdir(), key=lambda path: path.suffix):
            shutil.copy(path, target / split)
            time.sleep(0.002)
    stage.wait_for("colours: ingested as dataset")
    with open(datasets(data)[0], "rb") as file:
        assert len(pickle.load(file)["train"]["img"]) == 120
    assert len(datasets(data)) == 1


def test_a_stop_while_all_cores_read_is_clean_and_costs_nothing(data, tmp_path, start):
    folder, draw = make_raw_dataset(tmp_path / "built"), np.random.default_rng(0)
    for path in (folder / "train").glob("*.png"):
        noise = Image.fromarray(draw.integers(0, 256, (512, 512, 3), np.uint8))
        noise.save(path, compress_level=0)  # 47 MB in all
    options = ["--data", data, "--settle", "0.1", "--verbose"]
    stage = start("data_ingestion.py", *options)
    stage.wait_for("watching")
    folder.rename(data / "raw_dataset" / "noise")
    stage.wait_for("noise: reading 75 images")
    assert stage.end(signal.SIGTERM) == 0
    assert stage.lines[-1].endswith("stopped")
    assert "Traceback" not in "".join(stage.lines)
    start("data_ingestion.py", *options).wait_for("noise: ingested as dataset")
    assert len(datasets(data)) == 1
