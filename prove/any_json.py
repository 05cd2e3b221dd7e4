"""Whatever JSON lies in place of a description, a report, a status or a record, no reader breaks.

Of each, one value is replaced by any other, or all of it is. Then all readers look at it: the queue,
the tables, the records and what is left to do; and, for some, the stages themselves.
"""

import contextlib
import io
import json
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import constants
import run_queue
from helper import digest_of
from pipeline.analysis import leaderboard
from pipeline.analysis.checkpoint_analysis import Analysis
from pipeline.analysis.cross_evaluation import CrossEvaluation
from pipeline.analysis.evaluation import Evaluator
from pipeline.analysis.leaderboard import Leaderboard
from pipeline.analysis.models_by_datasets import ModelsByDatasets, lines
from pipeline.artifacts import ledger, safe_pickle
from pipeline.artifacts.catalog import Catalog
from pipeline.raw_data.ingestion import Ingestion, RawDatasetState
from pipeline.raw_data.ingestion_settings import IngestionSettings
from pipeline.stage.log_lines import log
from pipeline.stage.process import Stage
from pipeline.training import training_state
from pipeline.training.run_queue import RunQueue
from pipeline.training.scheduler import Scheduler
from prove import Result, some, warm
from prove.scenes import BEGUN, CHECKPOINT, FAULTS, NEXT, Prepared, prepared

DEEP = {f'"deep {depth}"': f"{'[' * depth}{']' * depth}" for depth in (300, 900, 950, 100_000)}
SCALARS = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(10**30), 10**400, 0.5, -0.5, 1e300, -1e308,
    float("nan"), float("inf"), "", "x", "0", "cnn", "trained", "failed", "analyzed", "stopped",
    "../../x", "/", "..", "a\0b", "a\nb\x1b[31m", "\ud800", "x" * 5000, "9" * 5000, "\u732b",
)  # fmt: skip
KEYS = (
    "run", "metrics", "counts", "train", "settings", "priority", "class_names", "warnings", "sha256",
    "key", "state", "name", "accuracy", "accuracies", "classes", "class", "trained", "text", "x",
)  # fmt: skip


def prove(full: bool) -> Result:
    violations = []
    tries = 10_000 if full else 200
    violations += _with_all_readers(tries)
    scenes = prepared(NEXT, BEGUN, CHECKPOINT)
    cases = [
        (scene, name, number) for scene in scenes for name in _jsons(scene) for number in range(12)
    ]
    cases = some(cases, full, 9)
    violations += [found for found in warm.each(_with_the_stage, cases) if found]
    count = tries + len(cases)
    figure = (
        f"{tries:,} contents for all readers, {len(cases)} for a stage, {len(violations)} broke"
    )
    return Result(count, count - len(violations), figure, violations)


def anything(draw: random.Random, left: int = 4) -> object:
    """Any value that JSON has a form for, and some that only Python's has."""
    kind = draw.random()
    if not left or kind < 0.6:
        return draw.choice([*SCALARS, *(text.strip('"') for text in DEEP)])
    if kind < 0.8:
        return [anything(draw, left - 1) for _ in range(draw.randrange(4))]
    return {draw.choice(KEYS): anything(draw, left - 1) for _ in range(draw.randrange(4))}


def changed(content: object, draw: random.Random) -> object:
    """`content` with one of the values in it replaced, or taken away."""
    content = json.loads(json.dumps(content))
    places = list(_places(content))
    if not places or draw.random() < 0.1:
        return anything(draw)
    table, key = draw.choice(places)
    if draw.random() < 0.1:
        del table[key]
    else:
        table[key] = anything(draw)
    return content


def _places(content: object) -> Iterator[tuple]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def text_of(content: object) -> bytes:
    text = json.dumps(content)
    for name, deep in DEEP.items():
        text = text.replace(name, deep)
    return text.encode()


# All readers, in this process


