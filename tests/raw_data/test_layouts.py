"""layouts.py: folders of labelled images as people have them, and how each is understood."""

import json
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.problem import RawDatasetError
from pipeline.raw_data.folder_scan import scan
from pipeline.raw_data.layouts import Layout, recognize

DRAW = np.random.default_rng(0)


def put(root: Path, *files: str) -> Path:
    """Images, each with pixels of its own, in the format that its name ends in."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DRAW.integers(0, 256, (6, 6, 3), np.uint8)).save(path)
    return root


def images(folder: str, count: int = 3, ending: str = ".jpg") -> list[str]:
    return [f"{folder}/{number}{ending}" for number in range(count)]


def layout(root: Path) -> Layout:
    return recognize(root, scan(root))


def parts(understood: Layout) -> dict[str, dict[str, str]]:
    """The class of each file, by part."""
    return {part: {row.file: row.label for row in rows} for part, rows in understood.rows.items()}


def counts(understood: Layout) -> dict[str, int]:
    return {part: len(rows) for part, rows in understood.rows.items()}


def refusal(root: Path) -> str:
    with pytest.raises(RawDatasetError) as refused:
        layout(root)
    return str(refused.value)


# Class folders.


def test_class_folders(tmp_path):
    put(tmp_path, "cats/1.jpg", "cats/old/2.png", "dogs/1.webp")
    understood = layout(tmp_path)
    assert understood.name == "class folders"
    assert parts(understood) == {
        "train": {"cats/1.jpg": "cats", "cats/old/2.png": "cats", "dogs/1.webp": "dogs"}
    }
    assert not understood.listed
    assert understood.warnings == []


@pytest.mark.parametrize("wrapping", ["pets-master", "pets-master/data"])
def test_class_folders_in_folders_that_only_wrap_them(tmp_path, wrapping):
    put(tmp_path, *images(f"{wrapping}/cats"), *images(f"{wrapping}/dogs"))
    (tmp_path / "pets-master/setup.py").write_text("")
    understood = layout(tmp_path)
    assert understood.name == "class folders"
    assert set(parts(understood)["train"].values()) == {"cats", "dogs"}


def test_what_lies_beside_class_folders_is_named(tmp_path):
    put(tmp_path, *images("cats"), *images("dogs"), "sample.jpg")
    (tmp_path / "docs").mkdir()
    texts = [str(warning) for warning in layout(tmp_path).warnings]
    assert texts == [
        "1 image lies beside the class folders, first sample.jpg: left out, as nothing says which class.",
        "1 folder beside the class folders has no image, first docs/: no class.",
    ]


def test_one_folder_of_images_says_no_class(tmp_path):
    put(tmp_path, *images("images", 4))
    (tmp_path / "annotations").mkdir()
    assert refusal(tmp_path).startswith(
        "4 images in the one folder images/, and nothing that says which class each of them has;"
    )


# Split class folders.


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "TESTING")])
def test_split_class_folders(tmp_path, names):
    train, test = names
    put(tmp_path, *images(f"{train}/cats", 4), *images(f"{train}/dogs"))
    put(tmp_path, *images(f"{test}/cats", 2), *images(f"{test}/dogs", 1))
    assert counts(layout(tmp_path)) == {"train": 7, "test": 3}


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_folders_beside_a_test_part_are_the_validation_part(tmp_path, name):
    for split, count in (("train", 4), ("test", 2), (name, 1)):
        put(tmp_path, *images(f"{split}/cats", count), *images(f"{split}/dogs", count))
    assert counts(layout(tmp_path)) == {"train": 8, "test": 4, "validation": 2}


def test_validation_folders_alone_are_the_test_part(tmp_path):
    for split, count in (("train", 4), ("val", 1)):
        put(tmp_path, *images(f"{split}/cats", count), *images(f"{split}/dogs", count))
    assert counts(layout(tmp_path)) == {"train": 8, "test": 2}


def test_train_alone_is_split_later(tmp_path):
    put(tmp_path, *images("train/cats"), *images("train/dogs"))
    assert counts(layout(tmp_path)) == {"train": 6}


@pytest.mark.parametrize("folder", ["test", "test/unknown"])
def test_a_test_part_without_labels_is_set_aside(tmp_path, folder):
    put(tmp_path, *images("train/cats"), *images("train/dogs"), *images(folder, 2))
    understood = layout(tmp_path)
    assert counts(understood) == {"train": 6}
    assert understood.set_aside == images(folder, 2)
    assert "2 images of a test part without labels" in str(understood.warnings[0])


# Tables.


def rows_of(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def test_one_table_beside_a_folder_of_images(tmp_path):
    put(tmp_path, *images("images", 4, ".png"))
    (tmp_path / "labels.csv").write_text(rows_of("id,breed", "0,cat", "1,dog", "2,cat", "3,dog"))
    understood = layout(tmp_path)
    assert understood.name == "images with labels.csv"
    assert understood.listed
    assert parts(understood) == {
        "train": {f"images/{n}.png": "dog" if n % 2 else "cat" for n in range(4)}
    }


def test_a_split_column(tmp_path):
    put(tmp_path, *images("images", 6))
    rows = ["images/0.jpg,cat,train", "images/1.jpg,dog,train", "images/2.jpg,cat,train"]
    rows += ["images/3.jpg,dog,train", "images/4.jpg,cat,test", "images/5.jpg,dog,test"]
    (tmp_path / "metadata.csv").write_text(rows_of("path,label,split", *rows))
    assert counts(layout(tmp_path)) == {"train": 4, "test": 2}


def test_json_lines_beside_the_images_of_each_split(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        put(tmp_path, *images(split, count))
        lines = [
            json.dumps({"file_name": f"{n}.jpg", "label": "dog" if n % 2 else "cat"})
            for n in range(count)
        ]
        (tmp_path / split / "metadata.jsonl").write_text(rows_of(*lines))
    understood = layout(tmp_path)
    assert counts(understood) == {"train": 4, "test": 2}
    assert parts(understood)["test"] == {"test/0.jpg": "cat", "test/1.jpg": "dog"}


def test_one_hot_tables_of_each_split(tmp_path):
    for split in ("train", "valid", "test"):
        put(tmp_path, *images(split, 2))
        table = rows_of("filename, cat, dog", "0.jpg, 1, 0", "1.jpg, 0, 1")
        (tmp_path / split / "_classes.csv").write_text(table)
    understood = layout(tmp_path)
    assert counts(understood) == {"train": 2, "test": 2, "validation": 2}
    assert parts(understood)["validation"] == {"valid/0.jpg": "cat", "valid/1.jpg": "dog"}


def test_a_table_for_the_training_images_and_a_test_part_without_labels(tmp_path):
    put(tmp_path, *images("train", 4), *[f"test/{n}.jpg" for n in range(10, 13)])
    rows = [f"{n}.jpg,{'dog' if n % 2 else 'cat'}" for n in range(4)]
    (tmp_path / "train.csv").write_text(rows_of("image,label", *rows))
    (tmp_path / "sample_submission.csv").write_text(rows_of("image,label", "10.jpg,0", "11.jpg,0"))
    understood = layout(tmp_path)
    assert counts(understood) == {"train": 4}
    assert len(understood.set_aside) == 3


def test_folders_that_a_table_contradicts_are_no_classes(tmp_path):
    put(tmp_path, *[f"part_1/{n}.jpg" for n in range(4)], *[f"part_2/{n}.jpg" for n in range(4, 8)])
    rows = [f"{n},{'nv' if n % 2 else 'mel'}" for n in range(8)]
    (tmp_path / "metadata.csv").write_text(rows_of("image_id,dx", *rows))
    understood = layout(tmp_path)
    assert understood.name == "images with metadata.csv"
    assert set(parts(understood)["train"].values()) == {"nv", "mel"}


def test_a_table_that_says_what_the_folders_say_changes_nothing(tmp_path):
    put(tmp_path, *images("cats", 4), *images("dogs", 4))
    rows = [f"{name}s/{n}.jpg,{name}" for name in ("cat", "dog") for n in range(4)]
    (tmp_path / "labels.csv").write_text(rows_of("file,label", *rows))
    assert layout(tmp_path).name == "class folders"


def test_two_tables_are_refused_with_both_names(tmp_path):
    put(tmp_path, *images("images", 4))
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(
            rows_of("file,label", "0.jpg,cat", "1.jpg,dog", "2.jpg,cat", "3.jpg,dog")
        )
    assert refusal(tmp_path) == (
        "2 tables name images and classes: a.csv and b.csv. Say which one counts: leave one of them"
        ' there, or write a groundtruth.csv of two columns, "file,label".'
    )


def test_an_image_that_a_table_does_not_name_is_left_out_and_said(tmp_path):
    put(tmp_path, *images("images", 5))
    rows = ["0.jpg,cat", "1.jpg,dog", "2.jpg,cat", "3.jpg,dog"]
    (tmp_path / "labels.csv").write_text(rows_of("file,label", *rows))
    understood = layout(tmp_path)
    assert understood.images == 4
    assert [str(warning) for warning in understood.warnings] == [
        "1 image is not named in labels.csv, first images/4.jpg: left out."
    ]


# What is no layout.


@pytest.mark.parametrize("separator", [".", "_", "-", " ", ""])
def test_a_flat_folder_is_refused_with_a_command_that_sorts_it(tmp_path, separator):
    root = tmp_path / "it's flat"
    put(root, *[f"{name}{separator}{n}.jpg" for name in ("cat", "my dog") for n in range(3)])
    said = refusal(root)
    assert said.startswith("6 images lie in the folder itself, not in a folder for each class")
    command = said[said.index("(cd ") :]
    assert shlex.quote(str(root)) in command
    subprocess.run(["bash", "-ec", command], check=True)
    assert set(parts(layout(root))["train"].values()) == {"cat", "my dog"}


def test_what_is_there_is_named_where_nothing_fits(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    (tmp_path / "labels.txt").write_text("")
    assert refusal(tmp_path).startswith(
        "no layout fits: 0 images in 3 folders (a, b, c) and labels.txt; expected a folder for each"
        " class with its images, "
    )


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    assert refusal(tmp_path).startswith("no layout fits: it is empty; expected ")


# Litter and links.


def test_litter_is_passed_over_everywhere(tmp_path):
    put(tmp_path, *images("cats"), *images("dogs"), "cats/._0.png", "__MACOSX/cats/0.jpg")
    for name in (".DS_Store", "cats/Thumbs.db", "dogs/desktop.ini", "README.md", "LICENSE"):
        (tmp_path / name).write_text("")
    put(tmp_path, "@eaDir/0.jpg", ".ipynb_checkpoints/0.png")
    understood = layout(tmp_path)
    assert counts(understood) == {"train": 6}
    assert understood.warnings == []


def test_links_to_files_are_followed_inside_the_raw_dataset_and_where_it_is_allowed(tmp_path):
    root = put(tmp_path / "raw", *images("cats"), *images("dogs"), "store/9.jpg")
    put(tmp_path, "cache/0.jpg", "elsewhere/0.jpg")
    (root / "cats/link.jpg").symlink_to("../dogs/0.jpg")
    (root / "cats/cached.jpg").symlink_to(tmp_path / "cache/0.jpg")
    (root / "cats/outside.jpg").symlink_to(tmp_path / "elsewhere/0.jpg")
    (root / "cats/nowhere.jpg").symlink_to("nowhere")
    (root / "cats/circle.jpg").symlink_to("circle.jpg")
    (root / "circle").symlink_to(root)
    look = scan(root)
    assert sorted(look.folders["cats"].targets) == ["link.jpg"]
    assert look.opened_as("cats/link.jpg") == "dogs/0.jpg"
    assert look.folders["cats"].others == [
        "cached.jpg", "circle.jpg", "nowhere.jpg", "outside.jpg"
    ]  # fmt: skip
    look = scan(root, (tmp_path / "cache",))
    assert sorted(look.folders["cats"].targets) == ["cached.jpg", "link.jpg"]


def test_a_tree_that_is_nested_too_deep_is_named(tmp_path):
    put(tmp_path, *images("cats"), *images("dogs"), "/".join("abcdefghij") + "/0.jpg")
    assert "nested deeper than 8 folders" in refusal(tmp_path)
