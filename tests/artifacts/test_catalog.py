import json
import os
from datetime import datetime

import pytest

from helper import UserError, sha256_of
from pipeline.artifacts.catalog import Catalog

NEWEST = "2024-05-06 07:08:09.000000"
OLDEST = "2001-01-01 00:00:00.000000"


def put(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content))


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
    return [checkpoint.run for checkpoint in Catalog(data).checkpoints]


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


def test_a_later_look_sees_what_came_went_or_changed_its_place(tmp_path):
    path = put_dataset(tmp_path, "mine", changed=1_000_000_000)
    for name in (NEWEST, "mine"):
        put_checkpoint(tmp_path, name, {"dataset": name})
    catalog = Catalog(tmp_path)

    def later():
        catalog.look()
        return [checkpoint.run for checkpoint in catalog.checkpoints]

    assert later() == later() == [NEWEST, "mine"]
    os.utime(path, (2_000_000_000, 2_000_000_000))
    assert later() == ["mine", NEWEST]
    put_checkpoint(tmp_path, "other", {"dataset": "mine", "model_priority": -1})
    assert later() == ["mine", "other", NEWEST]
    put_checkpoint(tmp_path, "other", {"dataset": "mine", "model_priority": 1})
    assert later() == ["other", "mine", NEWEST]
    (tmp_path / "model_checkpoints" / "mine.pkl").unlink()
    assert later() == ["other", NEWEST]


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
    [checkpoint] = Catalog(tmp_path).checkpoints
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
    catalog, found = Catalog(tmp_path), {}
    for checkpoint in catalog.checkpoints:
        try:
            found[checkpoint.run] = catalog.dataset_of(checkpoint).name
        except UserError as error:
            found[checkpoint.run] = str(error).split(",")[0]
    assert found == {
        "by content": "renamed",
        "by name": "named",
        "changed": "waits for its dataset named",
        "gone": "waits for its dataset gone",
        "outside": "waits for its dataset ../dataset/named",
    }
