"""Keras's own example for images of this size, with its own settings, timed.

https://keras.io/examples/vision/mnist_convnet: two convolutions of 32 and 64 filters, pooling after
each, dropout 0.5, batches of 128, Adam, 15 epochs, a tenth for validation, float32.

python benchmarks/peers/mnist_convnet.py DATASET.pkl        prints [seconds, test accuracy] by epoch
"""

import json
import os
import pickle
import sys
import time

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")

import keras
from keras import layers

EPOCHS = 15


class Clock(keras.callbacks.Callback):
    """Tests after each epoch; what that takes does not count."""

    def __init__(self, test):
        super().__init__()
        self.images, self.labels = grey(test["img"]), test["label"]
        self.began, self.found = time.perf_counter(), []

    def on_epoch_end(self, epoch, logs=None):
        seconds, paused = time.perf_counter() - self.began, time.perf_counter()
        predicted = self.model.predict(self.images, batch_size=512, verbose=0).argmax(1)
        self.found.append([seconds, float((predicted == self.labels).mean())])
        self.began += time.perf_counter() - paused


def main(path):
    with open(path, "rb") as file:
        content = pickle.load(file)
    images, classes = grey(content["train"]["img"]), content["train"]["class"]
    keras.utils.set_random_seed(0)
    clock = Clock(content["test"])
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(classes.shape[1], activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    fitted = {"batch_size": 128, "epochs": EPOCHS, "validation_split": 0.1}
    model.fit(images, classes, **fitted, verbose=0, callbacks=[clock])
    print(json.dumps({"epochs": clock.found}))


def grey(images):
    """float32 from 0 to 1, one channel, as the example has them."""
    return images[..., :1].astype("float32") / 255


if __name__ == "__main__":
    main(*sys.argv[1:])
