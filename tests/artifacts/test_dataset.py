import pickle

import numpy as np
import pytest

from helper import UserError
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.dataset import display_name, display_names, display_run, load_split


def split(count: int = 4) -> dict:
    labels = np.arange(count) % 3
    return {
        "img": np.arange(count * 5 * 6 * 3).reshape(count, 5, 6, 3).astype(np.uint8),
        "label": labels.astype(np.int64),
        "class": np.eye(3, dtype=np.float32)[labels],
    }


def published(tmp_path, content: object):
    path = tmp_path / "2022-06-08 20:57:20.868637.pkl"
    safe_pickle.publish(path, content, {})
    return path


def test_each_split_of_a_published_dataset_is_loaded_as_it_was_written(tmp_path):
    dataset = {"test": split(2), "train": split(7)}
    path = published(tmp_path, dataset)
    for name, part in dataset.items():
        found = load_split(path, name)
        assert found.keys() == part.keys()
        for key, values in part.items():
            assert found[key].dtype == values.dtype
            assert np.array_equal(found[key], values)


def test_a_dataset_that_was_pickled_by_hand_is_loaded_too(tmp_path):
    path = tmp_path / "mine.pkl"
    path.write_bytes(pickle.dumps({"test": split(1), "train": split(3)}, 3))
    assert load_split(path, "train")["label"].tolist() == [0, 1, 2]


def test_the_other_split_need_not_be_whole(tmp_path):
    path = published(tmp_path, {"train": split()})
    assert len(load_split(path, "train")["img"]) == 4


SOFT = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], np.float32)
DEVIATIONS = {
    "images of whole numbers": {"img": split()["img"].astype(np.int64)},
    "images from 0 to 1": {"img": split()["img"].astype(np.float32)},
    "grey images": {"img": split()["img"][..., 0]},
    "images of one channel": {"img": split()["img"][..., :1]},
    "images with transparency": {"img": np.zeros((4, 5, 6, 4), np.uint8)},
    "channels first": {"img": split()["img"].transpose(0, 3, 1, 2)},
    "more images than labels": {"img": split(5)["img"]},
    "images in a list": {"img": split()["img"].tolist()},
    "labels of 32 bits": {"label": split()["label"].astype(np.int32)},
    "labels with a point": {"label": split()["label"].astype(np.float64)},
    "labels in a column": {"label": split()["label"][:, None]},
    "labels in a list": {"label": split()["label"].tolist()},
    "more labels than images": {"label": split(5)["label"]},
    "labels that are not the classes": {"label": np.array([0, 1, 2, 1])},
    "a label below zero": {"label": np.array([0, 1, -1, 0])},
    "a label past the last class": {"label": np.array([0, 1, 3, 0])},
    "classes as numbers": {"class": split()["label"].astype(np.float32)},
    "more classes than images": {"class": split(5)["class"]},
    "classes of 64 bits": {"class": split()["class"].astype(np.float64)},
    "classes of whole numbers": {"class": split()["class"].astype(np.int64)},
    "probabilities as classes": {"class": SOFT},
    "two classes at once": {"class": np.maximum(split()["class"], np.array([0, 0, 1], np.float32))},
    "classes of two": {"class": split()["class"] * 2},
    "no class": {"label": np.zeros(4, np.int64), "class": np.zeros((4, 3), np.float32)},
    "no classes": {"class": np.zeros((4, 0), np.float32)},
    "nan": {"class": np.where(split()["class"] == 1, np.nan, 0).astype(np.float32)},
    "no image": split(0),
    "img missing": {"img": None},
    "label missing": {"label": None},
    "class missing": {"class": None},
}
CONTENTS = {what: {"train": {**split(), **part}} for what, part in DEVIATIONS.items()}
for _key in ("img", "label", "class"):
    del CONTENTS[f"{_key} missing"]["train"][_key]
CONTENTS |= {
    "the split missing": {"test": split()},
    "a list": [split(), split()],
    "None": None,
    "text": "train",
    "an array": split()["img"],
    "a split that is an array": {"train": split()["img"]},
    "a checkpoint": {"model": None, "history": {}},
}


@pytest.mark.parametrize("what", CONTENTS)
def test_a_pickle_of_something_else_is_refused_with_what_is_needed(tmp_path, what):
    path = published(tmp_path, CONTENTS[what])
    with pytest.raises(UserError) as refused:
        load_split(path, "train")
    assert str(refused.value) == (
        f'{path} is no dataset: its "train" needs "img" uint8 (count, height, width, 3),'
        ' "label" int64 and one-hot "class" float32 of the same count.'
        " Make it with data_ingestion.py."
    )


def test_a_damaged_dataset_is_refused_as_damaged(tmp_path):
    path = published(tmp_path, {"train": split()})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(safe_pickle.PickleError, match="is damaged"):
        load_split(path, "train")


TIME = "2026-11-25 04:13:07.250000"


def test_people_see_a_dataset_by_its_raw_dataset_and_the_minute():
    assert display_name(TIME, "pets") == "pets (2026-11-25 04:13)"
    assert display_name("mine", "pets") == "pets (mine)"
    assert display_name("pets", "pets") == "pets"
    assert display_name(TIME, "") == TIME
    assert display_run(f"{TIME}__cnn__quick", TIME, "pets") == (
        "pets (2026-11-25 04:13)__cnn__quick"
    )
    assert display_run("stranger", TIME, "pets") == "stranger"


def test_datasets_of_one_minute_are_told_apart():
    names = [TIME, "2026-11-25 04:13:09.500000", "2026-11-25 04:13:09.750000"]
    shown = display_names(dict.fromkeys(names, "pets") | {"x": ""})
    assert list(shown.values()) == [
        "pets (2026-11-25 04:13:07)",
        "pets (2026-11-25 04:13:09.500000)",
        "pets (2026-11-25 04:13:09.750000)",
        "x",
    ]


@pytest.mark.parametrize("name", ["w" * 5000, "two\nlines \x1b[31m", "\u202egpj", "half \ud800"])
def test_any_name_of_a_raw_dataset_is_short_text(name):
    shown = display_name(TIME, name)
    assert shown.isprintable()
    assert len(shown) < 70
