import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helper import UserError
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.dataset import load_split
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.image_table import image_table, validation_sha256
from pipeline.artifacts.metadata import DatasetDescription
from pipeline.data_folder import image_table_path
from pipeline.training import run_description, training_state, worker

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
    assert training_state.progress(training.job.folder, "a").epochs == 2


SETTINGS = Settings(validation_split=0.25)
GIVEN = np.arange(40) % 10 == 3


def parts(tmp_path, settings=SETTINGS, given=None, described=None):
    """Indices to fit and to validate on, of 20 images of two classes that lie there twice."""
    path = tmp_path / "dataset.pkl"
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8).repeat(2, axis=0)
    labels = np.arange(40) // 2 % 2
    split = {"img": images, "label": labels, "class": np.eye(2, dtype=np.float32)[labels]}
    digests = [hashlib.sha256(image.tobytes()).digest()[:16] for image in images]
    table = image_table({"train": [("x.png", "a", digest) for digest in digests]}, given)
    description = {} if described is None else {"validation_sha256": validation_sha256(described)}
    beside = {image_table_path(path): table}
    safe_pickle.publish(path, {"test": split, "train": split}, description, beside=beside)
    described = DatasetDescription.beside(path)
    return worker.fit_and_validate(path, load_split(path, "train"), described, settings)


def test_equal_images_are_all_fitted_or_all_held_out(tmp_path):
    fitted, held_out = parts(tmp_path)
    assert (len(fitted), len(held_out)) == (30, 10)
    assert not set(fitted // 2) & set(held_out // 2)


def test_a_given_validation_part_is_taken_and_none_is_drawn(tmp_path):
    for settings in (SETTINGS, replace(SETTINGS, validation_split=0.0)):
        fitted, held_out = parts(tmp_path, settings, GIVEN, GIVEN)
        assert held_out.tolist() == [3, 13, 23, 33]
        assert sorted([*fitted, *held_out]) == list(range(40))


def test_a_part_that_the_description_does_not_know_is_not_taken(tmp_path):
    assert len(parts(tmp_path, given=GIVEN)[1]) == 10


@pytest.mark.parametrize("given", [None, ~GIVEN])
def test_another_part_than_was_ingested_is_refused(tmp_path, given):
    with pytest.raises(UserError) as refused:
        parts(tmp_path, given=given, described=GIVEN)
    assert str(refused.value) == (
        f"{tmp_path}/dataset.csv does not say which images are for validation, as dataset.json says"
        " it does. Restore the file, or make the dataset again with data_ingestion.py."
    )


def test_no_validation_is_a_warning_that_says_why():
    text = run_description.no_validation(Settings(validation_split=0.0))["no_validation"]["text"]
    assert text.startswith("No validation: validation_split is 0. The best epoch is chosen by")
    text = run_description.no_validation(Settings())["no_validation"]["text"]
    assert text.startswith("No validation: no class has two images that differ. ")
