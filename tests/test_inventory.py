import json
import os
import resource
from datetime import datetime

import pytest

from helper import UserError, sha256_of
from pipeline.inventory import Descriptions, Inventory

NEWEST = "2024-05-06 07:08:09.000000"
OLDEST = "2001-01-01 00:00:00.000000"


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
    assert descriptions.look() == descriptions.look() == {"a": "one", "b": "two"}
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


def put_checkpoint(data, name, run=None):
    put(data / "model_checkpoints", name, {"sha256": f"of {name}", "run": run or {}})
    (data / "model_checkpoints" / f"{name}.pkl").write_text(name)


def put_dataset(data, name, content="", changed=None):
    path = data / "dataset" / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or name)
    if changed:
        os.utime(path, (changed, changed))
    return path


def order(data):
    return [checkpoint.run for checkpoint in Inventory(data).checkpoints()]


def test_checkpoints_come_newest_dataset_first_then_by_priority_then_by_name(tmp_path):
    for name, place, model, model_priority, chosen, set_priority in [
        ("6", OLDEST, "a", 9, "a", 9),
        ("5", NEWEST, "z", 0, "a", 3),
        ("4", NEWEST, "a", 0, "b", 3),
        ("3", NEWEST, "a", 1, "a", 3),
        ("2", NEWEST, "a", 1, "b", 7),
        ("1", NEWEST, "b", 2, "a", 0),
    ]:
        run = {"dataset": place, "model": model, "model_priority": model_priority}
        run |= {"hyperparameter_set": chosen, "settings": {"priority": set_priority}}
        put_checkpoint(tmp_path, name, run)
    assert order(tmp_path) == ["1", "2", "3", "4", "5", "6"]


def test_a_dataset_that_was_named_by_hand_is_as_old_as_its_file(tmp_path):
    for name, changed in (("mine", datetime(2010, 1, 1)), ("yours", datetime(2030, 1, 1))):
        put_dataset(tmp_path, name, changed=changed.timestamp())
        put_checkpoint(tmp_path, name, {"dataset": name})
    for name in (NEWEST, OLDEST, "gone"):
        put_checkpoint(tmp_path, name, {"dataset": name})
    assert order(tmp_path) == ["yours", NEWEST, "mine", OLDEST, "gone"]


@pytest.mark.parametrize(
    "run",
    [
        [],
        "run",
        {"dataset": 7, "settings": [], "model": None},
        {"dataset": "../../x\0", "model_priority": float("nan"), "settings": {"priority": "high"}},
        {"dataset": "d" * 5000, "model_priority": 10**400, "settings": {"priority": True}},
    ],
)
def test_a_strange_description_stops_no_look(tmp_path, run):
    put_checkpoint(tmp_path, OLDEST, {"dataset": OLDEST})
    put_checkpoint(tmp_path, "strange", run)
    (tmp_path / "model_checkpoints" / "bare.pkl").write_text("no description")
    assert order(tmp_path)[0] == OLDEST
    assert sorted(order(tmp_path)) == sorted([OLDEST, "strange", "bare"])


def test_a_checkpoint_without_description_is_known_by_its_content_and_name(tmp_path):
    put_checkpoint(tmp_path, f"{NEWEST}__cnn__fast")
    path = tmp_path / "model_checkpoints" / f"{NEWEST}__cnn__fast.pkl"
    path.with_suffix(".json").unlink()
    [checkpoint] = Inventory(tmp_path).checkpoints()
    assert (checkpoint.sha256, checkpoint.dataset) == (sha256_of(path), NEWEST)


def test_a_dataset_is_found_by_content_or_else_by_name(tmp_path):
    path = put_dataset(tmp_path, "renamed")
    put_dataset(tmp_path, "named")
    runs = {
        "by content": {"dataset": "first", "dataset_sha256": sha256_of(path)},
        "by name": {"dataset": "named"},
        "changed": {"dataset": "named", "dataset_sha256": "of another content"},
        "gone": {"dataset": "gone"},
        "outside": {"dataset": "../dataset/named"},
    }
    for name, run in runs.items():
        put_checkpoint(tmp_path, name, run)
    inventory, found = Inventory(tmp_path), {}
    for checkpoint in inventory.checkpoints():
        try:
            found[checkpoint.run] = inventory.dataset_of(checkpoint).stem
        except UserError as error:
            found[checkpoint.run] = str(error).split(",")[0]
    assert found == {
        "by content": "renamed",
        "by name": "named",
        "changed": "waits for its dataset named",
        "gone": "waits for its dataset gone",
        "outside": "waits for its dataset ../dataset/named",
    }
