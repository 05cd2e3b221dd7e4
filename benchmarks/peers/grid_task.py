"""The one run that all peers of product.py train: the pipeline's models, images and settings."""

import importlib.util
from pathlib import Path

import keras
import numpy as np

EPOCHS, BATCH_SIZE = 5, 64


def images_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def compiled(model_file: Path, learning_rate: float, images: dict) -> keras.Model:
    spec = importlib.util.spec_from_file_location("model", model_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build_model(images["fitted"].shape[1:], images["fitted_classes"].shape[1])
    model.compile(
        keras.optimizers.Adam(learning_rate), "categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def arguments_of_fit(images: dict) -> dict:
    return {
        "x": images["fitted"],
        "y": images["fitted_classes"],
        "validation_data": (images["held_out"], images["held_out_classes"]),
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "verbose": 0,
    }
