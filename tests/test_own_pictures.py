"""Folders of labelled images as people have them, dropped as they are: from the drop to the dataset."""

import csv
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_ingestion
import generate_raw_dataset
from testkit.raw_datasets import COLOURS


def ingest(data: Path, *options: object) -> int:
    arguments = ["--data", data, "--once", "--settle", "0.02", *options]
    return data_ingestion.main(list(map(str, arguments)))


def photographs(folder: Path, each: int = 20, size: tuple[int, int] = (90, 60)) -> Path:
    """JPEGs of noise in a folder for each colour."""
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            noise = draw.normal(colour, 40, (size[1] // 10, size[0] // 10, 3)).clip(0, 255)
            image = Image.fromarray(noise.astype(np.uint8)).resize(size)
            image.save(folder / name / f"{number}.jpg", quality=90)
    return folder


def dataset(data: Path) -> tuple[dict, dict, list[dict]]:
    """The one dataset, its description and its table."""
    [path] = (data / "dataset").glob("*.pkl")
    with open(path, "rb") as file, open(path.with_suffix(".csv"), newline="") as table:
        return (
            pickle.load(file),
            json.loads(path.with_suffix(".json").read_text()),
            list(csv.DictReader(table)),
        )


def labelled(data: Path, split: str) -> dict[str, str]:
    return {row["file"]: row["class"] for row in dataset(data)[2] if row["split"] == split}


def test_a_folder_of_photographs_needs_no_option(data, capsys):
    photographs(data / "raw_dataset" / "colours")
    assert ingest(data) == 0
    said = capsys.readouterr().out
    arrays, description, table = dataset(data)
    held_out = description["held_out"]
    assert (
        f"raw_dataset/colours: class folders, 3 classes, 60 images, {held_out} of them held out as test;"
        " to 64 x 64 pixels (crop)"
    ) in said
    assert "ERROR" not in said
    assert 3 <= held_out <= 24
    assert len(arrays["test"]["label"]) == held_out
    assert len(arrays["train"]["label"]) == 60 - held_out
    assert arrays["train"]["img"].shape[1:] == (64, 64, 3)
    assert description["class_names"] == ["blue", "green", "red"]
    assert set(arrays["test"]["label"]) == {0, 1, 2}
    for row in table:
        image = arrays[row["split"]]["img"][int(row["index"])]
        assert row["file"].startswith(f"{row['class']}/")
        np.testing.assert_allclose(image.mean((0, 1)), COLOURS[row["class"]], atol=25)


def test_a_larger_folder_keeps_each_image_on_its_side(data):
    folder = photographs(data / "raw_dataset" / "colours")
    ingest(data)
    before = labelled(data, "test")
    for path in (data / "dataset").iterdir():
        path.unlink()
    draw = np.random.default_rng(1)
    for number in range(30):
        pixels = draw.integers(0, 256, (60, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "red" / f"new {number}.jpg")
    ingest(data)
    after = labelled(data, "test")
    assert {file for file in after if "new" not in file} == set(before)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_an_archive_is_kept_and_what_was_unpacked_is_removed(data, ending, tmp_path):
    folder = photographs(tmp_path / "colours", each=6)
    archive = data / "raw_dataset" / f"colours{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for path in sorted(folder.rglob("*.jpg")):
                opened.write(path, path.relative_to(tmp_path))
    else:
        import tarfile

        with tarfile.open(archive, "w:gz" if ending.endswith("gz") else "w") as opened:
            opened.add(folder, "colours")
    content = archive.read_bytes()
    assert ingest(data) == 0
    assert len(labelled(data, "train")) + len(labelled(data, "test")) == 18
    assert dataset(data)[1]["raw_dataset"].endswith(f"raw_dataset/colours{ending}")
    assert archive.read_bytes() == content
    unpacked = data / ".unpacked"
    assert not unpacked.exists() or list(unpacked.iterdir()) == []
    assert ingest(data) == 0  # nothing is done twice
    assert len(list((data / "dataset").glob("*.pkl"))) == 1


def test_a_bad_archive_is_refused_with_its_reason(data, capsys):
    archive = data / "raw_dataset" / "evil.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("cats/1.jpg", b"")
        opened.writestr("../../models/evil.py", b"")
    assert ingest(data) == 1
    said = capsys.readouterr().out
    assert "evil.zip" in said
    assert "../../models/evil.py" in said
    assert "Traceback" not in said
    assert not (data.parent / "models").exists()


def test_a_few_damaged_images_are_left_out_and_named(data, capsys):
    folder = photographs(data / "raw_dataset" / "colours")
    damaged = folder / "red" / "3.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert ingest(data) == 0
    said = capsys.readouterr().out
    assert "damaged images that are left out: 1, first red/3.jpg, which" in said
    _, description, table = dataset(data)
    assert list(description["left_out"]) == ["red/3.jpg"]
    assert len(table) == 59
    assert "red/3.jpg" not in {row["file"] for row in table}


@pytest.mark.parametrize("options", [(), ("--strict",)], ids=["many", "strict"])
def test_damaged_images_that_are_many_or_not_wanted_keep_it_out(data, capsys, options):
    folder = photographs(data / "raw_dataset" / "colours")
    for number in range(1 if options else 6):
        path = folder / "red" / f"{number}.jpg"
        path.write_bytes(path.read_bytes()[:-20])
    assert ingest(data, *options) == 1
    assert "red/0.jpg" in capsys.readouterr().out
    assert list((data / "dataset").glob("*.pkl")) == []


def test_a_validation_part_is_marked_in_the_table(data):
    for split, each in (("train", 9), ("val", 3), ("test", 4)):
        photographs(data / "raw_dataset" / "colours" / split, each)
    # All parts are drawn with one seed: the same images in each, which is a warning.
    assert ingest(data) == 0
    _, description, table = dataset(data)
    assert description["validation"] == 9
    assert sum(row["validation"] == "true" for row in table) == 9
    assert all(row["file"].startswith("val/") for row in table if row["validation"] == "true")
    assert description["counts"] == {"train": 36, "test": 12}


def test_settings_in_the_folder_go_before_the_options(data):
    folder = photographs(data / "raw_dataset" / "colours", 6)
    (folder / "ingestion.toml").write_text('image_size = 20\nfit = "pad"\nbackground = [0, 0, 0]\n')
    assert ingest(data, "--image-size", 40) == 0
    arrays, description, _ = dataset(data)
    assert arrays["train"]["img"].shape[1:] == (20, 20, 3)
    assert arrays["train"]["img"][:, 0].max() < 10  # a black border above
    assert description["preparation"]["fit"] == "pad"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image_size = 0", "image_size is 0, expected"),
        ('fit = "stretch"', "fit is stretch, expected crop or pad or squeeze"),
        ("test_share = true", "test_share is True, expected a number between 0 and 1"),
        ("sise = 3", "says sise, expected image_size, fit, background, test_share"),
        ("sise", "is no TOML"),
    ],
)
def test_a_wrong_setting_in_the_folder_is_named(data, capsys, text, sentence):
    folder = photographs(data / "raw_dataset" / "colours", 3)
    (folder / "ingestion.toml").write_text(text)
    assert ingest(data) == 1
    assert (
        f"ingestion.toml{':' if 'expected' in sentence and 'says' not in sentence else ''} {sentence}"
        in (capsys.readouterr().out)
    )


@pytest.mark.parametrize(
    "options",
    [("--image-size", "0"), ("--fit", "stretch"), ("--background", "white"), ("--test-share", "1")],
)
def test_wrong_options_say_what_is_expected(data, capsys, options):
    with pytest.raises(SystemExit):
        ingest(data, *options)
    assert f"{options[0]} is {options[1]}" in capsys.readouterr().err


def test_the_own_layout_can_be_made_of_any(data, tmp_path, capsys):
    folder = photographs(tmp_path / "colours", 6)
    output = data / "raw_dataset" / "colours"
    status = generate_raw_dataset.main(
        ["--source", "folder", "--from", str(folder), "--output", str(output)]
    )
    assert status == 0
    assert ingest(data) == 0
    said = capsys.readouterr()
    assert "train/ and test/ with a groundtruth.csv, 3 classes, 18 images; to" in said.out
    copies = {path.read_bytes() for path in output.rglob("*.jpg")}
    assert copies == {path.read_bytes() for path in folder.rglob("*.jpg")}


def test_a_folder_that_is_no_raw_dataset_is_said_to_be_of_no_use(data, capsys):
    (data / "raw_dataset" / "empty").mkdir()
    assert ingest(data) == 1
    said = capsys.readouterr().out
    assert "raw_dataset/empty: cannot be used: no layout fits: it is empty; expected" in said
    assert "not whole" not in said
