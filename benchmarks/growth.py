"""How does the queue grow? The choice of the next run, and recording a result, by runs on record.

python benchmarks/growth.py        under a minute; draws benchmarks/growth.png, too
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib
from processes import ROOT
from records import put_checkpoints, put_datasets
from tables import QUICK, markdown, progress, spread

sys.path.insert(0, str(ROOT))

from pipeline.stage.process import Stage
from pipeline.training.run_queue import CLOCK_TICK, RunQueue
from pipeline.training.scheduler import Scheduler

matplotlib.use("Agg")
from matplotlib import pyplot

SETS = 10
DATASETS = (10, 100, 1000) if QUICK else (10, 30, 100, 300, 1000)
ROUNDS = 15
CHOICE, LISTING, RECORDING = "choice", "choice, folder listed anew", "recording"


def main() -> int:
    logging.disable()  # nothing is said of a record that is made anew
    found = {}
    for datasets in (DATASETS[0], *DATASETS):  # the first one twice: all is loaded then
        progress(f"{datasets * SETS:,} runs on record")
        with tempfile.TemporaryDirectory() as folder:
            found[datasets * SETS] = measure(Path(folder), datasets)
    rows = [
        [f"{runs:,}", f"{runs // SETS:,}", *(spread(times[name], ".1f") for name in times)]
        for runs, times in found.items()
    ]
    print("## How does the queue grow with the runs on record?\n")
    print(
        markdown(
            ["runs", "datasets", *(f"{name}, ms" for name in (CHOICE, LISTING, RECORDING))], rows
        )
    )
    print(f"""
Median (least-most) of {ROUNDS} in milliseconds, all runs but one being trained. The names in the folder of
checkpoints are listed anew every 5 s at the most; recording ends with the file flushed to the disk.

![Cost of a choice, by runs on record](growth.png)""")
    draw(found)
    return 0


def measure(folder: Path, datasets: int) -> dict[str, list[float]]:
    """Milliseconds of choosing the last run there is, and of recording a result."""
    queue = put_datasets(folder, datasets, SETS)
    put_checkpoints(folder / "data", queue.look()[:-1])
    training = stage(queue, folder / "data")
    time.sleep(CLOCK_TICK)  # what was written just now is read anew each time
    next(training.waiting())

    def choose() -> None:
        next(training.waiting())

    def list_and_choose() -> None:
        training.record._listed_at = float("-inf")
        next(training.waiting())

    def record() -> None:
        training.record.ledger.record("a key", state="trained", name="a name")

    actions = {CHOICE: choose, LISTING: list_and_choose, RECORDING: record}
    return {name: [milliseconds(action) for _ in range(ROUNDS)] for name, action in actions.items()}


def stage(queue: RunQueue, data: Path) -> Scheduler:
    options = {"data": data, "preempt": True, "workers": 1, "retry_failed": False}
    processes = SimpleNamespace(running=[])
    return Scheduler(queue, processes, SimpleNamespace(**options), Stage())


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def draw(found: dict[int, dict[str, list[float]]]) -> None:
    """Milliseconds, and for a choice microseconds for each run on record: flat is linear growth."""
    figure, (whole, each) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    runs = list(found)
    for name in (CHOICE, LISTING, RECORDING):
        middle = [statistics.median(times[name]) for times in found.values()]
        whole.plot(runs, middle, "o-", label=name)
        if name != RECORDING:  # which is mostly the disk's time
            per_run = [1000 * one / number for one, number in zip(middle, runs, strict=True)]
            each.plot(runs, per_run, "o-", label=name)
    whole.axhline(20, color="0.6", linestyle="--", linewidth=1)
    whole.annotate("20 ms", (runs[0], 20), (0, 4), textcoords="offset points")
    whole.set(title="Milliseconds", yscale="log")
    whole.yaxis.set_major_formatter("{x:g}")
    whole.legend(frameon=False)
    each.set(title="Microseconds for each run on record", ylim=0)
    for panel in (whole, each):
        panel.set(xscale="log", xlabel="runs on record")
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    sys.exit(main())
