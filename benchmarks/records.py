"""A data folder as after long use: so many datasets and runs on record, all trained and analyzed.

What the stages tell by names and descriptions is true, what they would only open again for new work
is left empty: it takes seconds instead of days.
"""

import hashlib
import json
import shutil
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from processes import ROOT

sys.path.insert(0, str(ROOT))

import constants
from pipeline.analysis.cross_evaluation import MOST_DATASETS
from pipeline.artifacts.ledger import Ledger
from pipeline.raw_data.raw_dataset import scan
from pipeline.training.run_queue import Run, RunQueue

FIRST = datetime(2022, 6, 8, 20, 57, 20)
IMAGES = 10  # in each split of a raw dataset
CLASSES = [{"class": str(number)} for number in range(10)]
MODEL = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""


def put_datasets(folder: Path, datasets: int, sets: int) -> RunQueue:
    """Datasets, one model and so many hyperparameter sets; returns the queue of their runs."""
    data = folder / "data"
    for path in (
        data / constants.DATASETS,
        data / constants.CHECKPOINTS,
        folder / "models",
        folder / "sets",
    ):
        path.mkdir(parents=True)
    for number in range(datasets):
        path = data / constants.DATASETS / f"{_name(number)}.pkl"
        path.touch()
        described = {"content": digest(f"content {number}"), "sha256": digest(path.stem)}
        kind = {"class_names": [one["class"] for one in CLASSES], "image_size": 32}
        put_json(path.with_suffix(".json"), {**described, **kind, "counts": {"train": 100}})
    (folder / "models" / "tiny.py").write_text(MODEL)
    for number in range(sets):
        (folder / "sets" / f"s{number}.toml").write_text(f"epochs = {number + 1}\n")
    return RunQueue(data, folder / "models", folder / "sets")


def put_checkpoints(data: Path, runs: list[Run]) -> None:
    """As if they were trained. The record of it is made of their descriptions, when training starts."""
    folder = data / constants.CHECKPOINTS
    for run in runs:
        name = run.plain_name
        (folder / name).mkdir()
        (folder / f"{name}.pkl").touch()
        put_json(
            folder / f"{name}.json",
            {
                "run": {**_origin(run), "key": run.key, "images": 100, "epochs": 3, "seconds": 1.0},
                "metrics": {"accuracy": 0.9, "loss": 0.3, "val_accuracy": 0.9, "val_loss": 0.3},
                "sha256": digest(name),
            },
        )


def put_reports(data: Path, runs: list[Run]) -> None:
    """As if they were analyzed, and tested on the other datasets as far as they would be."""
    folder = data / constants.RESULTS
    (folder / constants.OTHER_DATASETS).mkdir(parents=True)
    newest = sorted({run.dataset.name for run in runs})[-MOST_DATASETS:]
    for place, run in enumerate(runs):
        name, accuracy = run.plain_name, place / len(runs)
        of_checkpoint = {"run": name, "checkpoint_sha256": digest(name)}
        trained = {**_origin(run), "parameters": 1000, "seconds": 1.0, "epochs": 3}
        figures = {"accuracy": accuracy, "loss": 0.3, "test_images": 100, "classes": CLASSES}
        on = {"dataset": run.dataset.name, "dataset_sha256": run.dataset.digest}
        report = {**of_checkpoint, **on, **figures, "image_shape": [32, 32, 3], "trained": trained}
        put_json(folder / f"{name}.json", report)
        if run.dataset.name in newest:
            found = {digest(other): accuracy for other in newest if other != run.dataset.name}
            tested = {**of_checkpoint, "accuracies": found}
            put_json(folder / constants.OTHER_DATASETS / f"{name}.json", tested)


def put_raw_datasets(data: Path, datasets: int) -> None:
    """As if they were ingested: the record knows their folders, as they are."""
    folder = data / constants.RAW_DATASETS
    first = folder / _name(0)
    put_raw_dataset(first, 0)
    entries = {}
    for number in range(datasets):
        place = folder / _name(number)
        if number:
            shutil.copytree(first, place)
        content = digest(f"content {number}")
        fingerprint = scan(place).fingerprint()
        seen = {"fingerprint": fingerprint, "image_size": constants.IMAGE_SIZE, "content": content}
        entries |= {content: {"dataset": _name(number)}, f"folder {place}": seen}
    Ledger(data / constants.INGESTION_RECORD, lambda: entries)


def put_raw_dataset(target: Path, seed: int, images: int = IMAGES) -> None:
    """Two classes of noise, called otherwise for each seed: no model for the one fits another."""
    draw = np.random.default_rng(seed)
    for split in constants.SPLITS:
        (target / split).mkdir(parents=True)
        for number in range(images):
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(target / split / f"{number}.png")
        rows = "".join(f"{number}.png,{seed}-{number % 2}\n" for number in range(images))
        (target / split / constants.GROUNDTRUTH).write_text(rows)


def put_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _origin(run: Run) -> dict:
    return {
        "dataset": run.dataset.name,
        "dataset_sha256": run.dataset.digest,
        "model": run.model.name,
        "hyperparameter_set": run.hyperparameters.name,
        "settings": run.hyperparameters.settings.as_plain(),
    }


def _name(number: int) -> str:
    return (FIRST + timedelta(minutes=number)).strftime(constants.TIME_NAME)