class Everything:
    """A data folder with one of each artifact, whose JSON can be replaced, and all that reads them."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        for name in ("models", "sets"):
            (folder / name).mkdir(parents=True)
        (folder / "models" / "m.py").write_text("PRIORITY = 1\n")
        (folder / "sets" / "s.toml").write_text("epochs = 3\n")
        for name in (
            "dataset",
            "model_checkpoints",
            "model_analysis_results",
            "status",
            "raw_dataset",
        ):
            (self.data / name).mkdir(parents=True)
        for name in ("one", "two"):
            safe_pickle.publish(self.data / "dataset" / f"{name}.pkl", [name], DATASET)
        self.options = ["--data", str(self.data), "--models-folder", str(folder / "models")]
        self.options += ["--hyperparameters-folder", str(folder / "sets")]
        self.runs = self.queue().look()
        self.run = self.runs[0]
        self.honest = self._honest()
        self.restore()

    def queue(self) -> RunQueue:
        return RunQueue(self.data, self.folder / "models", self.folder / "sets")

    def _honest(self) -> dict[str, object]:
        name, key, sha256 = self.run.plain_name, self.run.key, digest_of("a checkpoint")
        checkpoint = self.data / "model_checkpoints" / f"{name}.pkl"
        checkpoint.write_bytes(b"")
        made_from = {"key": key, "dataset": "one", "dataset_sha256": digest_of("a"), "model": "m"}
        made_from |= {"hyperparameter_set": "s", "model_priority": 1, "settings": {"epochs": 3}}
        made_from |= {"seconds": 1.5, "images": 90, "epochs": 3, "parameters": 10, "best_epoch": 2}
        report = {"run": name, "checkpoint_sha256": sha256, "dataset": "one", "accuracy": 0.5}
        report |= {"dataset_sha256": self.run.dataset.digest, "loss": 1.0, "test_images": 9}
        report |= {"image_shape": [8, 8, 3], "classes": [{"class": "cat"}, {"class": "dog"}]}
        report |= {"trained": made_from}
        accuracies = {self.runs[-1].dataset.digest: 0.5}
        entry = {"state": "trained", "name": name, "accuracy": 0.5, "model": "m", "seconds": 1.5}
        entry |= {"images": 90, "epochs": 3}
        folder_entry = {"fingerprint": "f", "image_size": 8, "problems": ["no"]}
        status = {
            "stage": "training",
            "pid": 1,
            "version": "1",
            "since": "now",
            "doing": "training",
        }
        status |= {"progress": "1 of 2", "said": 1.0, "last_error": "none"}
        results = "model_analysis_results"
        return {
            "dataset/one.json": {**DATASET, "sha256": self.run.dataset.digest},
            f"model_checkpoints/{name}.json": {"run": made_from, "metrics": {"val_accuracy": 0.5},
                                               "sha256": sha256},
            f"{results}/{name}.json": report,
            f"{results}/on_other_datasets/{name}.json": {"run": name, "checkpoint_sha256": sha256,
                                                         "accuracies": accuracies},
            "status/training.json": status,
            constants.INGESTION_RECORD: {"content": {"dataset": "one"}, "folder x": folder_entry},
            constants.TRAINING_RECORD: {key: entry, "other": {"state": "failed", "name": "x",
                                                              "reason": "none"}},
            "requests/a.json": {"request": "priority", "runs": [name, key], "priority": 3},
            "requests/b.json": {"request": "note", "dataset": "one", "model": "m", "set": "s",
                                "note": "a line"},
            constants.REQUESTS_RECORD: {key: {"priority": 1, "hidden": True, "note": "a line"},
                                        "other": {"end": "cancel"},
                                        "file x.json": {"done": "1 2 3 4", "refused": "no"}},
            constants.ANALYSIS_RECORD: {sha256: {"run": name, "state": "analyzed", "accuracy": 0.5}},
            f"model_checkpoints/{self.runs[-1].plain_name}/{training_state.FILE}": {
                "key": self.runs[-1].key, "epochs": 2},
        }  # fmt: skip

    def put(self, name: str, content: object) -> None:
        path = self.data / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(as_file(name, content))
        os.utime(path, (1000, 1000))  # or a bad request might be half-written yet

    def restore(self) -> None:
        """As it was, also where a reader has put a record together again."""
        for path in [*self.data.glob("*.damaged-*"), *self.data.glob("requests/*")]:
            path.unlink()
        for name, content in self.honest.items():
            self.put(name, content)

    def read(self) -> None:
        """Whatever reads any of it."""
        for more in ([], ["--json"], ["--health"], ["--health", "--json"]):
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
                run_queue.main([*self.options, *more])
        options = SimpleNamespace(
            data=self.data, once=True, preempt=True, workers=1, retry_failed=False
        )
        options.settings, options.follow_links = IngestionSettings(8), []
        training = Scheduler(self.queue(), SimpleNamespace(running=[]), options, Stage(once=True))
        training.requests.carry_out()
        list(training.waiting())
        ingestion = Ingestion(self.data / "raw_dataset", options, Stage(once=True))
        ingestion.look()
        ingestion.writer.published.look_again()
        ingestion.writer.published.name_for("x"), ingestion.writer._ingested_on_disk()
        ingestion._is_recorded(Path("x"), RawDatasetState("f"))
        self._analyze(Stage(once=True))
        for run in self.runs:
            with contextlib.suppress(training_state.NothingToResume):
                training_state.load(self.data / "model_checkpoints" / run.plain_name, run.key)

    def _analyze(self, stage: Stage) -> None:
        catalog = Catalog(self.data)
        evaluator = Evaluator(stage.status)
        Analysis(catalog, evaluator, stage).next_task()
        board = Leaderboard(catalog, stage)
        board.standings = leaderboard.standings(catalog)
        for part in (leaderboard.lines(board.standings), leaderboard.best(board.standings)):
            str(part)
        tests = CrossEvaluation(catalog, board, evaluator, stage)
        tests.next_test()
        if matrix := ModelsByDatasets(tests)._matrix():
            lines(matrix)


DATASET = {
    "raw_dataset": "data/raw_dataset/x", "content": "c", "counts": {"train": 90, "test": 9},
    "image_size": 8, "class_names": ["cat", "dog"], "images_per_class": {"train": {"cat": 45}},
    "warnings": {"few_images": {"count": 1, "text": "few", "files": ["train/a.png"]}},
}  # fmt: skip


def as_file(name: str, content: object) -> bytes:
    """`content` in the form that the file has: JSON alone, in a record, or before a state."""
    text = text_of(content)
    if name.endswith(".pkl"):
        return ledger._framed([text.decode()[1:-1]])
    if name.endswith(training_state.FILE):
        state = safe_pickle.dumps(content) if isinstance(content, dict) else b""
        rest = text + b"\n" + state
        return training_state._digest(rest) + b"\n" + rest
    return text


def _with_all_readers(tries: int) -> list[str]:
    draw, violations = random.Random(7), []
    faults = _Faults()
    log.addHandler(faults)
    log.propagate, before = False, log.propagate
    try:
        with tempfile.TemporaryDirectory(prefix="prove-") as folder:
            everything = Everything(Path(folder).resolve())
            everything.read()  # must go well
            for _ in range(tries):
                name = draw.choice(list(everything.honest))
                content = changed(everything.honest[name], draw)
                everything.put(name, content)
                try:
                    everything.read()
                except Exception as error:
                    faults.found.append(f"{type(error).__name__}: {error}")
                if faults.found:
                    violations.append(
                        f"{name} {str(content)[:300]}: {'; '.join(faults.found)[:500]}"
                    )
                    faults.found.clear()
                everything.restore()
    finally:
        log.removeHandler(faults)
        log.propagate = before
    return violations


class _Faults(logging.Handler):
    """Faults that were caught and logged with their traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().formatException(record.exc_info)[-300:])


# The stages


def _jsons(scene: Prepared) -> list[str]:
    data = scene.folder / "undisturbed" / "data"
    return [
        str(path.relative_to(data))
        for path in sorted(data.rglob("*"))
        if path.suffix == ".json" or path == scene.scene.record(scene.folder / "undisturbed")
    ]


def _with_the_stage(case: tuple[Prepared, str, int]) -> str | None:
    scene, name, number = case
    draw = random.Random(f"{scene.scene.name} {name} {number}")
    with scene.copy(of="undisturbed" if number % 2 else "template") as folder:
        path, honest = folder / "data" / name, scene.folder / "undisturbed" / "data" / name
        content = ledger._read(honest) if name.endswith(".pkl") else json.loads(honest.read_bytes())
        content = changed(content, draw)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(as_file(name, content))
        (folder / "said").unlink(missing_ok=True)
        status = scene.scene.run(folder)
        said = (folder / "said").read_text(errors="replace")
        if status not in (0, 1) or any(fault in said for fault in FAULTS):
            return f"{scene.scene.name}, {name} {str(content)[:300]}: {status} {said[-1500:]}"
    return None
