"""The page of one run: told from files alone, whatever is in them, and served from nowhere else."""

import asyncio
import json

import numpy as np
import pytest

from helper import whole_file, write_json
from pipeline.artifacts import ledger, safe_pickle
from pipeline.artifacts.metadata import read_json
from pipeline.data_folder import DataFolder, training_log
from pipeline.stage.text import csv_of
from pipeline.training.run_queue import RunQueue
from pipeline.web import run_page
from pipeline.web.run_page import about, files_of, row_of
from pipeline.web.web_site import Site
from testkit.processes import patience

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>"
CLASSES = [":x", HOSTILE, "猫"]
TRUE, PREDICTED = [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 2]


@pytest.fixture
def site(tmp_path):
    """One analyzed run on six test images of three classes, of which two are taken for another."""
    data = DataFolder(tmp_path / "data")
    data.make()
    for name in ("models", "sets"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "m.py").write_text("")
    (tmp_path / "sets" / "s.toml").write_text("epochs = 3\n")
    put_dataset(data)
    [run] = RunQueue(data.path, tmp_path / "models", tmp_path / "sets").look()
    name = run.plain_name
    data.checkpoint(name).write_bytes(b"weights")
    made_from = {"key": run.key, "model": "m", "settings": {"epochs": 3}, "best_epoch": 2}
    warnings = {"ended_early": {"text": HOSTILE}}
    write_json(
        data.checkpoint(name).with_suffix(".json"), {"run": {**made_from, "warnings": warnings}}
    )
    log = training_log(data.checkpoint(name))
    log.parent.mkdir()
    log.write_text("printed by the model\n")
    write_json(data.report(name), report_on(run, name))
    rows = [
        [
            f"test/{index if index else HOSTILE}.png",
            CLASSES[true],
            CLASSES[guess],
            0.5 + index / 20,
            0.1,
        ]
        for index, (true, guess) in enumerate(zip(TRUE, PREDICTED, strict=True))
    ]
    columns = ("file", "true", "predicted", "confidence", "true_probability")
    (data.results / f"predictions_{name}.csv").write_bytes(csv_of(columns, rows))
    record(data.training_record, {run.key: {"state": "trained", "name": name, "accuracy": 0.75}})
    tested = {"state": "analyzed", "run": name, "accuracy": 4 / 6, "test_images": 6}
    record(data.analysis_record, {"sha256": tested})
    site = Site.of(data.path, tmp_path / "models", tmp_path / "sets")
    site.live.look()
    return site


def put_dataset(data):
    pixels = np.arange(6 * 8 * 8 * 3, dtype=np.uint8).reshape(6, 8, 8, 3)
    labels = np.array(TRUE, np.int64)
    part = {"img": pixels, "label": labels, "class": np.eye(3, dtype=np.float32)[labels]}
    described = {
        "raw_dataset": f"data/raw_dataset/{HOSTILE.replace('/', '')}",
        "class_names": CLASSES,
    }
    path = data.dataset("2022-06-08 20:57:20.868637")
    safe_pickle.publish(path, {"test": part, "train": part}, described)


def report_on(run, name):
    figures = [
        {"class": one, "precision": 0.5, "recall": None, "f1": 0.5, "support": 2} for one in CLASSES
    ]
    history = {"accuracy": [0.2, 0.8], "val_accuracy": [0.3, None], "loss": [2.0, 1.0]}
    return {
        "run": name, "checkpoint_sha256": "c", "dataset": run.dataset.name, "accuracy": 4 / 6,
        "dataset_sha256": run.dataset.digest, "classes": figures, "history": history,
    }  # fmt: skip


def record(path, entries):
    with whole_file(path) as file:
        file.write(ledger._dump(entries))


def only_row(site):
    [row] = site.live.snapshot.rows
    return row


