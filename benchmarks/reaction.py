"""How long does each stage take to notice? From a rename into place to its first line of work.

python benchmarks/reaction.py [drops]        default: 20, a few minutes
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from processes import Script

SETTLE = 0.2
STAGES = {
    "data_ingestion.py": f"raw dataset to reading (settles for {SETTLE} s)",
    "model_training.py": "dataset to training",
    "model_analysis.py": "checkpoint to analysis",
}


def main() -> int:
    drops = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), drops)
    print(f"{'seconds, from a rename into place':<48}{'drops':>6}{'p50':>8}{'p90':>8}{'most':>8}")
    for script, what in STAGES.items():
        some = sorted(times[script])
        nine = some[int(len(some) * 0.9)]
        print(
            f"{what:<48}{len(some):>6}{statistics.median(some):>8.3f}{nine:>8.3f}{some[-1]:>8.3f}"
        )
    return 0


def measure(folder: Path, drops: int) -> dict[str, list[float]]:
    data, sets = folder / "data", folder / "sets"
    sets.mkdir()
    (sets / "short.toml").write_text("epochs = 1\n")
    scripts = {
        "data_ingestion.py": Script(
            "data_ingestion.py", "--data", data, "--settle", SETTLE, "--verbose"
        ),
        "model_training.py": Script(
            "model_training.py", "--data", data, "--hyperparameters-folder", sets
        ),
        "model_analysis.py": Script("model_analysis.py", "--data", data, "--verbose"),
    }
    for script in scripts.values():
        script.wait_for("watching")
    time.sleep(15)  # TensorFlow is imported meanwhile
    times = {name: [] for name in scripts}
    for number in range(drops):
        began = put_raw_dataset(data / "raw_dataset" / f"raw {number}", number)
        times["data_ingestion.py"].append(
            scripts["data_ingestion.py"].wait_for(": reading") - began
        )
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
