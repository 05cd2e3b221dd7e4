import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import constants
import data_ingestion
import model_training
import run_queue
from helper import shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.checkpoint import known_in, run_in
from pipeline.artifacts.dataset import display_name
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.metadata import read_json
from pipeline.data_folder import run_folder
from pipeline.training import training_state, worker
from pipeline.training.run_queue import RunQueue
from pipeline.training.run_table import RunTable
from pipeline.training.scheduler import Scheduler
from testkit.processes import children, is_gone, until_gone
from testkit.raw_datasets import make_raw_dataset

pytestmark = pytest.mark.slow

TINY = """
from keras import Input, Sequential, layers

PRIORITY = 3

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""


@pytest.fixture
def workplace(data, tmp_path):
    """A data folder with one dataset, and folders for models and sets with one tiny model and a short set."""
    make_raw_dataset(data / "raw_dataset" / "colours")
    assert data_ingestion.main(["--data", str(data), "--once", "--settle", "0"]) == 0
    (tmp_path / "models").mkdir()
    (tmp_path / "sets").mkdir()
    (tmp_path / "models" / "tiny.py").write_text(TINY)
    (tmp_path / "sets" / "short.toml").write_text("epochs = 2\nearly_stopping_patience = 0\n")
    return tmp_path


def options(workplace):
    return [
        "--data", str(workplace / "data"),
        "--models-folder", str(workplace / "models"),
        "--hyperparameters-folder", str(workplace / "sets"),
    ]  # fmt: skip


def train(workplace, *more):
    return model_training.main([*options(workplace), "--once", *more])


def checkpoints(workplace):
    return sorted((workplace / "data" / "model_checkpoints").glob("*.pkl"))


def dataset_name(workplace):
    [path] = (workplace / "data" / "dataset").glob("*.pkl")
    return path.stem


def weights(path):
    """The weights in a checkpoint, read by a plain pickle.load in a process of its own."""
    program = (
        "import sys, pickle, numpy\n"
        "model = pickle.load(open(sys.argv[1], 'rb'))['model']\n"
        "numpy.savez(sys.argv[2], *model.get_weights())\n"
    )
    target = path.parent / "weights.npz"
    subprocess.run([sys.executable, "-c", program, path, target], check=True, capture_output=True)
    with np.load(target) as arrays:
        return list(arrays.values())


CRASHES_ONCE = """
import ctypes, pathlib, threading, time

def crash():
    while not list(pathlib.Path(DATA).glob("model_checkpoints/*/resume.state")):
        time.sleep(0.01)
    pathlib.Path(DATA, "crashed").touch()
    ctypes.string_at(0)

if not pathlib.Path(DATA, "crashed").exists():
    threading.Thread(target=crash, daemon=True).start()
"""


def test_of_a_training_that_crashes_after_good_epochs_the_best_one_is_kept(workplace, capsys):
    data = workplace / "data"
    (workplace / "sets" / "short.toml").write_text("epochs = 50000\nearly_stopping_patience = 0\n")
    crashing = CRASHES_ONCE.replace("DATA", repr(str(data)))
    (workplace / "models" / "tiny.py").write_text(TINY + crashing)
    assert train(workplace) == 0
    [path] = checkpoints(workplace)
    run = read_json(path.with_suffix(".json"))["run"]
    said = run["warnings"]["ended_early"]["text"]
    assert said.startswith(
        f"ended early in epoch {run['epochs'] + 1}: the training process was ended"
    )
    assert 1 <= run["best_epoch"] <= run["epochs"]
    assert f"; {said}" in capsys.readouterr().out
    assert weights(path)


def seeded_checkpoints(workplace):
    return {
        path.stem.removeprefix(f"{dataset_name(workplace)}__tiny__"): path
        for path in checkpoints(workplace)
    }


def test_a_set_with_several_seeds_gives_a_checkpoint_of_each(workplace, capsys):
    assert train(workplace) == 0
    trained = {path: path.read_bytes() for path in checkpoints(workplace)}
    text = (workplace / "sets" / "short.toml").read_text()
    (workplace / "sets" / "short.toml").write_text(f"{text}seeds = [0, 7, 3]\n")
    assert train(workplace) == 0
    found = seeded_checkpoints(workplace)
    assert found.keys() == {"short", "short__seed7", "short__seed3"}  # that of seed 0 was there
    assert all(path.read_bytes() == content for path, content in trained.items())
    runs = {name: read_json(path.with_suffix(".json"))["run"] for name, path in found.items()}
    assert {name: run["settings"]["seed"] for name, run in runs.items()} == {
        "short": 0,
        "short__seed7": 7,
        "short__seed3": 3,
    }
    one, other = weights(found["short__seed7"]), weights(found["short__seed3"])
    assert not np.array_equal(one[0], other[0])
    logs = EventAccumulator(str(run_folder(found["short__seed7"]) / "logs" / "train")).Reload()
    assert "epoch_loss" in logs.Tags()["tensors"] + logs.Tags()["scalars"]
    assert "__short__seed3: trained in" in capsys.readouterr().out


def test_the_seeds_that_failed_are_tried_again_and_no_others(workplace, capsys):
    (workplace / "sets" / "short.toml").write_text("epochs = 1\nseeds = [4, 9]\n")
    flag = workplace / "works"
    failing = f"""
