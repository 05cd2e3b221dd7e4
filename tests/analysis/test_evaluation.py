import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest

import constants
import model_analysis
from helper import UserError, sha256_of
from pipeline.analysis import evaluation
from pipeline.analysis.evaluation import EvaluationError, Evaluator
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.dataset import display_name, load_split
from testkit.checkpoints import HISTORY, keras, put_checkpoint, tiny_model
from testkit.processes import children, is_gone, until_gone

pytestmark = pytest.mark.slow


@pytest.fixture
def test_split(data, dataset):
    return load_split(data / "dataset" / f"{dataset}.pkl", "test")


@pytest.fixture
def evaluator(stage):
    with Evaluator(stage.status) as evaluator:
        yield evaluator


def evaluate(evaluator, path, split):
    return evaluator.evaluate(path, sha256_of(path), split, lambda _: None)


def put_model(data, name, model):
    path = data / "model_checkpoints" / f"{name}.pkl"
    content = {"model": model, "history": HISTORY, "run": {}}
    safe_pickle.publish(path, content, {"run": {}})
    return path


def endless_model():
    """Honest layers that compute for minutes: one convolution, a hundred times."""
    pixels = keras.Input((32, 32, 3))
    signal = keras.layers.Conv2D(64, 3, padding="same")(pixels)
    again = keras.layers.Conv2D(64, 31, padding="same")
    for _ in range(100):
        signal = again(signal)
    pooled = keras.layers.GlobalAveragePooling2D()(signal)
    return keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(pooled))


