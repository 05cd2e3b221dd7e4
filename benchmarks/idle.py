"""What does an idle stage cost? CPU time over a minute, and memory.

python benchmarks/idle.py [seconds]        default: 60
"""

import sys
import tempfile
import time
from pathlib import Path

from processes import Script
from reaction import STAGES, put_raw_dataset


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        scripts = {name: Script(name, "--data", data) for name in STAGES}
        for script in scripts.values():
            script.wait_for("watching")
        put_raw_dataset(data / "raw_dataset" / "raw", 0)
        scripts["model_analysis.py"].wait_for(": analyzed")
        time.sleep(20)  # until the next training process has imported TensorFlow
        before = {name: script.cpu_seconds() for name, script in scripts.items()}
        time.sleep(seconds)
        print(
            f"{'idle for ' + format(seconds, 'g') + ' s':<24}{'CPU s':>8}{'of a core':>12}{'MB':>8}"
        )
        for name, script in scripts.items():
            spent = script.cpu_seconds() - before[name]
            print(f"{name:<24}{spent:>8.2f}{spent / seconds:>12.3%}{script.resident_mb():>8.0f}")
            script.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
