"""How does the queue grow? The choice of the next run, and recording a result, by runs on record.

python benchmarks/growth.py        some seconds
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from processes import ROOT

sys.path.insert(0, str(ROOT))

import model_training
from pipeline import safe_pickle
from run_queue import RunQueue

SIZES = ((10, 10), (100, 10), (1000, 10))  # datasets and sets
ROUNDS = 15


def main() -> int:
    logging.disable()  # nothing is said of a record that is made anew
    print(
        f"{'runs on record':>14}{'datasets':>10}{'first look':>12}{'choice':>10}{'recording':>11}"
    )
    for datasets, sets in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            first, choice, recording = measure(Path(folder), datasets, sets)
        print(
            f"{datasets * sets:>14,}{datasets:>10,}{first:>9.1f} ms{choice:>7.1f} ms{recording:>8.1f} ms"
        )
    return 0


def measure(folder: Path, datasets: int, sets: int) -> tuple[float, float, float]:
    """Milliseconds of the first look, of a later choice and of recording a result, all but one
    run being trained already."""
    data = folder / "data"
    for path in (data / "dataset", data / "model_checkpoints", folder / "models", folder / "sets"):
        path.mkdir(parents=True)
    for number in range(datasets):
        name = f"2022-06-08 20:{number // 60:02}:{number % 60:02}.000000.pkl"
        safe_pickle.publish(data / "dataset" / name, [number], {"counts": {"train": 100}})
    (folder / "models" / "tiny.py").write_text("def build_model(shape, classes): ...\n")
    for number in range(sets):
        (folder / "sets" / f"s{number}.toml").write_text(f"epochs = {number + 1}\n")
    queue = RunQueue(data, folder / "models", folder / "sets")
    first = milliseconds(queue.look)
    training = stage(queue, data)
    train_all_but_one(training)
    choice = median_of(lambda: next(training.waiting()))
    recording = median_of(lambda: training.record.record("a key", state="trained", name="a name"))
    return first, choice, recording


def stage(queue: RunQueue, data: Path) -> model_training.Training:
    options = {"data": data, "once": False, "preempt": True, "workers": 1, "retry_failed": False}
    processes = SimpleNamespace(running=[])
    return model_training.Training(queue, processes, SimpleNamespace(**options))


def train_all_but_one(training: model_training.Training) -> None:
    """As if: each run has a checkpoint's name and an entry in the record."""
    entry = {"state": "trained", "model": "tiny", "seconds": 1.0, "images": 100, "accuracy": 0.9}
    entries = {}
    for run in training.queue.look()[:-1]:
        (training.checkpoints / f"{run.plain_name}.pkl").touch()
        (training.checkpoints / f"{run.plain_name}.json").touch()
        (training.checkpoints / run.plain_name).mkdir()
        entries[run.key] = {**entry, "name": run.plain_name, "epochs": 3}
    last, (key, final) = dict(list(entries.items())[:-1]), list(entries.items())[-1]
    training.record._know(last)
    training.record.record(key, **final)


def median_of(action: Callable[[], object]) -> float:
    return statistics.median(milliseconds(action) for _ in range(ROUNDS))


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
