"""How soon is each script there? Its --help, and its line "watching".

python benchmarks/start.py        under a minute; with QUICK=1: some seconds
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from processes import ROOT, Script, python
from tables import QUICK, alternating, markdown, spread

ROUNDS = 3 if QUICK else 5
STAGES = ("data_ingestion.py", "model_training.py", "model_analysis.py")
LIMITS = {f"python -c '{code}'": code for code in ("pass", "import tensorflow")}
SCRIPTS = (*STAGES, "generate_raw_dataset.py", "run_queue.py")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        times = alternating(contestants(Path(folder)), ROUNDS)
    rows = [
        [
            script,
            spread(times[f"{script} --help"]),
            spread(times[script]) if script in times else "",
        ]
        for script in SCRIPTS
    ]
    rows += [[f"limit: `{name}`", spread(times[name]), ""] for name in LIMITS]
    print("## How soon is each script there?\n")
    print(markdown(["seconds", "`--help`", "watching"], rows))
    print(f"""
Median (least-most) of {ROUNDS}, taking turns. Training and analysis watch before TensorFlow is imported,
and import it then, before it is needed.""")
    return 0


def contestants(folder: Path) -> dict:
    helps = {f"{name} --help": partial(ended, ROOT / name, "--help") for name in SCRIPTS}
    watching = {name: partial(watches, name, folder / "data") for name in STAGES}
    limits = {name: partial(ended, "-c", code) for name, code in LIMITS.items()}
    return helps | watching | limits


def ended(*command: object) -> float:
    began = time.time()
    python(*command)
    return time.time() - began


def watches(name: str, data: Path) -> float:
    began = time.time()
    script = Script(name, "--data", data)
    came = script.wait_for("watching")
    script.stop()
    return came - began


if __name__ == "__main__":
    sys.exit(main())
