"""What spoils results silently is counted, said in a sentence, and shown by files."""

import hashlib
import json

import numpy as np
import pytest

import constants
from pipeline.artifacts.metadata import DatasetDescription
from pipeline.images.near_duplicates import near_duplicates, signatures
from pipeline.raw_data.data_warnings import NOTES, as_described, find_warnings

SIZE = 16


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (count, SIZE, SIZE, 3), np.uint8)


def split(images, labels):
    return {"img": images, "label": np.array(labels, np.int64)}


def found(train, test, class_names="ab", notes=None):
    """The warnings, by kind, of two splits; the images are called train/0.png, ..."""
    splits = {"train": split(*train), "test": split(*test)}
    files = {
        name: [f"{name}/{n}.png" for n in range(len(part["img"]))] for name, part in splits.items()
    }
    digests = {
        name: [hashlib.sha256(image.tobytes()).digest()[:16] for image in part["img"]]
        for name, part in splits.items()
    }
    images = [signatures(part["img"]) for part in splits.values()]
    pairs = near_duplicates(np.concatenate(images))
    warnings = find_warnings(splits, files, digests, list(class_names), pairs, notes or {})
    assert len({warning.kind for warning in warnings}) == len(warnings)
    return {warning.kind: warning for warning in warnings}


def fine():
    """Two classes of 20 different images in train, and of 2 in test."""
    return (pictures(40), [0, 1] * 20), (pictures(4, 1), [0, 1] * 2)


def test_there_is_none_where_all_is_fine():
    assert found(*fine()) == {}


def test_equal_images_in_train_and_test_are_counted_and_named():
    train, test = fine()
    test[0][1], test[0][3] = train[0][7], train[0][9]
    warning = found(train, test)["in_train_and_test"]
    assert (warning.count, warning.files) == (2, ("test/1.png", "test/3.png"))
    assert "first test/1.png = train/7.png: the test accuracy will look better" in str(warning)


def test_equal_images_of_different_labels_are_counted_once_and_named_in_pairs():
    train, test = fine()
    train[0][9] = train[0][11] = train[0][4]
    train[0][8] = train[0][6]
    assert set(found(train, test)) == {"different_labels"}
    warning = found(train, test)["different_labels"]
    assert (warning.count, warning.files) == (1, ("train/4.png", "train/9.png"))
    assert "first train/4.png and train/9.png: no model can get these right." in str(warning)


def test_test_images_that_look_like_one_in_train_are_named_with_it():
    train, test = fine()
    test[0][1], test[0][2] = train[0][7] + 9, train[0][8][:, ::-1]
    warnings = found(train, test)
    assert set(warnings) == {"near_in_train_and_test"}
    warning = warnings["near_in_train_and_test"]
    assert warning.count == 2
    assert set(zip(warning.files[::2], warning.files[1::2], strict=True)) == {
        ("test/1.png", "train/7.png"),
        ("test/2.png", "train/8.png"),
    }


def test_look_alikes_of_different_labels_are_pairs_and_stay():
    train, test = fine()
    train[0][5], train[0][6] = train[0][4] + 9, train[0][8] + 9  # of another class, and of the same
    warnings = found(train, test)
    assert set(warnings) == {"near_different_labels"}
    assert warnings["near_different_labels"].files == ("train/4.png", "train/5.png")
    assert warnings["near_different_labels"].count == 1


def test_small_and_unequal_classes_are_named_with_their_sizes():
    labels = [0] * 101 + [1] * 10 + [2] * 9
    warnings = found((pictures(120), labels), (pictures(3, 1), [0, 1, 2]), "abc")
    assert set(warnings) == {"few_images", "unequal_classes"}
    assert str(warnings["few_images"]) == (
        "classes with under 10 training images: 1 of 3, first c with 9: they will hardly be learned."
    )
    assert str(warnings["unequal_classes"]) == (
        "classes with under a tenth of the training images of the largest, a with 101: 2 of 3, the"
        " smallest c with 9: the accuracy says little of them."
    )


def test_ten_times_as_many_is_not_yet_unequal():
    assert found((pictures(110), [0] * 100 + [1] * 10), (pictures(2, 1), [0, 1])) == {}


def test_a_class_that_cannot_be_validated_or_tested_is_named():
    images = pictures(32)
    images[20:] = images[20]  # twelve copies
    images[21:, :8] += 1  # nearly
    warnings = found((images, [0] * 20 + [1] * 12), (pictures(1, 1), [0]))
    assert {kind: warning.count for kind, warning in warnings.items()} == {
        "not_in_validation": 1,
        "not_in_test": 1,
    }
    assert "first b with 12: none can be held out" in str(warnings["not_in_validation"])
    assert "1 of 2, first b: how well" in str(warnings["not_in_test"])


@pytest.mark.parametrize("code", NOTES)
def test_a_note_on_reading_is_one_warning_with_its_count(code):
    files = [f"train/{number}.png" for number in range(1234)]
    [warning] = found(*fine(), notes={code: files}).values()
    assert (warning.kind, warning.count) == (code.replace(" ", "_"), 1234)
    assert warning.files == tuple(files[: constants.MOST_EXAMPLES])
    what, effect = NOTES[code]
    assert str(warning) == f"{what}: 1,234, first train/0.png: {effect}"


def test_descriptions_hold_them_by_kind_and_older_ones_are_read_too():
    train, test = fine()
    test[0][1] = train[0][7]
    described = as_described(list(found(train, test).values()))
    read = DatasetDescription.of(json.loads(json.dumps({"warnings": described})))
    assert read.warnings == described
    assert described["in_train_and_test"]["files"] == ["test/1.png"]
    old = {"few_images": {"count": 3, "text": "few"}}
    assert DatasetDescription.of({"warnings": old}).warnings == {
        "few_images": {"count": 3, "text": "few", "files": []}
    }


def test_no_file_name_writes_to_the_terminal():
    [warning] = found(*fine(), notes={"frames": ["train/a\x1b[31m\n.gif"]}).values()
    assert "\x1b" not in str(warning) + warning.files[0]
