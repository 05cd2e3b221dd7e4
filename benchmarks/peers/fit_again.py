"""How soon can a first batch be at all? This project's own fit, in a process that has fitted before.

python benchmarks/peers/fit_again.py DATASET.pkl PRECISION BATCH_SIZE      prints JSON

First it fits another model, then models/cnn.py, of which the time counts: from the building of the model
to the end of its first batch, the images being in memory.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from models import cnn, pure_cnn
from pipeline.artifacts.dataset import load_split
from pipeline.artifacts.hyperparameters import Settings
from pipeline.training import fitting


class FirstBatchDone(Exception):
    pass


class Listener:
    def batch_done(self, epoch, batch):
        raise FirstBatchDone


def main(path, precision, size):
    train = load_split(Path(path), "train")
    fitting.use_devices(0, "")
    seconds_to_first_batch(pure_cnn, train, precision, int(size))
    print(json.dumps({"first_batch": seconds_to_first_batch(cnn, train, precision, int(size))}))


def seconds_to_first_batch(file, train, precision, size):
    settings = Settings(batch_size=size)
    count = len(train["label"])
    places = np.arange(count * 9 // 10), np.arange(count * 9 // 10, count)
    began = time.perf_counter()
    fitting.prepare(precision, 0)
    model = file.build_model(train["img"].shape[1:], train["class"].shape[1])
    try:
        fitting.Fit(model, settings, len(places[0])).run(train, *places, Listener())
    except FirstBatchDone:
        return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
