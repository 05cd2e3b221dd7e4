import csv
import hashlib
import io
import os

import numpy as np
import pytest

from pipeline.artifacts.catalog import Catalog
from pipeline.artifacts.image_table import (
    file_names,
    image_table,
    validation_rows,
    validation_sha256,
)
from pipeline.data_folder import image_table_path
from pipeline.raw_data.published import Published

NAME = "2024-05-06 07:08:09.000000"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
NAMES = ["b.png", "a.png", "c, d.png"]


def digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()[:16]


def rows(names=NAMES, images=IMAGES) -> list[tuple[str, str, bytes]]:
    return [(name, "cat", digest(image)) for name, image in zip(names, images, strict=True)]


@pytest.fixture
def dataset(tmp_path):
    """The path of a dataset; beside it is the table for IMAGES in test, and their reverse in train."""
    path = tmp_path / f"{NAME}.pkl"
    table = image_table({"test": rows(), "train": rows(NAMES[::-1], IMAGES[::-1])})
    image_table_path(path).write_bytes(table)
    return path


def test_the_table_says_of_each_image_where_it_is_and_what_it_was(dataset):
    [columns, *lines] = csv.reader(io.StringIO(image_table_path(dataset).read_text()))
    assert columns == ["split", "index", "file", "class", "digest"]
    assert [line[:4] for line in lines] == [
        ["test", "0", "b.png", "cat"],
        ["test", "1", "a.png", "cat"],
        ["test", "2", "c, d.png", "cat"],
        ["train", "0", "c, d.png", "cat"],
        ["train", "1", "a.png", "cat"],
        ["train", "2", "b.png", "cat"],
    ]
    assert [bytes.fromhex(line[4]) for line in lines[:3]] == [digest(image) for image in IMAGES]


def test_the_names_are_those_of_the_images(dataset):
    assert file_names(dataset, "test", IMAGES) == NAMES
    assert file_names(dataset, "train", IMAGES[::-1]) == NAMES[::-1]
    turned = np.asfortranarray(IMAGES)  # as another program may have pickled them
    assert file_names(dataset, "test", turned) == NAMES


def test_there_are_none_without_a_table(dataset):
    image_table_path(dataset).unlink()
    assert file_names(dataset, "test", IMAGES) == []


@pytest.mark.parametrize("images", [IMAGES[:2], IMAGES[[0, 2, 1]], IMAGES[::-1], 255 - IMAGES])
def test_a_table_of_other_images_names_none(dataset, images):
    assert file_names(dataset, "test", images) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"split,index\ntest,0\ntest,1\ntest,2\n",
        b'split,index,file,class,digest\ntest,0,"b.png\n',
        b"split,index,file,class,digest\n" + b"test,0\n" * 3,
        b"split,index,file,class,digest\n" + b"test," + b"x" * 200_000 + b"\n",
        b"split,file,digest\n" + b"test,b.png\n" * 3,
        b"test\n" * 3,
        b"\0" * 99,
    ],
)
def test_what_is_no_such_table_names_none(dataset, content):
    image_table_path(dataset).write_bytes(content)
    assert file_names(dataset, "test", IMAGES) == []


def test_what_is_no_file_is_named_and_not_waited_for(dataset, caplog):
    path = image_table_path(dataset)
    path.unlink()
    os.mkfifo(path)
    assert file_names(dataset, "test", IMAGES) == []
    assert "cannot be read: it is a pipe, expected a file. Put another file there." in caplog.text


def test_a_name_is_a_value_and_stays_so(dataset):
    hostile = ["=cmd|' /C calc'!A0.png", "a\nb\x1b[31m.png", '"\uff1d1",\u202e.png']
    image_table_path(dataset).write_bytes(image_table({"test": rows(hostile)}))
    named = file_names(dataset, "test", IMAGES)
    assert named == ["'=cmd|' /C calc'!A0.png", "a\\nb\\x1b[31m.png", '"\uff1d1",\\u202e.png']
    image_table_path(dataset).write_bytes(image_table({"test": rows(named)}))
    assert file_names(dataset, "test", IMAGES) == named  # one apostrophe is enough


def test_a_table_alone_is_no_dataset(dataset, tmp_path):
    (tmp_path / "dataset").mkdir()
    image_table_path(dataset).rename(tmp_path / "dataset" / f"{NAME}.csv")
    assert Catalog(tmp_path).datasets == {}
    published = Published(tmp_path / "dataset")
    assert published.by_content() == {}
    assert published.name_for("a digest") != NAME


VALIDATION = np.array([False, True, False])


def put_validation(dataset, validation=VALIDATION):
    table = image_table({"test": rows(), "train": rows()}, validation)
    image_table_path(dataset).write_bytes(table)


def test_a_given_validation_part_is_a_last_column_and_read_again(dataset):
    put_validation(dataset)
    [columns, *lines] = csv.reader(io.StringIO(image_table_path(dataset).read_text()))
    assert columns[-1] == "validation"
    assert [line[-1] for line in lines] == ["false"] * 3 + ["false", "true", "false"]
    read = validation_rows(dataset, IMAGES)
    assert read.dtype == bool
    assert read.tolist() == VALIDATION.tolist()
    assert (
        validation_sha256(read) == validation_sha256(VALIDATION) != validation_sha256(~VALIDATION)
    )
    assert file_names(dataset, "test", IMAGES) == NAMES


def test_a_table_of_before_gives_no_validation_part(dataset):
    assert validation_rows(dataset, IMAGES[::-1]) is None


def test_a_table_of_other_images_or_with_other_words_gives_no_validation_part(dataset):
    put_validation(dataset)
    assert validation_rows(dataset, IMAGES[::-1]) is None
    path = image_table_path(dataset)
    path.write_bytes(path.read_bytes().replace(b"true", b"perhaps"))
    assert validation_rows(dataset, IMAGES) is None
    path.unlink()
    assert validation_rows(dataset, IMAGES) is None
