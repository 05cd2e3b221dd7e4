"""Checkpoints of tiny models, as training leaves them behind, and datasets dropped in by hand."""

import pickle

import numpy as np

from helper import sha256_of
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.keras_import import import_keras

keras = import_keras()


def tiny_model(classes=3, size=32, seed=0):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((size, size, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(classes, activation="softmax")])


HISTORY = {
    "loss": [1.0, 0.5],
    "accuracy": [0.5, 0.8],
    "val_loss": [1.1, 0.7],
    "val_accuracy": [0.4, 0.7],
}


def put_checkpoint(data, name, dataset, run=None, known=None, **keywords):
    """What training leaves behind: a checkpoint and its description.

    `known` is what tells images that are unlike all that it was trained on.
    """
    path = data / "model_checkpoints" / f"{name}.pkl"
    digest = sha256_of(data / "dataset" / f"{dataset}.pkl")
    described = {"dataset": dataset, "dataset_sha256": digest, "best_epoch": 2}
    run = {**described, "settings": {"epochs": 2}, **(run or {})}
    content = {"model": tiny_model(**keywords), "history": HISTORY, "run": run}
    content |= {"known": known} if known else {}
    safe_pickle.publish(path, content, {"run": run})
    return path


def put_copy_of_dataset(data, dataset, name):
    """A dataset of the same images in another order, dropped in by hand."""
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        content = pickle.load(file)
    test = {key: np.ascontiguousarray(part[::-1]) for key, part in content["test"].items()}
    with open(data / "dataset" / f"{name}.pkl", "wb") as file:
        pickle.dump({**content, "test": test}, file)
