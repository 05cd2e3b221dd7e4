"""A data folder as after many runs: datasets x models x sets, with the records and figures of the stages."""

import random
from pathlib import Path

from helper import whole_file
from pipeline.artifacts import ledger, safe_pickle
from pipeline.data_folder import DataFolder
from pipeline.stage.text import csv_of
from pipeline.training.run_queue import Run, RunQueue


def make_product(folder: Path, datasets: int, models: int, sets: int, names: str = "m") -> RunQueue:
    """In `folder`, with models called `<names><number>`; four in five of the runs are analyzed."""
    data = DataFolder(folder / "data")
    data.make()
    for name in ("models", "sets"):
        (folder / name).mkdir()
    for number in range(models):
        (folder / "models" / f"{names}{number}.py").write_text(f"SEED = {number}\n")
    for number in range(sets):
        (folder / "sets" / f"s{number}.toml").write_text(f"epochs = {number + 1}\n")
    for number in range(datasets):
        path = data.dataset(f"2022-06-08 20:{number // 60:02}:{number % 60:02}.868637")
        counts = {"train": 100, "test": 50}
        described = {"counts": counts, "raw_dataset": f"data/raw_dataset/pictures {number}"}
        safe_pickle.publish(path, {"number": number}, described)
    queue = RunQueue(data.path, folder / "models", folder / "sets")
    draw = random.Random(0)
    done = [run for run in queue.look() if draw.random() < 0.8]
    _record(data, done, draw)
    return queue


def _record(data: DataFolder, runs: list[Run], draw: random.Random) -> None:
    trained, analyzed, lines = {}, {}, []
    for run in runs:
        name, right = run.plain_name, draw.randrange(51)
        data.checkpoint(name).write_bytes(b"")
        figures = {"model": run.model.name, "seconds": 2.0, "images": 100, "epochs": 1}
        trained[run.key] = {"state": "trained", "name": name, "accuracy": right / 50, **figures}
        tested = {"run": name, "state": "analyzed", "accuracy": right / 50, "test_images": 50}
        analyzed[f"sha256 of {run.key}"] = tested
        lines.append([name, 1 if right == 50 else 2, right > 45])
    for path, entries in ((data.training_record, trained), (data.analysis_record, analyzed)):
        with whole_file(path) as file:
            file.write(ledger._dump(entries))
    columns = ["run", "place", "as_good_as_the_first"]
    (data.results / "leaderboard.csv").write_bytes(csv_of(columns, lines))
