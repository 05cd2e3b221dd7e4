import json
import os

import pytest

from pipeline.artifacts.metadata import DatasetDescription
from pipeline.raw_data.published import Published

FIRST, SECOND = "2999-01-01 00:00:00.000000", "2999-01-01 00:00:00.000001"


@pytest.fixture
def put(tmp_path):
    def put_dataset(name, content, pickle=True):
        (tmp_path / f"{name}.json").write_text(json.dumps({"content": content}))
        if pickle:
            (tmp_path / f"{name}.pkl").touch()

    return put_dataset


def test_datasets_are_found_by_content(tmp_path, put):
    put("b", "one")
    put("a", "one")
    put("c", "two")
    (tmp_path / "by hand.pkl").touch()
    (tmp_path / "strange.json").write_text('{"content": [1]}')
    assert Published(tmp_path).by_content() == {"one": "a", "two": "c"}
    assert Published(tmp_path / "nowhere").by_content() == {}


def test_what_is_added_is_known_without_a_look(tmp_path, put):
    datasets = Published(tmp_path)
    name = datasets.name_for("one")
    put(name, "one")
    datasets.add("one", name)
    assert datasets.name_of("one") == name
    assert datasets.name_for("two") > name


def test_a_dataset_that_somebody_deleted_is_not_there(tmp_path, put):
    put(FIRST, "one")
    datasets = Published(tmp_path)
    assert datasets.name_of("one") == FIRST
    (tmp_path / f"{FIRST}.pkl").unlink()
    assert datasets.name_of("one") is None


def test_another_dataset_of_the_same_content_takes_its_turn(tmp_path, put):
    put(FIRST, "one")
    put(SECOND, "one")
    datasets = Published(tmp_path)
    assert datasets.name_of("one") == FIRST
    (tmp_path / f"{FIRST}.pkl").unlink()
    assert datasets.name_of("one") == SECOND


def test_a_description_alone_gives_its_name_to_the_dataset(tmp_path, put):
    put(FIRST, "one", pickle=False)
    datasets = Published(tmp_path)
    assert datasets.name_of("one") is None
    assert datasets.name_for("one") == FIRST
    assert datasets.name_for("two") == SECOND


def test_names_come_after_all_that_were_given(tmp_path):
    datasets = Published(tmp_path)
    datasets.come_after([FIRST, "2022-01-01 00:00:00.000000", "by hand"])
    assert datasets.name_for("one") == SECOND
    datasets.come_after(["9999-12-31 23:59:59.999999"])  # after which there is nothing
    assert datasets.name_for("one") == SECOND


def test_a_look_sees_what_changed(tmp_path, put):
    datasets = Published(tmp_path)
    assert datasets.name_of("one") is None
    put(FIRST, "one")
    datasets.look_again()
    assert datasets.name_of("one") == FIRST


def test_a_description_that_the_disk_does_not_give_is_no_new_dataset(tmp_path, put, monkeypatch):
    put(FIRST, "one")

    def fail(path):
        raise OSError(5, os.strerror(5), str(path))

    monkeypatch.setattr(DatasetDescription, "beside", fail)
    with pytest.raises(OSError, match="Input/output error"):
        Published(tmp_path).name_of("one")


def test_a_series_of_datasets_lists_the_folder_once(tmp_path, put, monkeypatch):
    for number in range(20):
        put(f"old {number}", f"old {number}")
    reads, read = [], DatasetDescription.beside
    monkeypatch.setattr(DatasetDescription, "beside", lambda path: reads.append(path) or read(path))
    datasets = Published(tmp_path)
    for number in range(20):
        content = f"new {number}"
        assert datasets.name_of(content) is None
        name = datasets.name_for(content)
        put(name, content)
        datasets.add(content, name)
    assert len(reads) == 20
    datasets.look_again()
    assert len(datasets.by_content()) == 40
    assert len(reads) == 40