import pathlib, numpy
if not pathlib.Path({str(flag)!r}).exists() and numpy.random.get_state()[1][0] == 9:
    raise ValueError("not with this seed")
"""
    (workplace / "models" / "tiny.py").write_text(TINY + failing)
    assert train(workplace) == 1
    assert seeded_checkpoints(workplace).keys() == {"short__seed4"}
    assert "__short__seed9: failed: ValueError: not with this seed" in capsys.readouterr().out
    flag.touch()
    assert train(workplace, "--retry-failed") == 0
    assert seeded_checkpoints(workplace).keys() == {"short__seed4", "short__seed9"}
    assert "__short__seed4" not in capsys.readouterr().out


RUNS_OUT_OF_MEMORY_ONCE = (
    TINY.replace("build_model", "build")
    + """
import pathlib
import tensorflow as tf

def build_model(input_shape, num_classes):
    model, full = build(input_shape, num_classes), pathlib.Path(DATA, "memory_was_full")
    get_weights, calls = model.get_weights, []

    def fail_in_epoch_3():  # the first call is before all epochs, then each one is better
        calls.append(1)
        if len(calls) == 4 and not full.exists():
            full.touch()
            raise ERROR
        return get_weights()

    model.get_weights = fail_in_epoch_3
    return model
"""
)


@pytest.mark.parametrize(
    "error", ["MemoryError()", 'tf.errors.ResourceExhaustedError(None, None, "OOM")']
)
def test_a_run_that_ended_early_goes_on_with_retry_failed(workplace, capsys, error):
    once = RUNS_OUT_OF_MEMORY_ONCE.replace("DATA", repr(str(workplace))).replace("ERROR", error)
    (workplace / "models" / "tiny.py").write_text(once)
    (workplace / "sets" / "short.toml").write_text(
        "epochs = 5\nvalidation_split = 0.0\nearly_stopping_patience = 0\n"
    )
    assert train(workplace) == 0
    [path] = checkpoints(workplace)
    run = read_json(path.with_suffix(".json"))["run"]
    assert (run["epochs"], run["best_epoch"]) == (2, 2)
    said = "ended early in epoch 3: there was not enough memory. Use a smaller batch_size or model."
    assert run["warnings"]["ended_early"]["text"] == said
    assert len(safe_pickle.load(path, allow_model=True)["history"]["loss"]) == 2
    early = path.read_bytes()
    assert train(workplace) == 0  # it is done, unless it is asked for
    assert checkpoints(workplace) == [path]
    assert path.read_bytes() == early
    capsys.readouterr()

    assert train(workplace, "--retry-failed") == 0
    assert "goes on after epoch 2 of 5" in capsys.readouterr().out
    assert checkpoints(workplace) == [path]
    run = read_json(path.with_suffix(".json"))["run"]
    assert (run["epochs"], "ended_early" in run["warnings"]) == (5, False)
    assert not (path.with_suffix("") / training_state.FILE).exists()
    assert train(workplace, "--retry-failed") == 0
    assert "started" not in capsys.readouterr().out


def test_of_a_training_that_takes_too_long_the_best_epoch_is_kept_and_goes_on(workplace, capsys):
    (workplace / "sets" / "short.toml").write_text("epochs = 50000\nearly_stopping_patience = 0\n")
    for seconds in (8, 16, 32, 64, 128):  # how long it takes to begin, is the machine's affair
        train(workplace, "--run-timeout", str(seconds), "--retry-failed")
        if checkpoints(workplace):
            break
    [path] = checkpoints(workplace)
    run = read_json(path.with_suffix(".json"))["run"]
    said = f"ended early in epoch {run['epochs'] + 1}: it took longer than the {seconds} s of"
    assert run["warnings"]["ended_early"]["text"] == f"{said} --run-timeout."
    assert 1 <= run["best_epoch"] <= run["epochs"]
    capsys.readouterr()
    assert train(workplace, "--run-timeout", str(2 * seconds), "--retry-failed") == 0
    assert f"goes on after epoch {run['epochs']} of 50000" in capsys.readouterr().out
    assert checkpoints(workplace) == [path]
    assert read_json(path.with_suffix(".json"))["run"]["epochs"] > run["epochs"]


def test_what_ended_early_and_cannot_go_on_is_kept(workplace):
    """Its state was lost: begun afresh, it might end with nothing at all."""
    once = RUNS_OUT_OF_MEMORY_ONCE.replace("DATA", repr(str(workplace)))
    (workplace / "models" / "tiny.py").write_text(once.replace("ERROR", "MemoryError()"))
    (workplace / "sets" / "short.toml").write_text(
        "epochs = 5\nvalidation_split = 0.0\nearly_stopping_patience = 0\n"
    )
    train(workplace)
    [path] = checkpoints(workplace)
    before, state = path.read_bytes(), path.with_suffix("") / training_state.FILE
    state.write_bytes(state.read_bytes()[:-1])
    assert train(workplace, "--retry-failed") == 0
    assert path.read_bytes() == before


def test_a_fault_at_a_runs_start_is_told_once(workplace, monkeypatch):
    """It must not be taken for a state that another Keras has kept, which is another try's reason."""
    tries = []

    def fail(*_):
        tries.append(1)
        raise ValueError("a name that cannot be written")

    monkeypatch.setattr(worker.tensorboard_logs, "write_hyperparameters", fail)
    monkeypatch.setattr(worker, "clear_logs", lambda _: None)  # it empties standard output
    # TensorFlow takes this only before its first use in a process.
    monkeypatch.setattr(worker.fitting, "use_devices", lambda *_: None)
    job = {
        "name": "run",
        "dataset": str(workplace / "data" / "dataset" / f"{dataset_name(workplace)}.pkl"),
        "model": str(workplace / "models" / "tiny.py"),
        "checkpoint": str(workplace / "run.pkl"),
        "description": {
            **dict.fromkeys(["key", "dataset", "model", "hyperparameter_set"], ""),
            "settings": Settings().as_plain(),
        },
    }
    training = worker.TrainingJob(worker.Job(**job), lambda **_: None, threading.Event())
    with pytest.raises(ValueError, match="a name that cannot be written"):
        training.train()
    assert tries == [1]


