"""The whole main job: three scripts as processes, a dropped folder, and the pictures at the end."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from constants import ROOT
from pipeline.artifacts.dataset import display_name
from testkit.processes import Process
from testkit.raw_datasets import make_raw_dataset

pytestmark = pytest.mark.slow

STAGES = {
    "data_ingestion.py": [],
    "model_training.py": ["--models", "cnn", "--hyperparameters", "default"],
    "model_analysis.py": [],
}


class Chain:
    """The three stages on one data folder; the name of the dataset that was dropped first."""

    def __init__(self, data):
        self.data = data
        self.stages = {
            script: Process(script, "--data", data, *options) for script, options in STAGES.items()
        }

    def drop(self, built):
        for stage in self.stages.values():
            stage.wait_for("watching")
        make_raw_dataset(built, train=90, test=30, names=True).rename(
            self.data / "raw_dataset" / "colours"
        )
        line = self.stages["data_ingestion.py"].wait_for("ingested as dataset")
        self.name = line.split("ingested as dataset ")[1].split(" in ")[0]
        self.stages["model_analysis.py"].wait_for(
            f"{display_name(self.name, 'colours')}: analyzed in"
        )

    def path(self, folder, name):
        return self.data / folder / name


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    chain = Chain(folder / "data")
    try:
        chain.drop(folder / "built")
        yield chain
    finally:
        for stage in chain.stages.values():
            stage.process.kill()


def in_a_fresh_process(program, *arguments):
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


def test_one_drop_gives_each_file_under_its_name(chain):
    name = chain.name
    for folder, names in {
        "dataset": [f"{name}.csv", f"{name}.json", f"{name}.pkl"],
        "model_checkpoints": [name, f"{name}.json", f"{name}.pkl"],
        "model_analysis_results": [
            f"{name}.json",
            f"confusion_matrix_{name}.pkl.png",
            f"plot_model_{name}.pkl.png",
            f"predictions_{name}.csv",
            f"predictions_{name}.npz",
            f"visualize_errors_{name}.pkl.png",
        ],
    }.items():
        assert (
            sorted(path.name for path in (chain.data / folder).iterdir() if name in path.name)
            == names
        )


def test_the_model_has_learned(chain):
    report = json.loads(chain.path("model_analysis_results", f"{chain.name}.json").read_text())
    assert report["accuracy"] > 0.9
    assert report["test_images"] == 30


def test_the_pictures_are_pictures(chain):
    for path in (chain.data / "model_analysis_results").glob("*.pkl.png"):
        with Image.open(path) as picture:
            picture.load()
            assert picture.text["Run"] == chain.name
            assert min(picture.size) > 300


def test_a_plain_pickle_load_reads_the_dataset_with_numpy_alone(chain):
    program = (
        "import json, pickle, sys\n"
        "dataset = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(json.dumps([list(dataset['train']['img'].shape), 'keras' in sys.modules]))"
    )
    assert in_a_fresh_process(program, chain.path("dataset", f"{chain.name}.pkl")) == [
        [90, 32, 32, 3],
        False,
    ]


def test_the_readme_s_own_lines_open_both_pickles_without_a_warning(chain):
    page = (ROOT / "README.md").read_text()
    program = page.split("Both pickles open without this project:")[1].split("```")[1]
    program = program.removeprefix("python\n").replace("2022-06-08 20:57:20.868637", chain.name)
    program += "\nassert probabilities.shape == (30, 3)\nassert not checkpoint['model'].compiled\n"
    ended = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", program],
        cwd=chain.data.parent,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    # TensorFlow's C++ greets before it reads how much it may say.
    greeting = ("cudart_stub", "absl::InitializeLog")
    lines = ended.stderr.splitlines()
    said = [line for line in lines if not any(word in line for word in greeting)]
    assert (ended.returncode, said) == (0, []), ended.stderr


def test_a_plain_pickle_load_gives_the_model_that_was_analyzed(chain):
    program = (
        "import json, pickle, sys\n"
        "checkpoint = pickle.load(open(sys.argv[1], 'rb'))\n"
        "test = pickle.load(open(sys.argv[2], 'rb'))['test']\n"
        "predicted = checkpoint['model'].predict(test['img'], batch_size=512, verbose=0).argmax(1)\n"
        "epochs = {name: len(values) for name, values in checkpoint['history'].items()}\n"
        "checkpoint['model'].compile(loss='categorical_crossentropy')\n"
        "loss = checkpoint['model'].evaluate(test['img'], test['class'], verbose=0)\n"
        "print(json.dumps([float((predicted == test['label']).mean()), epochs, loss > 0]))"
    )
    paths = [chain.path(folder, f"{chain.name}.pkl") for folder in ("model_checkpoints", "dataset")]
    accuracy, epochs, has_loss = in_a_fresh_process(program, *paths)
    report = json.loads(chain.path("model_analysis_results", f"{chain.name}.json").read_text())
    assert accuracy == pytest.approx(report["accuracy"])
    assert set(epochs) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert len(set(epochs.values())) == 1
    assert has_loss


@pytest.mark.parametrize("split", ["train", "validation"])
def test_tensorboard_reads_one_point_per_epoch(chain, split):
    description = json.loads(chain.path("model_checkpoints", f"{chain.name}.json").read_text())
    folder = chain.path("model_checkpoints", chain.name) / "logs" / split
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    for tag in ("epoch_loss", "epoch_accuracy"):
        steps = [point.step for point in events.Tensors(tag)]
        assert steps == list(range(description["run"]["epochs"]))


def test_a_dataset_dropped_in_by_hand_is_trained_and_analyzed(chain):
    with open(chain.path("dataset", f"{chain.name}.pkl"), "rb") as file:
        dataset = pickle.load(file)
    dataset["train"]["img"] = np.ascontiguousarray(dataset["train"]["img"][:, ::-1])
    built = chain.data / "mine.pkl"
    with open(built, "wb") as file:
        pickle.dump(dataset, file, protocol=4)
    built.rename(chain.path("dataset", "mine.pkl"))
    chain.stages["model_training.py"].wait_for("mine: trained in")
    chain.stages["model_analysis.py"].wait_for("mine: analyzed in")


def test_the_same_folder_again_is_nothing_new(chain):
    shutil.copytree(chain.path("raw_dataset", "colours"), chain.path("raw_dataset", "again"))
    line = chain.stages["data_ingestion.py"].wait_for("again: same content")
    assert line.endswith(f"same content as dataset {chain.name}, nothing new")


def test_a_second_process_of_a_stage_says_so_and_ends(chain):
    for script, stage in chain.stages.items():
        second = Process(script, "--data", chain.data)
        assert second.end() == 1
        assert f"is already running as process {stage.process.pid}." in second.lines[0]
        assert len(second.lines) == 1


def test_each_stage_stops_with_one_line(chain):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    for stage, number in zip(chain.stages.values(), numbers, strict=True):
        assert stage.end(number) == 0
        assert stage.lines[-1].endswith("| stopped")
        starts = (" ingestion | ", " training  | ", " analysis  | ")
        assert [line for line in stage.lines if not line[8:].startswith(starts)] == []
    assert list(chain.data.rglob("*.partial")) == []
