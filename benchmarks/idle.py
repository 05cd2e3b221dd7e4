"""What does an idle stage cost after long use? CPU time and memory, with 10,000 runs on record.

python benchmarks/idle.py [seconds]        default: 112; with QUICK=1: 20, and 100 datasets

They are started on a data folder of 1,000 datasets and 10,000 runs, all of them done.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import ROOT, Script, resident_mb, wait_until_idle
from records import put_checkpoints, put_datasets, put_raw_datasets, put_reports
from tables import QUICK, markdown, progress

sys.path.insert(0, str(ROOT))

from constants import LOOK_AT_LEAST

STAGES = ("data_ingestion.py", "model_training.py", "model_analysis.py")
DATASETS, SETS = (100 if QUICK else 1000), 10


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20 if QUICK else 112
    with tempfile.TemporaryDirectory() as folder:
        progress(f"making {DATASETS * SETS:,} runs on record")
        fill(Path(folder))
        rows = measure(Path(folder), seconds)
    print("## What does an idle stage cost?\n")
    header = "", "CPU seconds per hour", "of a core", "MB", "MB in its other processes"
    print(markdown(header, rows))
    print(f"""
Over {seconds:g} s, with {DATASETS:,} datasets and {DATASETS * SETS:,} runs on record, all done. Training
keeps other processes, with TensorFlow imported, for the next run to begin at once; analysis has it
imported. With so much on record they look without any event every {LOOK_AT_LEAST:g} s at the latest.""")
    return 0


def fill(folder: Path) -> None:
    queue = put_datasets(folder, DATASETS, SETS)
    runs = queue.look()
    put_checkpoints(folder / "data", runs)
    put_reports(folder / "data", runs)
    put_raw_datasets(folder / "data", DATASETS)


def measure(folder: Path, seconds: float) -> list[list[object]]:
    folders = "--models-folder", folder / "models", "--hyperparameters-folder", folder / "sets"
    scripts = {
        name: Script(name, "--data", folder / "data", *(folders if "training" in name else ()))
        for name in STAGES
    }
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    for script in scripts.values():
        script.wait_for("watching")
    progress("waiting until they have nothing left to do")
    wait_until_idle(scripts.values())
    progress(f"idle for {seconds:g} s")
    before = {name: script.cpu_seconds() for name, script in scripts.items()}
    time.sleep(seconds)
    rows = []
    for name, script in scripts.items():
        share = (script.cpu_seconds() - before[name]) / seconds
        others = sum(map(resident_mb, script.children()))
        memory = f"{resident_mb(script.process.pid):.0f}", f"{others:.0f}" if others else ""
        rows.append([name, f"{3600 * share:.1f}", f"{share:.2%}", *memory])
        script.stop()
    rows.append(["limit: a Python that sleeps", 0, "0%", f"{resident_mb(sleeping.pid):.0f}", ""])
    sleeping.kill()
    sleeping.wait()
    return rows


if __name__ == "__main__":
    sys.exit(main())
