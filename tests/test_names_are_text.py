"""One raw dataset, model and set whose names are all that a program could take for something else."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
import unicodedata
from io import StringIO

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from test_model_training import TINY

from constants import ROOT
from helper import printable
from pipeline.data_folder import description_path, image_table_path
from testkit.pictures import margin_is_white, opened

pytestmark = pytest.mark.slow

LABELS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "<script>alert(1)</script>",
    "$x^2$",
    "$\\frac{",
    "%s %d %(name)s {0}",
    "tab\there",
    "red \x1b[31m and a bell \x07",
    "\u202egpj.exe",
    "mark \u200f and line \u2028 end",
    "long " * 59 + "tail",
    "🐈 👩\u200d👧",
    "猫と犬",
    "قطة حتى",
    "cafe\u0301",
    '"quoted", with a comma',
]
# As the classes are called: a name is the same in every Unicode form.
CLASSES = [unicodedata.normalize("NFC", label) for label in LABELS]
NAMES = {  # of images, by their number; a row of a groundtruth.csv is one line, without spaces around
    0: "=cmd|' C calc'!A0.png",
    1: "+1.png",
    2: "-2+3.png",
    3: "@SUM(A1:A9).png",
    4: "\uff1d1+1.png",
    5: 'red \x1b[31m, "and\ta bell" \x07.png',
    6: "\u202egpj.png",
    7: "$x^2$ <b>%s {0} 猫🐈.png",
}
FOLDER = "=cmd|' <b>$x^2$ %s\n\t\x1b[31m\u202e🐈 猫 قطة"
DATASET = "@ $x^2$ %s\n\x1b[31m\u202e🐈 猫 قطة"
MODEL = "=1+1 <b>$x$ %d\n\x1b[31m猫" + os.fsdecode(b"\xff")
SET = "+cmd|' {0}\t\u202e 🐈 قطة"
LINE = re.compile(r"\d\d:\d\d:\d\d (ingestion|training |analysis ) \| .+")


def put_images(folder, seed):
    draw = np.random.default_rng(seed)
    for split, count in (("train", 2), ("test", 1)):
        (folder / split).mkdir(parents=True)
        rows = [(NAMES.get(i, f"{i:03d}.png"), label) for i, label in enumerate(LABELS * count)]
        for name, _ in rows:
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / name)
        with open(folder / split / "groundtruth.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)


def run(script, *options):
    """Its exit status, its lines, and those that are errors."""
    command = [sys.executable, str(ROOT / script), *map(str, options)]
    ended = subprocess.run(command, capture_output=True)
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The data folder after all stages, all that they printed, and the options of the drops."""
    folder = tmp_path_factory.mktemp("names")
    data, models, sets = (folder / name for name in ("data", "models", "sets"))
    drops, printed = [f"--models-folder={models}", f"--hyperparameters-folder={sets}"], []
    for path, text in ((models / f"{MODEL}.py", TINY), (sets / f"{SET}.toml", "epochs = 1\n")):
        path.parent.mkdir()
        path.write_text(text)
    (models / "broken \x1b[31m.py").write_text("$x^2$ = 1")
    (models / "failing \x1b[31m.py").write_text("raise ValueError('\\x1b[31m %s\\n\\u202e')")

    def stage(script, *options):
        status, *lines = run(script, f"--data={data}", "--once", "--verbose", *options)
        printed.extend(lines)
        return status

    for seed, name in enumerate((FOLDER, "other")):
        put_images(data / "raw_dataset" / name, seed)
        assert stage("data_ingestion.py", "--settle=0") == 0
    newest = max((data / "dataset").glob("*.pkl"))
    for path in (newest, description_path(newest), image_table_path(newest)):
        path.rename(path.with_name(f"{DATASET}{path.suffix}"))
    assert stage("model_training.py", *drops) == 1  # for the two that are no models
    assert stage("model_analysis.py") == 0
    return data, "".join(printed), drops


def test_each_line_of_the_log_is_one_line_of_text(chain):
    lines = chain[1].split("\n")
    assert lines.pop() == ""
    assert len(lines) > 20
    assert all(LINE.fullmatch(line) and line.isprintable() for line in lines)
    for name in (FOLDER, DATASET, MODEL, SET):
        assert any(printable(name) in line for line in lines)
    assert "Warning" not in chain[1]


