"""3 datasets x 3 models x 3 sets through the real processes, which are killed again and again."""

import json
import random
import shutil
import subprocess
import sys
from itertools import product

import pytest

import constants
import data_ingestion
from constants import ROOT
from helper import sha256_of
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.ledger import entries_in
from testkit.raw_datasets import make_raw_dataset

pytestmark = pytest.mark.slow

MODEL = """
from keras import Input, Sequential, layers

def build_model(input_shape, num_classes):
    return Sequential([Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
                       layers.Dense({width}, activation="relu"),
                       layers.Dense(num_classes, activation="softmax", dtype="float32")])
"""
WIDTHS = {"narrow": 4, "middle": 8, "wide": 16}
SETS = {"few": "epochs = 2", "more": "epochs = 4", "slow": "epochs = 3\nlearning_rate = 0.0001"}


class Product:
    """Folders with 3 x 3 x 3 runs, and the two stages that work them off."""

    def __init__(self, folder):
        self.data = folder / "data"
        for seed in range(3):
            make_raw_dataset(self.data / "raw_dataset" / f"d{seed}", seed=seed)
        data_ingestion.main(["--data", str(self.data), "--once", "--settle", "0"])
        for kind in ("models", "sets"):
            (folder / kind).mkdir()
        for name, width in WIDTHS.items():
            (folder / "models" / f"{name}.py").write_text(MODEL.format(width=width))
        for name, text in SETS.items():
            (folder / "sets" / f"{name}.toml").write_text(text)
        self.stages = {
            "model_training.py": [
                *("--models-folder", folder / "models"),
                *("--hyperparameters-folder", folder / "sets"),
                *("--workers", "2"),
            ],
            "model_analysis.py": [],
        }
        self.processes = {}
        self.seen = {}

    def start(self, script, *more):
        self.processes[script] = subprocess.Popen(
            [sys.executable, ROOT / script, "--data", self.data, *self.stages[script], *more],
            stdout=subprocess.DEVNULL,
        )

    def finish(self):
        """Let both stages do what is left, training first, or analysis could end too early."""
        for script in self.stages:
            self.kill(script)
            self.start(script, "--once")
            assert self.processes[script].wait() == 0

    def kill(self, script):
        self.processes[script].kill()
        self.processes[script].wait()
        self.look()

    def kill_at_a_random_moment(self, script, draw, longest):
        try:
            self.processes[script].wait(draw.uniform(0, longest))
            raise AssertionError(f"{script} ended by itself")
        except subprocess.TimeoutExpired:
            self.kill(script)

    def look(self):
        """What is once there stays the same file: nothing is made twice."""
        for folder in (constants.CHECKPOINTS, constants.RESULTS):
            for path in (self.data / folder).glob("*__*.*"):
                if path.suffix in (".pkl", ".json"):
                    status = path.stat()
                    once = self.seen.setdefault(path, (status.st_ino, status.st_mtime_ns))
                    assert once == (status.st_ino, status.st_mtime_ns), path


@pytest.fixture
def things(tmp_path):
    made = Product(tmp_path)
    yield made
    for process in made.processes.values():
        process.kill()
        process.wait()
    shutil.rmtree(made.data)


def test_killed_again_and_again_each_run_is_trained_and_analyzed_once(things, kills=10, seed=0):
    draw = random.Random(seed)
    for script in things.stages:
        things.start(script)
    for _ in range(kills):
        script = draw.choice(list(things.stages))
        things.kill_at_a_random_moment(script, draw, 12)
        things.start(script)
    things.finish()
    things.look()

    datasets = [path.stem for path in (things.data / constants.DATASETS).glob("*.pkl")]
    names = {"__".join(parts) for parts in product(datasets, WIDTHS, SETS)}
    assert len(names) == 27
    checkpoints, results = things.data / constants.CHECKPOINTS, things.data / constants.RESULTS
    assert {path.stem for path in checkpoints.glob("*.pkl")} == names
    assert {path.stem for path in results.glob("*__*.json")} == names
    for name in names:
        described = json.loads((checkpoints / f"{name}.json").read_text())
        digest = sha256_of(checkpoints / f"{name}.pkl")
        assert described["sha256"] == digest
        assert json.loads((results / f"{name}.json").read_text())["checkpoint_sha256"] == digest
        content = safe_pickle.load(checkpoints / f"{name}.pkl", allow_model=True)
        assert len(content["history"]["loss"]) in (2, 3, 4)
        assert [path.name for path in (checkpoints / name).glob("resume.state")] == []
    for record in (constants.TRAINING_RECORD, constants.ANALYSIS_RECORD):
        assert len(entries_in(things.data / record)) == 27
    assert list(things.data.rglob("*.partial")) == []
