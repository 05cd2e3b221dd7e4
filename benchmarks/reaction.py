"""How long does each stage take to notice? From a rename into place to its first line of work.

python benchmarks/reaction.py [drops]        default: 200, some minutes; with QUICK=1: 20

Beside it a loop that looks at the folder each second, run at the same time, and what others wait by
default, from their documentation: Dagster's sensors at least 30 s (minimum_interval_seconds), Airflow's
FileSensor 60 s (poke_interval). A wait of n seconds is n / 2 in the median and n at the most.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image
from processes import Script

SETTLE = 0.2
LOOP = "a loop that looks each second"
DOCUMENTED = {"Dagster sensor, as documented": 30.0, "Airflow FileSensor, as documented": 60.0}
MODEL = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""
STAGES = {
    "data_ingestion.py": f"raw dataset to reading (settles for {SETTLE} s)",
    "model_training.py": "dataset to training",
    "model_analysis.py": "checkpoint to analysis",
}


def main() -> int:
    drops = int(sys.argv[1]) if len(sys.argv) > 1 else 20 if os.environ.get("QUICK") else 200
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), drops)
    print(f"{'seconds, from a rename into place':<48}{'drops':>6}{'p50':>8}{'p99':>8}{'most':>8}")
    for name, some in times.items():
        some.sort()
        late = some[int(len(some) * 0.99)]
        what = STAGES.get(name, name)
        print(
            f"{what:<48}{len(some):>6}{statistics.median(some):>8.3f}{late:>8.3f}{some[-1]:>8.3f}"
        )
    for name, seconds in DOCUMENTED.items():
        print(f"{name:<48}{'':>6}{seconds / 2:>8.0f}{0.99 * seconds:>8.0f}{seconds:>8.0f}")
    return 0


def measure(folder: Path, drops: int) -> dict[str, list[float]]:
    data = folder / "data"
    scripts = start(folder)
    times = {name: [] for name in (*scripts, LOOP)}
    threading.Thread(target=loop, args=[data / "dataset", times[LOOP]], daemon=True).start()
    for number in range(drops):
        began = put_raw_dataset(data / "raw_dataset" / f"raw {number}", number)
        came = scripts["data_ingestion.py"].wait_for(": reading")
        times["data_ingestion.py"].append(came - began)
        scripts["data_ingestion.py"].wait_for("ingested as dataset")
        came = scripts["model_training.py"].wait_for(": started")
        newest = max((data / "dataset").glob("*.pkl"))
        times["model_training.py"].append(came - newest.stat().st_ctime)
        came = scripts["model_analysis.py"].wait_for(": started")
        newest = max((data / "model_checkpoints").glob("*.pkl"))
        times["model_analysis.py"].append(came - newest.stat().st_ctime)
        scripts["model_analysis.py"].wait_for(": analyzed")
    for script in scripts.values():
        script.stop()
    return times


def start(folder: Path) -> dict[str, Script]:
    """The three stages, with one model and one set that take no time."""
    for kind, name, text in (("models", "tiny.py", MODEL), ("sets", "short.toml", "epochs = 1\n")):
        (folder / kind).mkdir()
        (folder / kind / name).write_text(text)
    data = folder / "data"
    drops = "--models-folder", folder / "models", "--hyperparameters-folder", folder / "sets"
    options = {
        "data_ingestion.py": ["--settle", SETTLE, "--verbose"],
        "model_training.py": drops,
        "model_analysis.py": ["--verbose"],
    }
    scripts = {name: Script(name, "--data", data, *more) for name, more in options.items()}
    for script in scripts.values():
        script.wait_for("watching")
    time.sleep(15)  # TensorFlow is imported meanwhile
    return scripts


def loop(folder: Path, times: list[float]) -> None:
    """What one would write without watching: look, sleep, look."""
    seen = set()
    while True:
        for path in set(folder.glob("*.pkl")) - seen:
            times.append(time.time() - path.stat().st_ctime)
            seen.add(path)
        time.sleep(1)


def put_raw_dataset(target: Path, seed: int) -> float:
    """Rename a small raw dataset into place; returns when."""
    built = target.with_name(f".{target.name}")
    draw = np.random.default_rng(seed)
    for split in ("train", "test"):
        (built / split).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(built / split / f"{number}.png")
        rows = "".join(f"{number}.png,{number % 2}\n" for number in range(20))
        (built / split / "groundtruth.csv").write_text(rows)
    began = time.time()
    built.rename(target)
    return began


if __name__ == "__main__":
    sys.exit(main())