def test_each_json_is_whole_and_has_the_labels_as_they_are(chain):
    data = chain[0]
    found = {path: json.loads(path.read_bytes()) for path in data.rglob("*.json")}
    assert len(found) == 2 + 2 + 2 + 2 + 3  # datasets, checkpoints, reports, cross tests, stages
    for path in (data / "dataset").glob("*.json"):
        assert found[path]["class_names"] == sorted(CLASSES)
        assert list(found[path]["images_per_class"]["train"]) == sorted(CLASSES)
    for path in (data / "model_analysis_results").glob("*.json"):
        assert [one["class"] for one in found[path]["classes"]] == sorted(CLASSES)
        assert (found[path]["trained"]["model"], found[path]["trained"]["hyperparameter_set"]) == (
            MODEL,
            SET,
        )


def test_no_cell_of_a_table_is_a_formula_or_breaks_its_line(chain):
    results, count = chain[0] / "model_analysis_results", len(LABELS)
    tables = [*results.glob("*.csv"), *(chain[0] / "dataset").glob("*.csv")]
    lengths = []
    for path in tables:
        text = path.read_text()
        lines = list(csv.reader(StringIO(text)))
        assert len(lines) == len(text.splitlines())
        lengths.append(len(lines) - 1)
        for cell in itertools.chain.from_iterable(lines):
            assert cell.isprintable()
            assert re.fullmatch(r"-?[0-9.]+", cell) or not cell.lstrip().startswith(tuple("=+-@"))
        if lengths[-1] == 2:
            assert f"'{printable(MODEL)}" in lines[1]
            assert f"'{printable(SET)}" in lines[1]
    # The leaderboard, each model on each dataset; predictions; of the datasets, both splits.
    assert sorted(lengths) == [2, 2, count, count, 3 * count, 3 * count]


def as_cell(name):
    return "'" + printable(name) if name.startswith(tuple("=+-@\uff1d")) else printable(name)


def test_the_predictions_name_each_file_and_class(chain):
    results = chain[0] / "model_analysis_results"
    names = [as_cell(f"test/{NAMES.get(i, f'{i:03d}.png')}") for i in range(len(LABELS))]
    for path in results.glob("predictions_*.csv"):
        rows = list(csv.DictReader(StringIO(path.read_text())))
        assert [row["file"] for row in rows] == names
        assert [row["true"] for row in rows] == [as_cell(label) for label in CLASSES]
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            assert arrays["class_names"].tolist() == sorted(CLASSES)
            assert [arrays["class_names"][label] for label in arrays["labels"]] == CLASSES


def test_each_picture_shows_all_within_its_margins(chain):
    pictures = list((chain[0] / "model_analysis_results").glob("*.png"))
    assert len(pictures) == 2 * 3 + 2
    for path in pictures:
        png = path.read_bytes()
        assert margin_is_white(png)
        assert max(opened(png).size) < 2000  # a label of 300 characters does not make it wider


def test_tensorboard_reads_the_names(chain):
    checkpoints = chain[0] / "model_checkpoints"
    folders = [path.parent for path in checkpoints.glob("*/logs/*.pipeline")]
    parts = ("", "train", "validation", "test")
    found = EventMultiplexer().AddRunsFromDirectory(str(checkpoints)).Runs()
    logs = [folder.relative_to(checkpoints) for folder in folders]
    assert set(found) == {str(log / part) for log in logs for part in parts}
    assert len(folders) == 2
    for folder in folders:
        events = EventAccumulator(str(folder))
        events.Reload()
        values = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        assert printable(MODEL).encode() in values
        assert printable(SET).encode() in values


def test_the_tables_of_runs_and_stages_are_text(chain):
    data, _, drops = chain
    for options in (drops, ["--health"]):
        _, *texts = run("run_queue.py", f"--data={data}", *options)
        assert all(line.isprintable() for line in "".join(texts).split("\n"))
        _, text, _ = run("run_queue.py", f"--data={data}", "--json", *options)
        assert json.loads(text)