def test_it_tells_what_it_does_and_how_far_it_is(workplace, told):
    train(workplace)
    doing = f"training {display_name(dataset_name(workplace), 'colours')}__tiny__short"
    progress = [progress for what, progress in told if what == doing]
    assert list(dict.fromkeys(progress)) == ["epoch 1 of 2", "epoch 2 of 2"]
    assert told[-2:] == [("waiting", ""), ("stopped", "")]


def test_a_run_without_validation_says_so_in_its_description(workplace):
    (workplace / "sets" / "short.toml").write_text("epochs = 1\nvalidation_split = 0.0\n")
    assert train(workplace) == 0
    [path] = checkpoints(workplace)
    run = json.loads(path.with_suffix(".json").read_text())["run"]
    assert run["validation_images"] == 0
    assert "No validation: validation_split is 0." in run["warnings"]["no_validation"]["text"]
    assert run_in(safe_pickle.load(path, allow_model=True))["warnings"] == run["warnings"]


def test_a_checkpoint_is_in_its_format_and_described(workplace, capsys):
    assert train(workplace) == 0
    [path] = checkpoints(workplace)
    assert path.stem == f"{dataset_name(workplace)}__tiny__short"
    description = json.loads(path.with_suffix(".json").read_text())
    run = description["run"]
    assert run["dataset"] == dataset_name(workplace)
    assert (run["model"], run["hyperparameter_set"]) == ("tiny", "short")
    assert (run["model_priority"], run["settings"]["priority"]) == (3, 0)  # analysis goes by them
    assert (run["epochs"], run["images"], run["validation_images"]) == (2, 54, 6)
    assert set(description["metrics"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert run["class_names"] == ["0", "1", "2"]
    assert run["input"] == {
        "image_size": [32, 32],
        "channels": "RGB",
        "dtype": "uint8",
        "range": [0, 255],
        "resize": "bilinear",
        "fit": "crop",
        "background": [255, 255, 255],
    }
    assert (run["validation"], run["warnings"]) == ("drawn", {})
    content = safe_pickle.load(path, allow_model=True)
    assert content["run"] == run
    assert run_in(content) == {key: value for key, value in run.items() if value is not None}
    said = capsys.readouterr().out
    title = f"{display_name(dataset_name(workplace), 'colours')}__tiny__short"
    assert f"{title}: started (60 images, 2 epochs)" in said
    assert f"{title}: trained in " in said
    assert "validation accuracy" in said
    folder = path.with_suffix("")
    assert sorted(entry.name for entry in folder.iterdir()) == ["logs", "training.log"]


def test_with_enough_validation_a_checkpoint_knows_what_it_was_trained_on(workplace):
    (workplace / "sets" / "short.toml").write_text("epochs = 1\nvalidation_split = 0.5\n")
    assert train(workplace) == 0
    [path] = checkpoints(workplace)
    features, usual = known_in(safe_pickle.load(path, allow_model=True))
    assert features.shape == (30, 32 * 32 * 3)  # what the one layer of the tiny model is given
    assert 0 <= usual < 2
    assert np.linalg.norm(features, axis=1) == pytest.approx(np.ones(30), abs=1e-4)


def test_the_same_seed_gives_the_same_weights(workplace):
    train(workplace)
    [path] = checkpoints(workplace)
    first = weights(path)
    path.unlink()  # a deleted checkpoint is trained again
    train(workplace)
    second = weights(path)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_is_done_stays_done_whatever_becomes_of_the_record(workplace, capsys):
    train(workplace)
    record = workplace / "data" / constants.TRAINING_RECORD
    for damage in (lambda: None, record.unlink, lambda: record.write_bytes(b"damaged")):
        damage()
        assert train(workplace) == 0
    assert capsys.readouterr().out.count("started") == 1


def test_dying_between_checkpoint_and_record_trains_nothing_twice(workplace, capsys):
    (workplace / "models" / "tiny.py").rename(workplace / "models" / "_tiny.py")
    (workplace / "models" / "bad.py").write_text("def build_model(shape, n): return 3\n")
    train(workplace)
    record = workplace / "data" / constants.TRAINING_RECORD
    before = record.read_bytes()
    (workplace / "models" / "_tiny.py").rename(workplace / "models" / "tiny.py")
    train(workplace)
    assert record.read_bytes() != before
    record.write_bytes(before)
    capsys.readouterr()
    train(workplace)
    assert "started" not in capsys.readouterr().out
    assert len(checkpoints(workplace)) == 1


DYING = """
import os, signal
from pipeline.training import training_state

training_state.forget = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_trained_since_the_checkpoints_were_listed_is_entered_once(workplace, stage):
    train(workplace)
    [path] = checkpoints(workplace)
    record = workplace / "data" / "model_training_settings.pkl"
    queue = RunQueue(workplace / "data", workplace / "models", workplace / "sets")
    chosen = model_training.parse(options(workplace))
    chosen.data = workplace / "data"
    training = Scheduler(queue, SimpleNamespace(running=[]), chosen, stage)
    path.rename(path.with_suffix(".aside"))
    assert len(list(training.waiting())) == 1
    path.with_suffix(".aside").rename(path)
    assert list(training.waiting()) == []
    entered = record.stat()
    assert list(training.waiting()) == []
    assert record.stat().st_ino == entered.st_ino


def test_dying_between_the_checkpoint_and_the_news_of_it_is_no_failure(workplace, capsys):
    (workplace / "models" / "tiny.py").write_text(DYING + TINY)
    assert train(workplace) == 0
    assert "__tiny__short: trained" in capsys.readouterr().out
    [path] = checkpoints(workplace)
    state = path.with_suffix("") / "resume.state"
    assert state.exists()
    assert train(workplace) == 0
    assert "started" not in capsys.readouterr().out
    assert not state.exists()


def problems(workplace):
    """What the status of training says is wrong, by input."""
    return read_json(workplace / "data" / "status" / "training.json")["problems"]


def test_why_a_run_failed_and_what_cannot_take_part_is_in_the_status_until_it_is_mended(workplace):
    model, chosen = workplace / "models" / "tiny.py", workplace / "sets" / "short.toml"
    model.write_text("PRIORITY = 0")
    (workplace / "sets" / "bad.toml").write_text("epochs = 0")
    assert train(workplace) == 1
    run = f"{dataset_name(workplace)}__tiny__short"
    failed, refused = problems(workplace)[run], problems(workplace)[shown(chosen.with_stem("bad"))]
    assert "has no build_model(input_shape, num_classes)" in failed
    assert "epochs is 0, expected a whole number, 1 or more" in refused
    assert train(workplace) == 1  # another process knows it, too
    assert problems(workplace)[run] == failed
    model.write_text(TINY)
    (workplace / "sets" / "bad.toml").unlink()
    assert train(workplace) == 0
    assert problems(workplace) == {}


def test_an_edited_set_makes_a_run_with_a_name_of_its_own(workplace):
    train(workplace)
    [first] = checkpoints(workplace)
    content = first.read_bytes()
    (workplace / "sets" / "short.toml").write_text("epochs = 1\n")
    train(workplace)
    assert len(checkpoints(workplace)) == 2
    assert first.read_bytes() == content
    [second] = set(checkpoints(workplace)) - {first}
    assert second.stem.startswith(f"{first.stem}__")


BAD_MODELS = {
    "a_raises": (
        "def build_model(shape, n):\n    raise ValueError('no $uch\\nlayer')\n",
        "failed: ValueError: no $uch",
    ),
    "b_exits": (
        "import os\ndef build_model(shape, n):\n    os._exit(7)\n",
        "ended with exit status 7 and no result",
    ),
    "c_crashes": (
        "import ctypes\ndef build_model(shape, n):\n    ctypes.string_at(0)\n",
        "was ended by SIGSEGV",
    ),
    "e_shape": (
        TINY.replace("num_classes,", "num_classes + 1,"),
        "models/e_shape.py: build_model gave a model with output shape (None, 4), expected a Keras"
        " model with output shape (None, 3).",
    ),
    "f_nan": (
        TINY.replace("1 / 255", "float('nan')"),
        "models/f_nan.py: build_model gave a model that gives NaN or infinity, expected class",
    ),
    "g_python_memory": (
        "import resource\nimport numpy\ndef build_model(shape, n):\n"
        "    resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))\n    numpy.ones(2**33)\n",
        "failed: there was not enough memory. Use a smaller batch_size or model.",
    ),
    "h_tensor_memory": (
        "import resource\nimport tensorflow\ndef build_model(shape, n):\n"
        "    resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))\n"
        "    tensorflow.ones([2**33]) + 1\n",
        "__h_tensor_memory__short: failed: ",
    ),
    "i_import": (
        "import no_such_module\ndef build_model(shape, n):\n    return None\n",
        "failed: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "d_syntax": (
        "def build_model(shape, n)\n",
        "d_syntax.py, line 1 is not Python (expected ':'). Correct it.",
    ),
}


def test_a_bad_model_fails_alone_and_says_why(workplace, capsys):
    for name, (text, _) in BAD_MODELS.items():
        (workplace / "models" / f"{name}.py").write_text(text)
    assert train(workplace) == 1
    said = capsys.readouterr().out
    for _, reason in BAD_MODELS.values():
        assert reason in said
    assert [path.stem.split("__")[1] for path in checkpoints(workplace)] == ["tiny"]
    name = f"{dataset_name(workplace)}__a_raises__short"
    log = workplace / "data" / "model_checkpoints" / name / "training.log"
    assert "Traceback" in log.read_text()
    # What failed is not tried again until its file changes.
    assert train(workplace) == 1
    assert "started" not in capsys.readouterr().out
    (workplace / "models" / "a_raises.py").write_text(TINY)
    for other in set(BAD_MODELS) - {"a_raises"}:
        (workplace / "models" / f"{other}.py").unlink()
    assert train(workplace) == 0
    assert len(checkpoints(workplace)) == 1  # the same content as tiny.py: not a new run


def test_a_damaged_dataset_fails_its_runs_and_no_others(workplace, capsys):
    [good] = (workplace / "data" / "dataset").glob("*.pkl")
    bad = good.with_name("2999-01-01 00:00:00.000000.pkl")
    bad.write_bytes(good.read_bytes()[:-100])
    shutil.copy(good.with_suffix(".json"), bad.with_suffix(".json"))
    description = json.loads(bad.with_suffix(".json").read_text())
    bad.with_suffix(".json").write_text(json.dumps({**description, "sha256": "0" * 64}))
    assert train(workplace) == 1
    assert f"{bad.name} is damaged: its SHA-256 is not the one in" in capsys.readouterr().out
    assert len(checkpoints(workplace)) == 1


def test_the_test_split_is_not_touched(workplace):
    [path] = (workplace / "data" / "dataset").glob("*.pkl")
    with open(path, "rb") as file:
        dataset = pickle.load(file)
    train(workplace)
    [checkpoint] = checkpoints(workplace)
    first = weights(checkpoint)
    dataset["test"] = {key: value[:1] for key, value in dataset["test"].items()}
    for old in (path, path.with_suffix(".json"), checkpoint, checkpoint.with_suffix(".json")):
        old.unlink()
    with open(path, "wb") as file:
        pickle.dump(dataset, file)  # by hand, with no description
    train(workplace)
    assert all(np.array_equal(a, b) for a, b in zip(first, weights(checkpoint), strict=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_loses_nothing_and_leaves_no_process(workplace, start, number):
    (workplace / "sets" / "short.toml").write_text("epochs = 100000\nearly_stopping_patience = 0\n")
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("epoch 1 of 100000")
    [child] = children(stage.process.pid)
    made = workplace / "data" / "model_checkpoints"
    for folder in (made, *made.glob("*/")):  # as if it came in the midst of writing
        (folder / ".a.partial").touch()
    assert stage.end(number, seconds=30) == 0
    assert list(made.rglob("*.partial")) == []
    assert "stopped; " in stage.lines[-1]
    assert "of 100000 and goes on from there" in stage.lines[-1]
    assert not any("Traceback" in line for line in stage.lines)
    assert is_gone(child)
    (workplace / "sets" / "short.toml").write_text("epochs = 1\n")
    assert train(workplace) == 0
    assert len(checkpoints(workplace)) == 1


def epochs_in_tensorboard(folder, split="train"):
    events = EventAccumulator(str(folder / "logs" / split), size_guidance={"tensors": 0})
    events.Reload()
    return [point.step for point in events.Tensors("epoch_loss")]


def test_killed_again_and_again_it_ends_as_if_undisturbed(workplace, start):
    (workplace / "sets" / "short.toml").write_text("epochs = 100\nearly_stopping_patience = 0\n")
    train(workplace)
    [path] = checkpoints(workplace)
    undisturbed = weights(path)
    for ending in (".pkl", ".json"):
        path.with_suffix(ending).unlink()
    for epoch, who in ((3, "stage"), (20, "training process"), (41, "stage")):
        stage = start("model_training.py", *options(workplace), "--verbose")
        stage.wait_for(f"epoch {epoch} of 100")
        [child] = children(stage.process.pid)
        if who == "stage":
            stage.end(signal.SIGKILL)
        else:
            stage.process.send_signal(signal.SIGSTOP)  # or it would record the run as failed
            os.kill(int(child), signal.SIGKILL)
            stage.end(signal.SIGKILL)
        until_gone(child)
    stage = start("model_training.py", *options(workplace), "--verbose")
    goes_on = stage.wait_for("goes on after epoch ")
    assert 41 <= int(goes_on.split("after epoch ")[1].split()[0]) < 100
    stage.wait_for("trained in")
    assert all(np.array_equal(a, b) for a, b in zip(undisturbed, weights(path), strict=True))
    for split in ("train", "validation"):
        assert epochs_in_tensorboard(path.with_suffix(""), split) == list(range(100))
    assert not (path.with_suffix("") / "resume.state").exists()


def test_a_newer_dataset_goes_first_and_the_older_run_is_gone_on_with(workplace, start):
    (workplace / "sets" / "short.toml").write_text("epochs = 100\nearly_stopping_patience = 0\n")
    old = display_name(dataset_name(workplace), "colours")
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("epoch 2 of 100")
    [child] = children(stage.process.pid)
    os.kill(
        int(child), signal.SIGSTOP
    )  # or on a busy machine it may end before the newer one comes
    make_raw_dataset(workplace / "data" / "raw_dataset" / "newer", seed=1)
    assert data_ingestion.main(["--data", str(workplace / "data"), "--once", "--settle", "0"]) == 0
    os.kill(int(child), signal.SIGCONT)
    stage.wait_for(f"{old}__tiny__short: paused after epoch")
    assert old not in stage.wait_for("trained in")
    stage.wait_for(f"{old}__tiny__short: goes on after epoch")
    stage.wait_for(f"{old}__tiny__short: trained in")


def test_without_preempt_the_running_run_ends_first(workplace, start):
    (workplace / "sets" / "short.toml").write_text("epochs = 40\nearly_stopping_patience = 0\n")
    old = display_name(dataset_name(workplace), "colours")
    stage = start("model_training.py", *options(workplace), "--verbose", "--no-preempt")
    stage.wait_for("epoch 2 of 40")
    make_raw_dataset(workplace / "data" / "raw_dataset" / "newer", seed=1)
    assert data_ingestion.main(["--data", str(workplace / "data"), "--once", "--settle", "0"]) == 0
    assert stage.wait_for("trained in").split("| ")[1].startswith(old)
    assert not any("paused" in line for line in stage.lines)


def test_a_new_dataset_comes_before_a_backlog_of_24_runs(workplace, start):
    for number in range(24):
        (workplace / "sets" / f"s{number:02}.toml").write_text(f"epochs = 30\nseed = {number}\n")
    old = display_name(dataset_name(workplace), "colours")
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("epoch 2 of 30")
    make_raw_dataset(workplace / "data" / "raw_dataset" / "newer", seed=1)
    assert data_ingestion.main(["--data", str(workplace / "data"), "--once", "--settle", "0"]) == 0
    said = len(stage.lines)
    assert "trained in" in stage.wait_for("trained in")
    first = stage.lines[-1].split("| ")[1]
    epochs = [line for line in stage.lines[said:] if old in line and ": epoch " in line]
    assert not first.startswith(old)
    # The epoch in which the dataset came, and one that ended while it was being ingested.
    paused = next(line for line in stage.lines if "paused after epoch" in line)
    after = int(paused.split("paused after epoch ")[1].split()[0])
    assert len(epochs) <= after


def test_two_workers_train_two_runs_side_by_side(workplace, start):
    (workplace / "sets" / "short.toml").unlink()
    for number, name in enumerate(("a", "b", "c")):
        (workplace / "sets" / f"{name}.toml").write_text(
            f"epochs = 100000\nearly_stopping_patience = 0\nseed = {number}\n"
        )
    stage = start("model_training.py", *options(workplace), "--verbose", "--workers", "2")
    stage.wait_for("__tiny__b: epoch 2 of")
    stage.wait_for("__tiny__a: epoch ")
    assert len(children(stage.process.pid)) == 2
    os.kill(int(children(stage.process.pid)[0]), signal.SIGKILL)
    stage.wait_for("the training process was ended by SIGKILL")
    stage.wait_for("__tiny__c: epoch 2 of")
    assert stage.end(signal.SIGINT, seconds=30) == 0
    assert stage.lines[-1].count("goes on from there") == 2


def test_the_training_process_goes_when_the_stage_is_killed(workplace, start):
    (workplace / "sets" / "short.toml").write_text("epochs = 100000\nearly_stopping_patience = 0\n")
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("epoch 1 of 100000")
    [child] = children(stage.process.pid)
    stage.end(signal.SIGKILL)
    until_gone(child)


def test_a_killed_training_process_ends_its_run_alone_and_its_best_epoch_is_kept(workplace, start):
    (workplace / "sets" / "short.toml").write_text("epochs = 100000\nearly_stopping_patience = 0\n")
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("epoch 1 of 100000")
    [child] = children(stage.process.pid)
    os.kill(int(child), signal.SIGKILL)
    killed = "the training process was ended by SIGKILL, often for want of memory."
    stage.wait_for(f"__tiny__short: {killed} Its best epoch so far is kept.")
    assert f": {killed}" in stage.wait_for("__tiny__short: trained in")
    (workplace / "sets" / "other.toml").write_text("epochs = 1\n")
    stage.wait_for("__tiny__other: trained in")


def test_a_wrong_setting_is_named_once_and_does_not_stand_in_the_way(workplace, capsys):
    (workplace / "sets" / "wrong.toml").write_text("learning_rat = 1\n")
    assert train(workplace) == 1
    said = capsys.readouterr().out
    assert said.count('wrong.toml: unknown key "learning_rat". Did you mean "learning_rate"?') == 1
    assert len(checkpoints(workplace)) == 1


@pytest.mark.linux
def test_the_stage_itself_does_not_load_tensorflow(workplace, start):
    stage = start("model_training.py", *options(workplace))
    stage.wait_for("trained in")
    with open(f"/proc/{stage.process.pid}/maps") as file:
        assert "tensorflow" not in file.read()


def test_what_is_in_the_way_of_a_runs_files_is_named_and_in_no_other_runs_way(workplace, capsys):
    (workplace / "sets" / "other.toml").write_text("epochs = 1\n")
    folder = workplace / "data" / "model_checkpoints" / f"{dataset_name(workplace)}__tiny__short"
    folder.mkdir(parents=True)
    (folder / "training.log").symlink_to(workplace / "gone" / "log")
    assert train(workplace) == 1
    said = capsys.readouterr().out
    assert "training.log: it is a link to no file, expected a file. Move it away, and use" in said
    assert "__tiny__other: trained in" in said
    (folder / "training.log").unlink()
    assert train(workplace, "--retry-failed") == 0
    assert "__tiny__short: trained in" in capsys.readouterr().out


def test_a_dataset_that_goes_before_its_turn_fails_nothing(workplace, start):
    [dataset] = (workplace / "data" / "dataset").glob("*.pkl")
    stage = start("model_training.py", *options(workplace))
    stage.wait_for("started")
    dataset.rename(workplace / "aside.pkl")  # before TensorFlow is imported and the dataset read
    assert "cannot be read: No such file or directory." in stage.wait_for("cannot be read")
    (workplace / "aside.pkl").rename(dataset)
    stage.wait_for("trained in")
    assert not any("failed" in line for line in stage.lines)


def test_only_the_named_models_and_sets_are_trained(workplace):
    (workplace / "models" / "other.py").write_text("# another\n" + TINY)
    (workplace / "sets" / "long.toml").write_text("epochs = 3\n")
    limits = ["--models", "other,third", "--hyperparameters", "short"]
    assert model_training.main([*options(workplace), "--once", *limits]) == 0
    assert [path.stem.split("__")[1:] for path in checkpoints(workplace)] == [["other", "short"]]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--models", "a,,b"], 'argument --models: "a,,b" is no list of names with commas between'),
        (["--run-timeout", "0"], "--run-timeout is 0, expected more than 0 seconds"),
        (["--models-folder", "gone"], "gone is no folder; make it, or name another one"),
    ],
)
def test_wrong_options_exit_with_2(wrong, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        model_training.main(wrong)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_an_endless_run_fails_after_its_time_and_is_tried_again_when_asked(
    workplace, capsys, told, monkeypatch
):
    (workplace / "models" / "endless.py").write_text(
        "def build_model(shape, n):\n    while True: pass\n"
    )
    limited = [*options(workplace), "--once", "--run-timeout", "15"]
    monkeypatch.setattr(constants, "LOOK_AGAIN", 0.05)
    assert model_training.main(limited) == 1
    said = capsys.readouterr().out
    # The stage that waits for it looks stuck: it gives no sign of life between its start and its end.
    assert len([doing for doing, _ in told if doing.endswith("__endless__short")]) == 2
    assert "__endless__short: failed: it took longer than the 15 s of --run-timeout." in said
    assert len(checkpoints(workplace)) == 1
    assert train(workplace) == 1
    assert "started" not in capsys.readouterr().out
    (workplace / "models" / "endless.py").rename(workplace / "models" / "_endless.py")
    (workplace / "models" / "bad.py").write_text("def build_model(shape, n): return n\n")
    train(workplace)
    capsys.readouterr()
    model_training.main([*options(workplace), "--once", "--retry-failed"])
    assert capsys.readouterr().out.count("__bad__short: started") == 1


def ask(workplace, *arguments):
    return run_queue.main([*options(workplace), *arguments])


def rows(workplace):
    queue = RunQueue(workplace / "data", workplace / "models", workplace / "sets")
    return RunTable(workplace / "data").refresh(queue.look())


def test_what_is_asked_of_a_running_stage_is_done(workplace, start, capsys):
    """Stop a run that has epochs, cancel the next, retry it, and put another first."""
    for name in ("a", "b", "c"):
        (workplace / "sets" / f"{name}.toml").write_text(
            f"epochs = {100_000 - ord(name)}\nearly_stopping_patience = 0\n"
        )
    (workplace / "sets" / "short.toml").unlink()
    names = {row.hyperparameter_set: row.name for row in rows(workplace)}
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("__a: epoch 2 of")
    assert ask(workplace, "--stop", names["a"]) == 0
    stage.wait_for("__a: stopped, as asked. Its best epoch so far is kept.")
    assert "; ended early in epoch" in stage.wait_for("__a: trained in")
    stage.wait_for("__b: epoch 1 of")
    assert ask(workplace, "--priority", "5", names["c"]) == 0
    stage.wait_for("__b: paused after epoch")
    stage.wait_for("__c: epoch 1 of")
    assert ask(workplace, "--cancel", names["b"], names["c"]) == 0
    stage.wait_for("__c: cancelled, as asked")
    stage.wait_for("__c: cancelled")
    states = {row.hyperparameter_set: row.state for row in rows(workplace)}
    assert states == {"a": "trained", "b": "cancelled", "c": "cancelled"}
    assert ask(workplace, "--cancel", names["a"]) == 1
    assert "is trained. Only a run that waits or is trained" in capsys.readouterr().out
    assert ask(workplace, "--retry", names["b"]) == 0
    stage.wait_for("__b: goes on after epoch")
    # A checkpoint that was deleted is trained again, also of a run that was stopped.
    (workplace / "data" / "model_checkpoints" / f"{names['a']}.pkl").unlink()
    [state] = [row.state for row in rows(workplace) if row.hyperparameter_set == "a"]
    assert state == "waiting"


def test_a_stop_is_not_forgotten_where_the_stage_is_killed_before_its_end(workplace, start):
    (workplace / "sets" / "short.toml").write_text("epochs = 100000\nearly_stopping_patience = 0\n")
    [row] = rows(workplace)
    stage = start("model_training.py", *options(workplace), "--verbose")
    stage.wait_for("epoch 2 of")
    stage.end(signal.SIGKILL)
    assert ask(workplace, "--stop", row.name) == 0  # and nobody but this process carries it out
    assert train(workplace) == 0
    [path] = checkpoints(workplace)
    assert (
        "stopped, as asked"
        in json.loads(path.with_suffix(".json").read_text())["run"]["warnings"]["ended_early"][
            "text"
        ]
    )


def test_what_is_asked_where_no_stage_runs_is_done_at_once(workplace, capsys):
    [row] = rows(workplace)
    assert ask(workplace, "--note", "a line", row.name) == 0
    assert ask(workplace, "--cancel", row.key) == 0
    assert ask(workplace, "--hide", row.name, "gone") == 1
    assert 'There is no run "gone"' in capsys.readouterr().out
    ask(workplace)
    assert "(1 hidden; --all shows them)" in capsys.readouterr().out
    ask(workplace, "--all")
    assert 'short cancelled 3/0 0/2 "a line"' in " ".join(capsys.readouterr().out.split())
    assert train(workplace) == 0
    assert checkpoints(workplace) == []
    assert ask(workplace, "--retry", row.name) == 0
    assert train(workplace) == 0
    assert len(checkpoints(workplace)) == 1
    (workplace / "models" / "tiny.py").write_text("def build_model(shape, n): raise ValueError\n")
    train(workplace)
    [row] = rows(workplace)
    assert row.state == "failed"
    assert ask(workplace, "--retry", row.name) == 0
    assert [row.state for row in rows(workplace)] == ["waiting"]


@pytest.mark.parametrize("wrong", [["--cancel"], ["run"], ["--cancel", "--stop", "run"]])
def test_to_ask_needs_a_run_and_one_thing_to_ask(workplace, wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        ask(workplace, *wrong)
    assert ended.value.code == 2
    assert "--cancel" in capsys.readouterr().err
