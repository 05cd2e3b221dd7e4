"""A checkpoint becomes files that are of use without this project: whole and tested, or not at all."""

import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import data_ingestion
import export_model
import model_prediction
from constants import ROOT
from helper import UserError, sha256_of
from pipeline.artifacts import safe_pickle
from pipeline.data_folder import DataFolder
from pipeline.export.exporting import new_folder
from pipeline.export.model_formats import FORMATS
from pipeline.stage.lock import StageLock
from testkit.checkpoints import HISTORY, keras, put_checkpoint, tiny_model
from testkit.hostile_models import archive_of, changed
from testkit.processes import patience

pytestmark = pytest.mark.slow

NAMES = ["blue", "green", "red"]
INPUT = {"image_size": [32, 32], "fit": "crop", "background": [255, 255, 255]}
RUN = {"class_names": NAMES, "input": INPUT, "temperature": 1.7}
# Runs a file as `python FILE ...` does, and then fails if anything of this project was imported.
ALONE = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
ours = {"pipeline", "constants", "helper"} & {name.split(".")[0] for name in sys.modules}
sys.exit(f"imported {ours}" if ours else 0)
"""


def export(data, form, run="", status=0):
    assert (
        export_model.main([*([run] if run else []), f"--data={data}", f"--format={form}"]) == status
    )
    return data / "exports" / (run or "?") / form


def example(folder, *images):
    """What the example in `folder` prints, elsewhere and without this project."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, str(folder / "example.py"), *map(str, images)],
        cwd=folder.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_is_tested_and_of_use_without_the_project(form, data, dataset, capsys, tmp_path):
    put_checkpoint(data, dataset, dataset, RUN)
    folder = export(data, form, dataset)
    said = json.loads((folder / "model.json").read_text())
    accuracy = f"test accuracy {said['tested']['accuracy']:.3f} ("
    printed = capsys.readouterr().out
    assert f"the same classes as the checkpoint for 15 test images, {accuracy}" in printed
    assert {path.name for path in folder.iterdir()} == {said["file"], "model.json", "example.py"}
    assert (said["class_names"], said["temperature"], said["run"]) == (NAMES, 1.7, dataset)
    expected = {"image_size": [32, 32], "channels": "RGB", "dtype": "float32", "range": [0, 255]}
    assert expected.items() <= said["input"].items()
    assert said["tested"]["different_classes"] == 0
    assert said["tested"]["largest_difference"] < 1e-5
    images = sorted((data / "raw_dataset" / "colours" / "test").glob("*.png"))[:4]
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "export")
    printed = example(moved, *images)
    assert model_prediction.main([f"--data={data}", *map(str, images)]) == 0
    table = capsys.readouterr().out.splitlines()[-4:]
    for line, row, image in zip(printed, table, images, strict=True):
        class_name, confidence = line.removeprefix(f"{image}: ").split()
        _, ours, percent, *_ = row.split()
        assert class_name == ours
        assert 100 * float(confidence) == pytest.approx(float(percent), abs=0.11)


@pytest.mark.parametrize("fit", ["crop", "pad", "squeeze"])
def test_the_example_prepares_images_as_ingestion_does(fit, data, tmp_path, capsys):
    draw = np.random.default_rng(0)
    for name in NAMES:
        folder = data / "raw_dataset" / "odd" / name
        folder.mkdir(parents=True)
        for number in range(4):
            shape = [(70, 50), (20, 33, 3), (400, 120, 3), (30, 30, 4)][number]  # gray, also large
            smooth = Image.fromarray(draw.integers(0, 256, shape, np.uint8))
            smooth.save(folder / f"{number}.png")
    options = ["--once", "--settle=0", f"--fit={fit}", "--background=#102030", "--image-size=32"]
    assert data_ingestion.main([f"--data={data}", *options]) == 0
    [dataset] = (data / "dataset").glob("*.pkl")
    (data / "model_checkpoints").mkdir(exist_ok=True)
    put_checkpoint(data, dataset.stem, dataset.stem)  # of before: the dataset says how
    folder = export(data, "keras", dataset.stem)
    images = sorted((data / "raw_dataset" / "odd").rglob("*.png"))
    printed = example(folder, *images)
    capsys.readouterr()
    assert model_prediction.main([f"--data={data}", *map(str, images)]) == 0
    table = capsys.readouterr().out.splitlines()[1:]
    for line, row in zip(printed, table, strict=True):
        assert float(line.split()[-1]) == pytest.approx(float(row.split()[2]) / 100, abs=0.01)


def test_without_a_run_the_best_by_validation_is_exported(data, dataset, capsys):
    for name, accuracy in ((f"{dataset}__a__a", 0.7), (f"{dataset}__b__b", 0.9)):
        path = put_checkpoint(data, name, dataset, RUN)
        description = path.with_suffix(".json")
        said = json.loads(description.read_text())
        description.write_text(json.dumps({**said, "metrics": {"val_accuracy": accuracy}}))
    export(data, "keras")
    assert [path.name for path in (data / "exports").iterdir()] == [f"{dataset}__b__b"]