def large_model():
    """Honest layers that take 18 GB."""
    layers = [keras.Input((32, 32, 3)), keras.layers.UpSampling2D(320)]
    layers += [keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential(layers)


def test_it_gives_what_the_model_predicts_and_what_the_checkpoint_says(
    data, dataset, test_split, evaluator
):
    path = put_checkpoint(data, dataset, dataset)
    counts = []
    found = evaluator.evaluate(path, sha256_of(path), test_split, counts.append)
    assert np.array_equal(found.probabilities, tiny_model().predict(test_split["img"], verbose=0))
    assert found.history == HISTORY
    assert found.run["dataset"] == dataset
    assert counts == [15]


def test_each_checkpoint_has_a_process_of_its_own(data, dataset, test_split, evaluator):
    first = put_checkpoint(data, "first", dataset, seed=1)
    second = put_checkpoint(data, "second", dataset, seed=2)
    processes = []
    for path in (first, first, second, first):
        evaluate(evaluator, path, test_split)
        processes.append(evaluator._worker.process.pid)
    assert processes[0] == processes[1]
    assert len(set(processes[1:])) == 3


def test_a_model_that_does_not_fit_one_dataset_stays_loaded_for_others(
    data, dataset, test_split, evaluator
):
    path = put_checkpoint(data, dataset, dataset)
    small = {**test_split, "img": np.ascontiguousarray(test_split["img"][:, :16, :16])}
    with pytest.raises(UserError, match=r"its dataset needs \(None, 16, 16, 3\)"):
        evaluate(evaluator, path, small)
    assert evaluator.holds(sha256_of(path))
    assert evaluate(evaluator, path, test_split).probabilities.shape == (15, 3)


def test_a_checkpoint_that_was_replaced_is_not_taken_for_the_other(
    data, dataset, test_split, evaluator
):
    path = put_checkpoint(data, dataset, dataset)
    sha256 = sha256_of(path)
    put_checkpoint(data, dataset, dataset, seed=7)
    with pytest.raises(FileNotFoundError, match="was replaced"):
        evaluator.evaluate(path, sha256, test_split, lambda _: None)


def test_a_checkpoint_that_never_ends_fails_and_the_next_is_tested(
    data, dataset, test_split, evaluator, monkeypatch
):
    path = put_model(data, "endless", endless_model())
    evaluator.prepare(path, sha256_of(path))
    with monkeypatch.context() as patch, pytest.raises(EvaluationError) as failure:
        patch.setattr(constants, "EVALUATION_SILENCE", 5)
        evaluate(evaluator, path, test_split)
    assert str(failure.value) == "testing it made no progress for 5 s, so it was ended."
    assert not evaluator.holds(sha256_of(path))
    evaluate(evaluator, put_checkpoint(data, dataset, dataset), test_split)


def test_a_checkpoint_that_takes_all_memory_fails_and_the_next_is_tested(
    data, dataset, test_split, evaluator, monkeypatch, caplog
):
    path = put_model(data, "large", large_model())
    monkeypatch.setattr(constants, "EVALUATION_MEMORY", 0.1)
    reason = r"^its test needs more than [\d.]+ GiB of memory, in two processes\.$"
    with pytest.raises(EvaluationError, match=reason):
        evaluate(evaluator, path, test_split)
    assert "trying again in another process" in caplog.text
    evaluate(evaluator, put_checkpoint(data, dataset, dataset), test_split)


@pytest.fixture
def doomed(monkeypatch):
    """Makes the next so many processes ones that are killed at once, as the kernel may do."""
    worker, left = evaluation._Worker, []

    def start(*arguments):
        started = worker(*arguments)
        if left:
            left.pop()
            os.kill(started.process.pid, signal.SIGKILL)
        return started

    monkeypatch.setattr(evaluation, "_Worker", start)
    return left


def test_a_killed_process_is_made_good_by_another(
    data, dataset, test_split, evaluator, doomed, caplog
):
    doomed += [1]
    path = put_checkpoint(data, dataset, dataset)
    assert evaluate(evaluator, path, test_split).probabilities.shape == (15, 3)
    assert (
        f"{dataset}: the process that tests it was ended by SIGKILL, often for want of memory;"
        " trying again in another process" in caplog.text
    )


def test_a_checkpoint_whose_processes_are_killed_twice_fails(data, dataset, capsys, doomed):
    doomed += [1, 2]
    put_checkpoint(data, f"{dataset}__a__a", dataset, {"model_priority": 9})
    put_checkpoint(data, dataset, dataset, seed=2)
    arguments = ["--data", str(data), "--once"]
    assert model_analysis.main(arguments) == 1
    said = capsys.readouterr().out
    shown = display_name(dataset, "colours")
    assert (
        f"{shown}__a__a: failed: the process that tests it was ended by SIGKILL, often for want of"
        " memory, in two processes." in said
    )
    assert f"{shown}: analyzed in" in said
    assert model_analysis.main(arguments) == 1
    assert "SIGKILL" not in capsys.readouterr().out  # not tried again until it changes


def test_nothing_is_left_of_a_process(data, dataset, test_split, evaluator):
    path = put_checkpoint(data, dataset, dataset)
    evaluate(evaluator, path, test_split)
    pid, folder = evaluator._worker.process.pid, Path(evaluator._worker._folder.name)
    assert folder.parent == Path(tempfile.gettempdir())
    descriptors = len(list(Path("/dev/fd").iterdir()))
    evaluator.forget()
    assert not folder.exists()
    assert is_gone(pid)
    for _ in range(2):
        evaluate(evaluator, path, test_split)
        evaluator.forget()
    assert len(list(Path("/dev/fd").iterdir())) < descriptors


def test_the_process_ends_with_a_killed_stage_even_while_it_hangs(data, dataset, start):
    put_model(data, f"{dataset}__endless__x", endless_model())
    # Not below tmp_path, which is too long for the name of a socket.
    with tempfile.TemporaryDirectory() as temporary:
        environment = {"TMPDIR": temporary}
        stage = start("model_analysis.py", "--data", data, "--verbose", environment=environment)
        stage.wait_for("endless__x: started")
        while not (workers := children(stage.process.pid)):
            assert stage.process.poll() is None
            os.sched_yield()
        # A worker that does not run yet cannot clear away what the stage made for it.
        while not list(Path(temporary).glob("evaluation-*/evaluation.log")):
            assert stage.process.poll() is None
            os.sched_yield()
        stage.end(signal.SIGKILL)
        for worker in workers:
            until_gone(worker)
        assert list(Path(temporary).glob("evaluation-*")) == []
