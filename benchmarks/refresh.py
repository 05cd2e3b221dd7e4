"""What does it cost to bring the table of all runs up to date?

python benchmarks/refresh.py        a minute
"""

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from processes import ROOT
from records import digest, put_checkpoints, put_datasets
from tables import QUICK, markdown, progress, spread

sys.path.insert(0, str(ROOT))

from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import TrainingEntry
from pipeline.data_folder import CLOCK_TICK, DataFolder
from pipeline.training.run_queue import Run
from pipeline.training.run_table import RunTable

SETS = 10
DATASETS = 100 if QUICK else 1000
ROUNDS = 15
FIGURES = {"state": "trained", "accuracy": 0.9, "seconds": 20.0, "images": 100, "epochs": 3}


def main() -> int:
    logging.disable()  # nothing is said of a record that is made anew
    with tempfile.TemporaryDirectory() as folder:
        progress(f"{DATASETS * SETS:,} runs")
        queue, data = put_datasets(Path(folder), DATASETS, SETS), DataFolder(Path(folder) / "data")
        runs = queue.look()
        put_checkpoints(data.path, runs)
        record = put_records(data, runs)
        time.sleep(CLOCK_TICK)  # what was written just now is read anew each time
        found = measure(data, runs, record)
        looks = [milliseconds(queue.look) for _ in range(ROUNDS)]
    print("## What does it cost to bring the table of all runs up to date?\n")
    print(
        markdown(
            ["since the last refresh", "CPU, ms"],
            [[what, spread(times, ".1f")] for what, times in found.items()],
        )
    )
    print(f"""
Median (least-most) of {ROUNDS} in milliseconds of CPU time, {len(runs):,} runs, all trained and analyzed.
The refresh that reads a record leaves it to the next one to list the folder of checkpoints, where each run
has three names. Which runs there are is told by the queue, at {spread(looks, ".1f")} ms a look.""")
    return 0


def put_records(data: DataFolder, runs: list[Run]) -> Ledger:
    """What training and analysis would have written of `runs`; returns the record of training."""
    analyzed = {
        digest(run.plain_name): {"run": run.plain_name, "state": "analyzed", "accuracy": 0.9}
        for run in runs
    }
    trained = {run.key: entry(run) for run in runs}
    Ledger(data.analysis_record, lambda: analyzed)
    return Ledger(data.training_record, lambda: trained, TrainingEntry.of)


def entry(run: Run) -> dict:
    return {**FIGURES, "name": run.plain_name, "model": run.model.name}


def measure(data: DataFolder, runs: list[Run], record: Ledger) -> dict[str, list[float]]:
    names = ("all is new", "nothing changed", "one run was trained", "the refresh after that")
    found = {name: [] for name in names}
    for number in range(ROUNDS):
        progress(f"round {number + 1} of {ROUNDS}")
        run = runs[number * len(runs) // ROUNDS]
        checkpoint = data.checkpoint(run.plain_name)
        checkpoint.unlink()
        record.forget(run.key)
        time.sleep(CLOCK_TICK)
        table = RunTable(data.path)
        found["all is new"].append(milliseconds(table.refresh, runs))
        found["nothing changed"].append(milliseconds(table.refresh, runs))
        checkpoint.touch()
        record.record(run.key, **entry(run))
        time.sleep(CLOCK_TICK)
        found["one run was trained"].append(milliseconds(table.refresh, runs))
        found["the refresh after that"].append(milliseconds(table.refresh, runs))
        assert {row.state for row in table.rows} == {"analyzed"}
    return found


def milliseconds(action: Callable, *arguments: object) -> float:
    """Of CPU time."""
    began = time.process_time()
    action(*arguments)
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    sys.exit(main())
