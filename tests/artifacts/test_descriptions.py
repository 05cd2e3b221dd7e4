import json
import os
import resource

import pytest

from pipeline.artifacts.descriptions import Descriptions


def put(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content))


def described(folder):
    """Descriptions of `folder` that tell their "word", and the list of names that were read so far."""
    read = []

    def tell(name, content):
        read.append(name)
        return content.get("word")

    return Descriptions(folder, tell), read


def test_a_description_is_read_again_only_when_it_changed(tmp_path):
    put(tmp_path, "a", {"word": "one"})
    put(tmp_path, "b", {"word": "two"})
    descriptions, read = described(tmp_path)
    first = descriptions.look()
    assert first == {"a": "one", "b": "two"}
    assert descriptions.look() is first  # so its users see at once that nothing changed
    assert sorted(read) == ["a", "b"]
    put(tmp_path, "b", {"word": "three"})
    assert descriptions.look() == {"a": "one", "b": "three"}
    assert sorted(read) == ["a", "b", "b"]


def test_a_description_of_the_same_size_and_time_in_a_new_file_is_read_again(tmp_path):
    put(tmp_path, "a", {"word": "one"})
    descriptions, _ = described(tmp_path)
    descriptions.look()
    status = (tmp_path / "a.json").stat()
    put(tmp_path / "aside", "a", {"word": "two"})
    os.utime(tmp_path / "aside" / "a.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "aside" / "a.json").rename(tmp_path / "a.json")
    assert descriptions.look() == {"a": "two"}


def test_what_goes_is_gone_and_may_come_back(tmp_path):
    folder = tmp_path / "folder"
    descriptions, _ = described(folder)
    assert descriptions.look() == {}
    put(folder, "a", {"word": "one"})
    assert descriptions.look() == {"a": "one"}
    (folder / "a.json").unlink()
    assert descriptions.look() == {}
    folder.rmdir()
    assert descriptions.look() == {}


def test_what_is_no_description_is_left_out(tmp_path):
    put(tmp_path, "a", {"word": "one"})
    put(tmp_path, "no object", ["word"])
    put(tmp_path, "another", {"other": 1})
    (tmp_path / "damaged.json").write_bytes(b'{"word": \xff')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "not there")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    os.mkfifo(tmp_path / "pipe.json")  # to read it would be to wait for ever
    descriptions, _ = described(tmp_path)
    assert descriptions.look() == {"a": "one"}


@pytest.mark.parametrize("files_left", [0, 1])  # too few for the folder; for a file in it
def test_what_cannot_be_read_for_now_stays_as_it_was(tmp_path, files_left):
    put(tmp_path, "a", {"word": "one"})
    descriptions, _ = described(tmp_path)
    descriptions.look()
    put(tmp_path, "a", {"word": "another"})
    put(tmp_path, "b", {"word": "two"})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + files_left, limits[1]))
    try:
        assert descriptions.look() == {"a": "one"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert descriptions.look() == {"a": "another", "b": "two"}
