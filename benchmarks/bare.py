"""The other side of a comparison: a script in `peers/`, in a fresh process, with none of the stages."""

import json
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"


def bare(name: str, *arguments: object) -> dict:
    """What the script prints as JSON. What else it says, TensorFlow's lines, is shown if it fails."""
    command = [sys.executable, PEERS / name, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)
