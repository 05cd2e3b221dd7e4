"""Train models/cnn.py with Keras and nothing else; prints what was measured as JSON.

python benchmarks/peers/bare_fit.py DATASET.pkl PRECISION EPOCHS BATCH_SIZE SEED
"""

import json
import os
import pickle
import sys
import time
from pathlib import Path

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")

import keras
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from models import cnn

STEPS = 100


class Clock(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batch, self.epochs = 0.0, []

    def on_train_batch_end(self, batch, logs=None):
        self.batch = self.batch or time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(time.perf_counter())


def main(path, precision, epochs, size, seed):
    train, test = load(path)
    epochs, size = int(epochs), int(size)
    keras.utils.set_random_seed(int(seed))
    keras.mixed_precision.set_dtype_policy(precision)
    model, clock, first_batch = fit(train, epochs, size)
    predicted = model.predict(test["img"], batch_size=512, verbose=0).argmax(1)
    found = {
        "first_batch": first_batch,
        "seconds": clock.epochs[-1] - clock.epochs[0],  # after the first epoch
        "step_alone": step_alone(model, train, size),
        "accuracy": float((predicted == test["label"]).mean()),
    }
    if epochs == 1:
        found["first_batch_again"] = fit(train, epochs, size)[2]
    print(json.dumps(found))


def fit(train, epochs, size):
    images, classes = train["img"], train["class"]
    cut = len(images) * 9 // 10
    clock, began = Clock(), time.perf_counter()
    model = cnn.build_model(images.shape[1:], classes.shape[1])
    steps = -(-cut // size) * epochs
    rate = keras.optimizers.schedules.CosineDecay(
        2e-5, steps - steps // 10, warmup_target=0.002, warmup_steps=steps // 10
    )
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        images[:cut],
        classes[:cut],
        batch_size=size,
        epochs=epochs,
        validation_data=(images[cut:], classes[cut:]),
        verbose=0,
        callbacks=[clock],
    )
    return model, clock, clock.batch - began


def load(path):
    with open(path, "rb") as file:
        content = pickle.load(file)
    return content["train"], content["test"]


def step_alone(model, train, size):
    """Images per second where one batch, ready in memory, comes again and again: no data to fetch."""
    batch = tf.data.Dataset.from_tensors((train["img"][:size], train["class"][:size])).repeat()
    began = time.perf_counter()
    model.fit(batch, steps_per_epoch=STEPS, verbose=0)
    return STEPS * size / (time.perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
