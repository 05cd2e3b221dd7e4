"""A data folder that an earlier version made: what is done stays done, and can be used."""

import json
import shutil
import tarfile

import pytest

import data_ingestion
import model_analysis
import model_training
import run_queue
from constants import ROOT

pytestmark = pytest.mark.slow

# What version 0.1.0 made of one raw dataset, one model and two sets, without its pictures.
ARCHIVE = ROOT / "tests" / "data_of_0.1.0.tar.xz"


@pytest.fixture
def old(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def run_all_stages(old):
    """Returns the exit status of each stage."""
    data = ["--data", str(old / "data"), "--once"]
    folders = [f"--models-folder={old / 'models'}", f"--hyperparameters-folder={old / 'sets'}"]
    return [
        data_ingestion.main([*data, "--settle", "0", "--image-size", "8"]),
        model_training.main([*data, *folders]),
        model_analysis.main(data),
    ]


def contents(old, pattern):
    return {path: path.read_bytes() for path in (old / "data").rglob(pattern)}


def test_nothing_is_done_again(old, capsys):
    before = contents(old, "*.pkl")
    results = [path for path in before if "settings" not in path.name]
    assert len(results) == 3  # a dataset and two checkpoints
    assert run_all_stages(old) == [0, 0, 0]
    said = capsys.readouterr().out
    assert "same content as dataset 2026-11-26 23:47:03.742594, nothing new" in said
    for word in ("ingested as", "started (", "trained in", "analyzed in", "warning"):
        assert word not in said
    after = contents(old, "*.pkl")
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in results)


def test_the_table_shows_it_as_analyzed(old, capsys):
    folders = [f"--models-folder={old / 'models'}", f"--hyperparameters-folder={old / 'sets'}"]
    assert run_queue.main(["--data", str(old / "data"), "--json", *folders]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["state"] for run in runs] == ["analyzed", "analyzed"]


def test_an_old_checkpoint_is_tested_as_it_was(old, capsys):
    [report, _] = sorted((old / "data" / "model_analysis_results").glob("*.json"))
    accuracy = json.loads(report.read_text())["accuracy"]
    report.unlink()
    (old / "data" / "model_validation_settings.pkl").unlink()
    assert run_all_stages(old) == [0, 0, 0]
    assert "analyzed in" in capsys.readouterr().out
    assert json.loads(report.read_text())["accuracy"] == accuracy


def test_a_dataset_that_is_deleted_is_made_again_of_the_raw_one(old, capsys):
    shutil.rmtree(old / "data" / "dataset")
    assert run_all_stages(old)[0] == 0
    assert "ingested as dataset" in capsys.readouterr().out