def test_an_export_that_is_there_is_never_overwritten(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    folder = export(data, "keras", f"{dataset}")
    (folder / "model.json").write_text("mine")
    export(data, "keras", dataset, status=1)
    assert (
        "keras is there already. Delete it, or move it away, and export" in capsys.readouterr().err
    )
    assert (folder / "model.json").read_text() == "mine"


def test_one_that_comes_meanwhile_is_not_overwritten_either(data):
    folder = new_folder(DataFolder(data), "run", "onnx")
    with pytest.raises(UserError, match="came meanwhile"), folder as (partial, target):
        (partial / "model.json").write_text("ours")
        target.mkdir()
        (target / "model.json").write_text("mine")
    assert [path.name for path in target.parent.iterdir()] == ["onnx"]
    assert (target / "model.json").read_text() == "mine"


def test_without_its_dataset_it_is_exported_and_said_not_to_be_tested(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    for path in (data / "dataset").iterdir():
        path.unlink()
    folder = export(data, "keras", dataset)
    assert "it runs; on no test images, as its dataset" in capsys.readouterr().out
    assert json.loads((folder / "model.json").read_text())["tested"] is None


def test_how_many_test_images_get_another_class_is_said(data, dataset, capsys):
    """The checkpoint in bfloat16, whose rounding decides between classes that are nearly as likely."""
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny_model(3)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    weights, bias = model.get_weights()
    model.set_weights([weights * 0.002, bias])
    path = data / "model_checkpoints" / f"{dataset}.pkl"
    run = {
        "dataset": dataset,
        "dataset_sha256": sha256_of(data / "dataset" / f"{dataset}.pkl"),
        **RUN,
    }
    safe_pickle.publish(path, {"model": model, "history": HISTORY, "run": run}, {"run": run})
    folder = export(data, "keras", dataset)
    tested = json.loads((folder / "model.json").read_text())["tested"]
    assert tested["different_classes"] > 0
    said = f"another class than the checkpoint for {tested['different_classes']} of 15 test images"
    assert said in capsys.readouterr().out


def test_a_hostile_checkpoint_is_refused_and_leaves_nothing(data, dataset, capsys):
    path = put_checkpoint(data, dataset, dataset, RUN)

    def reach_out(config):
        config["config"]["layers"][1]["module"] = "builtins"
        config["config"]["layers"][1]["class_name"] = "exec"

    content = path.read_bytes()
    path.with_suffix(".json").write_text(json.dumps({"run": {**RUN, "dataset": dataset}}))
    path.write_bytes(with_archive(changed(archive_of(tiny_model()), reach_out)))
    export(data, "keras", dataset, status=1)
    assert "Not loaded. If you did not make this file, delete it." in capsys.readouterr().err
    assert list((data / "exports" / dataset).iterdir()) == []
    path.write_bytes(content[:-9])
    export(data, "keras", dataset, status=1)
    assert "Not loaded. Make it again or delete it." in capsys.readouterr().err
    assert list((data / "exports" / dataset).iterdir()) == []


def with_archive(archive):
    """A checkpoint with that archive for its model."""

    class Model:
        def __reduce__(self):
            return keras.Sequential._unpickle_model, (io.BytesIO(archive),)

    return pickle.dumps({"model": Model(), "history": HISTORY, "run": RUN})


@pytest.mark.parametrize("run", ["../dataset/x", "/etc/passwd", "..", "nothing"])
def test_a_name_that_is_no_run_is_a_sentence(run, data, dataset, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    export(data, "keras", run, status=1)
    assert f"{run} is no checkpoint in " in capsys.readouterr().err
    assert not (data / "exports").exists()


def test_a_link_out_of_the_data_folder_is_refused(data, dataset, capsys, tmp_path):
    put_checkpoint(data, dataset, dataset, RUN)
    (tmp_path / "outside").mkdir()
    (data / "exports").symlink_to(tmp_path / "outside")
    export(data, "keras", dataset, status=1)
    assert "is a link out of the data folder" in capsys.readouterr().err
    assert not list((tmp_path / "outside").rglob("*"))


def test_killed_at_any_moment_it_leaves_nothing_that_looks_whole(data, dataset, start, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    target = data / "exports" / dataset / "savedmodel"
    partial = target.with_name(".savedmodel.partial")
    options = (dataset, "--data", data, "--format", "savedmodel")
    for awaited in (
        partial,
        partial / "model",
        partial / "model" / "saved_model.pb",
        partial / "model.json",
    ):
        process = start("export_model.py", *options)
        until = time.monotonic() + patience()
        while not awaited.exists() and not target.exists():
            assert time.monotonic() < until
            assert process.process.poll() is None or target.exists(), process.lines
        process.end(signal.SIGKILL)
        if target.exists():  # it was quicker than we are: then it is whole
            assert len(example(target, ROOT / "docs" / "visualize_errors.png")) == 1
            shutil.rmtree(target)
    assert export(data, "savedmodel", dataset) == target
    assert [path.name for path in target.parent.iterdir()] == ["savedmodel"]


def test_two_at_once_do_not_write_to_one_folder(data, dataset, capsys):
    put_checkpoint(data, dataset, dataset, RUN)
    with StageLock("export", data):
        export(data, "keras", dataset, status=1)
    assert "is already running as process" in capsys.readouterr().err
    assert not (data / "exports").exists()