def test_all_that_is_known_of_a_run_is_told(site):
    told = about(site, only_row(site))
    assert (told["test"], told["state"], told["best"]["key"]) == (
        4 / 6,
        "analyzed",
        only_row(site).key,
    )
    assert told["settings"] == [["epochs", 3]]
    assert dict(told["provenance"])["best_epoch"] == 2
    assert told["warnings"] == [HOSTILE]
    assert [curve["name"] for curve in told["curves"]] == ["accuracy", "val_accuracy", "loss"]
    assert [one["class"] for one in told["classes"]] == CLASSES
    # The mistakes come first, the most confident ones before the others.
    assert [one[0] for one in told["predictions"]] == [4, 1, 5, 3, 2, 0]
    assert told["predictions"][0][2:4] == ["猫", HOSTILE]
    assert told["log"] == "printed by the model\n"
    json.dumps(told, allow_nan=False)


def test_the_images_are_those_of_the_dataset_and_of_no_other(site):
    row = only_row(site)
    assert run_page.test_image(site.data, row, 5).startswith(b"\x89PNG")
    for index in (-1, 6, 10**9):
        assert run_page.test_image(site.data, row, index) is None
    path = site.data.dataset(row.dataset).with_suffix(".json")
    write_json(path, {**read_json(path), "sha256": "another"})
    assert run_page.test_image(site.data, row, 5) is None
    assert about(site, row)["has_images"] is False


def test_only_the_files_of_the_run_can_be_taken_away(site):
    row = only_row(site)
    files = files_of(site.data, row.name)
    assert f"{row.name}.pkl" in files and f"predictions_{row.name}.csv" in files
    for path in files.values():
        assert path.resolve().is_relative_to(site.data.path.resolve())
    # What leads elsewhere is none of them.
    (site.data.results / f"predictions_{row.name}.csv").unlink()
    (site.data.results / f"predictions_{row.name}.csv").symlink_to("/etc/passwd")
    assert f"predictions_{row.name}.csv" not in files_of(site.data, row.name)
    for name in ("../data_ingestion_settings.pkl", "/etc/passwd", "", "."):
        assert name not in files


@pytest.mark.parametrize("key", ["", "gone", "../../x", "\0"])
def test_a_run_that_is_not_there_is_none(site, key):
    assert asyncio.run(row_of(site, key)) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"run": 1}', b'{"history": 3, "classes": [1, {"class": [1]}]}', b"\xff" * 99],
)
def test_whatever_the_report_and_the_predictions_are_it_is_told(site, content):
    row = only_row(site)
    for path in (
        site.data.report(row.name),
        site.data.checkpoint(row.name).with_suffix(".json"),
        site.data.results / f"predictions_{row.name}.csv",
    ):
        path.write_bytes(content)
        json.dumps(about(site, row), allow_nan=False)


def test_it_is_looked_at_in_a_browser(browser, site, start, tmp_path):
    web = start(
        *("web_ui.py", "--data", tmp_path / "data", "--port", 0),
        *("--models-folder", tmp_path / "models", "--hyperparameters-folder", tmp_path / "sets"),
    )
    address = web.wait_for("the page is at ").rpartition(" ")[2]
    context = browser.new_context(viewport={"width": 390, "height": 844}, accept_downloads=True)
    context.set_default_timeout(1000 * patience(10))
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{address}runs")
    page.locator(".runs-row a").first.click()
    page.get_by_text("66.7 %").first.wait_for()
    page.get_by_text("Mistakes, the most confident first (2)").wait_for()
    page.get_by_title(f"true 猫, predicted {HOSTILE}: 1").click()
    page.get_by_text(f"True 猫, predicted {HOSTILE} (1)").wait_for()
    page.locator(".gallery button").click()
    page.get_by_role("dialog").get_by_text("test/4.png").wait_for()
    assert (
        page.get_by_role("dialog")
        .locator("img")
        .evaluate("one => one.decode().then(() => one.naturalWidth)")
        == 8
    )
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("link", name=f"predictions_{only_row(site).name}.csv").click()
    assert download.value.path().read_bytes().startswith(b"file,true,predicted")
    assert page.evaluate("window.hit ?? 'none'") == "none"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{address}run?key=gone")
    page.get_by_text("This run is not there").wait_for()
    context.close()
    assert [text for text in wrong if "404" not in text] == []
