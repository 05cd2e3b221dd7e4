"""Peer of chain.py: the layers of models/cnn.py, the settings of hyperparameters/quick.toml.

python train.py dataset.npz model.keras history.json
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers


def main(dataset: str, model_file: str, history_file: str) -> None:
    with np.load(dataset) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
    classes = keras.utils.to_categorical(labels)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            layers.RandomTranslation(0.05, 0.05, fill_mode="nearest"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(classes.shape[1], activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.002),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    order = np.random.default_rng(0).permutation(len(images))
    found = model.fit(
        images[order], classes[order], batch_size=32, epochs=4, validation_split=0.1, verbose=0
    )
    model.save(model_file)
    Path(history_file).write_text(json.dumps(found.history))


if __name__ == "__main__":
    main(*sys.argv[1:])
