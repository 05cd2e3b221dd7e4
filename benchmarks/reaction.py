"""How long does each stage take to notice? From a rename into place to its first line of work.

python benchmarks/reaction.py [drops]        default: 200, some minutes; with QUICK=1: 20

Beside it a loop that looks at the folder each second, run at the same time, and what others wait by
default, from their documentation: Dagster's sensors at least 30 s (minimum_interval_seconds), Airflow's
FileSensor 60 s (poke_interval). A wait of n seconds is n / 2 in the median and n at the most.
"""

import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from processes import Script, wait_until_idle
from records import MODEL, put_raw_dataset
from tables import QUICK, markdown, progress

SETTLE = 0.1
LOOP = "a loop that looks each second"
DOCUMENTED = {"Dagster sensor, as documented": 30.0, "Airflow FileSensor, as documented": 60.0}
STAGES = {
    "data_ingestion.py": f"raw dataset to reading (settles for {SETTLE} s)",
    "model_training.py": "dataset to training",
    "model_analysis.py": "checkpoint to analysis",
}


def main() -> int:
    drops = int(sys.argv[1]) if len(sys.argv) > 1 else 20 if QUICK else 200
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), drops)
    rows = [
        [STAGES.get(name, name), len(some), *figures(sorted(some))] for name, some in times.items()
    ]
    rows += [
        [name, "", *(f"{seconds * share:.0f}" for share in (0.5, 0, 0.99, 1))]
        for name, seconds in DOCUMENTED.items()
    ]
    ours = max(statistics.median(times[name]) for name in STAGES)
    print("## How soon does each stage notice?\n")
    print(markdown(["seconds", "drops", "median", "least", "p99", "most"], rows))
    print(f"""
From a rename into place to the first line of work. Limit: {SETTLE} s of settling for a raw dataset, 0 for the
others. The loop's median is {statistics.median(times[LOOP]) / ours:.0f} times that of the slowest stage.
What others wait by default is half of it in the median and all of it at the most.""")
    return 0


def figures(times: list[float]) -> list[str]:
    late = times[int(len(times) * 0.99)]
    return [f"{one:.3f}" for one in (statistics.median(times), times[0], late, times[-1])]


def measure(folder: Path, drops: int) -> dict[str, list[float]]:
    data = folder / "data"
    scripts = start(folder)
    times = {name: [] for name in (*scripts, LOOP)}
    threading.Thread(target=loop, args=[data / "dataset", times[LOOP]], daemon=True).start()
    for number in range(drops):
        began = drop(data / "raw_dataset" / f"raw {number}", number)
        came = scripts["data_ingestion.py"].wait_for(": reading")
        times["data_ingestion.py"].append(came - began)
        scripts["data_ingestion.py"].wait_for("ingested as dataset")
        came = scripts["model_training.py"].wait_for(": started")
        newest = max((data / "dataset").glob("*.pkl"))
        times["model_training.py"].append(came - newest.stat().st_ctime)
        # The next one is dropped while this one is analyzed.
        scripts["model_training.py"].wait_for(": trained")
        came = scripts["model_analysis.py"].wait_for(": started")
        newest = max((data / "model_checkpoints").glob("*.pkl"))
        times["model_analysis.py"].append(came - newest.stat().st_ctime)
        if not number:  # the first one takes longer
            scripts["model_analysis.py"].wait_for(": analyzed")
        if number % 20 == 19:
            progress(f"{number + 1} of {drops} drops")
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
    wait_until_idle(scripts.values())  # TensorFlow is imported meanwhile
    return scripts


def loop(folder: Path, times: list[float]) -> None:
    """What one would write without watching: look, sleep, look."""
    seen = set()
    while True:
        for path in set(folder.glob("*.pkl")) - seen:
            times.append(time.time() - path.stat().st_ctime)
            seen.add(path)
        time.sleep(1)


def drop(target: Path, seed: int) -> float:
    """Rename a small raw dataset into place; returns when."""
    built = target.with_name(f".{target.name}")
    put_raw_dataset(built, seed, images=20)
    began = time.time()
    built.rename(target)
    return began


if __name__ == "__main__":
    sys.exit(main())
