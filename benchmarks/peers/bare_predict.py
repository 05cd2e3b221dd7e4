"""Predict with a checkpoint's model, twice, and nothing else; prints both times as JSON, in seconds.

python benchmarks/peers/bare_predict.py CHECKPOINT.pkl DATASET.pkl
"""

import json
import os
import pickle
import sys
import time

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")

import keras  # noqa: F401 - the checkpoint's model would import it inside of the time


def main(checkpoint, dataset):
    with open(checkpoint, "rb") as file:
        model = pickle.load(file)["model"]
    with open(dataset, "rb") as file:
        images = pickle.load(file)["test"]["img"]
    print(json.dumps({"first": predict(model, images), "again": predict(model, images)}))


def predict(model, images):
    began = time.perf_counter()
    model.predict(images, batch_size=512, verbose=0)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
