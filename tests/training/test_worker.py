import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.training import training_state, worker

pytestmark = pytest.mark.slow

FIGURES = {"loss": 1.0, "val_loss": 2.0}


@pytest.fixture
def training(tmp_path):
    job = worker.Job("run", "dataset.pkl", "model.py", str(tmp_path / "run.pkl"), {"key": "a"})
    return worker.TrainingJob(job, lambda **_: None, threading.Event())


def epochs(training, split):
    events = EventAccumulator(str(training.logs / split), size_guidance={"tensors": 0})
    events.Reload()
    return [point.step for point in events.Tensors("epoch_loss")]


def test_an_epoch_that_could_be_kept_only_half_at_first_is_kept_once(training):
    training._keep(0, FIGURES, {})
    curve = training.logs / "validation"
    aside = curve.rename(training.logs.with_name("aside"))
    curve.write_text("in the way")
    with pytest.raises(FileExistsError):
        training._keep(1, FIGURES, {})
    curve.unlink()
    aside.rename(curve)
    assert epochs(training, "train") == [0, 1]
    training._keep(1, FIGURES, {})
    for split in ("train", "validation"):
        assert epochs(training, split) == [0, 1]
    assert training_state.epochs_done(training.job.folder, "a") == 2
