"""Which checkpoints are analyzed, and analyzing the next one."""

import argparse
import json
import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import constants
from helper import (
    UserError,
    printable,
    shown,
    whole_file,
    write_json,
)
from pipeline.analysis import metrics
from pipeline.analysis.evaluation import Evaluator
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.catalog import Catalog
from pipeline.artifacts.dataset import load_split
from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import DatasetDescription, Report
from pipeline.data_folder import DataFolder
from pipeline.stage.log_lines import log
from pipeline.stage.process import raise_if_stopping
from pipeline.stage.progress import counted
from pipeline.stage.retry import retry_until_disk_works
from pipeline.stage.status import status


@dataclass
class Task:
    """A checkpoint to analyze and the dataset it is to be tested on."""

    path: Path
    sha256: str
    dataset: Path

    @property
    def run(self) -> str:
        return self.path.stem


class Analysis:
    """Which checkpoints are analyzed, and doing the next one."""

    def __init__(self, catalog: Catalog, evaluator: Evaluator, options: argparse.Namespace):
        self.catalog, self.evaluator, self.once = catalog, evaluator, options.once
        self.data = DataFolder(options.data)
        self.record = Ledger(self.data.analysis_record, self._analyzed_on_disk)
        self.all_well = True
        self._said: dict[Path, str] = {}
        self._not_before: dict[Path, float] = {}  # what could not be read, until when it is left

    def next_task(self) -> Task | None:
        """The most urgent checkpoint that is neither analyzed nor failed."""
        for checkpoint in self.catalog.checkpoints:
            path = checkpoint.path
            if time.monotonic() < self._not_before.get(path, 0.0):
                continue
            try:
                digest = checkpoint.sha256
                if self._is_done(digest, self.catalog.reports.get(checkpoint.run)):
                    continue
                _check_length(path)
                return Task(path, digest, self.catalog.dataset_of(checkpoint))
            except FileNotFoundError:
                continue  # it went while we looked
            except UserError as error:
                self._say_once(path, str(error))
            except OSError as error:
                self._say_once(path, f"cannot be read: {error.strerror}. Make it readable.")
        return None

    def analyze(self, task: Task) -> None:
        """Test one checkpoint and write all there is to see of it, the .json last."""
        began = time.monotonic()
        log.debug("%s: started", task.run)
        status.update(f"analyzing {task.run}")
        try:
            pictures, report = self._examine(task)
        except UserError as error:
            return self._fail(task, str(error))
        except FileNotFoundError:
            return None  # it went, or was replaced: the next look will tell
        except OSError as error:  # for now: the others go first
            self._say_once(
                task.path, f"cannot be read: {error.strerror or error}. Make it readable."
            )
            self._not_before[task.path] = time.monotonic() + constants.RETRY
            return None
        except Exception as error:
            raise_if_stopping()
            # A fault of ours or of Keras: say all, and go on with the others.
            log.exception("%s: failed", task.run)
            return self._fail(task, f"{type(error).__name__}: {printable(error)[:300]}")
        retry_until_disk_works(lambda: self._write(pictures, report), log.error, self.once)
        self._enter(task.sha256, **_entry_of(task.run, report["accuracy"]))
        log.info(
            "%s: analyzed in %.1f s, test accuracy %.3f, %d pictures in %s",
            task.run,
            time.monotonic() - began,
            report["accuracy"],
            len(pictures),
            shown(self.data.results),
        )
        return None

    def _fail(self, task: Task, reason: str) -> None:
        raise_if_stopping()
        log.error("%s: failed: %s", task.run, reason)
        self.all_well = False
        self._enter(task.sha256, run=task.run, state="failed", reason=reason)

    def _examine(self, task: Task) -> tuple[dict[str, bytes], dict]:
        """The pictures by file name, and the report."""
        self.evaluator.prepare(task.path, task.sha256)
        test = load_split(task.dataset, "test")  # meanwhile
        with counted(len(test["img"]), "analysis  | testing", "images") as progress:
            evaluation = self.evaluator.evaluate(task.path, task.sha256, test, progress)
        probabilities, run = evaluation.probabilities, evaluation.run
        described = DatasetDescription.beside(task.dataset)
        names = class_names(described, test["class"].shape[1])
        figures = metrics.score(probabilities, test["label"], names)
        report = {
            "run": task.run,
            "checkpoint_sha256": task.sha256,
            "dataset": task.dataset.stem,
            "dataset_sha256": run.get("dataset_sha256") or safe_pickle.digest(task.dataset),
            "image_shape": test["img"].shape[1:],
            **figures,
            "trained": run,
            "dataset_warnings": described.warnings,
            "versions": {"pipeline": constants.VERSION, "keras": version("keras")},
        }
        return draw(report, evaluation.history, test, probabilities, names), report

    def _write(self, pictures: dict[str, bytes], report: dict) -> None:
        for name, picture in pictures.items():
            with whole_file(self.data.results / name) as file:
                file.write(picture)
        write_json(self.data.report(report["run"]), {**report, "pictures": list(pictures)})

    def _enter(self, digest: str, **entry: object) -> None:
        retry_until_disk_works(lambda: self.record.record(digest, **entry), log.error, self.once)

    def _is_done(self, digest: str, report: Report | None) -> bool:
        entry = self.record.entries.get(digest, {})
        if entry.get("state") == "failed":
            self.all_well = False
            return True
        if report is None or report.checkpoint_sha256 != digest:
            # A copy under another name is the same content, and its result is there already.
            return (
                entry.get("state") == "analyzed"
                and self.data.report(str(entry.get("run"))).exists()
            )
        if not entry:  # finished just before an earlier process died
            self._enter(digest, **_entry_of(report.run, report.accuracy))
        return True

    def _analyzed_on_disk(self) -> dict[str, dict]:
        """The entry of each checkpoint that has a report, by its SHA-256."""
        return {
            report.checkpoint_sha256: _entry_of(report.run, report.accuracy)
            for report in self.catalog.reports.values()
        }

    def _say_once(self, path: Path, text: str) -> None:
        self.all_well = False
        if self._said.get(path) != text:
            self._said[path] = text
            log.error("%s: %s", printable(path.stem), text)


def _check_length(path: Path) -> None:
    length, most = len(os.fsencode(path.stem)), constants.MOST_IN_NAME
    if length > most:
        raise UserError(
            f"its name has {length} bytes, expected {most} at the most, as files are named after it."
            " Give it and the .json beside it a shorter one."
        )


def _entry_of(run: str, accuracy: float) -> dict:
    return {"run": run, "state": "analyzed", "accuracy": accuracy}


def class_names(description: DatasetDescription, count: int) -> list[str]:
    """The names from a dataset's description, or the numbers."""
    names = description.class_names
    return list(names) if len(names) == count else [str(number) for number in range(count)]


def draw(
    report: dict,
    history: dict,
    test: dict,
    probabilities,
    names: list[str],
) -> dict[str, bytes]:
    """The pictures of one run, by file name."""
    from pipeline.analysis import (
        plots,  # matplotlib takes its time, which --help should not wait for
    )

    run, labels = report["run"], test["label"]
    about = {
        "Run": run,
        "Dataset": f"{report['dataset']} (SHA-256 {report['dataset_sha256']})",
        "Settings": json.dumps(report["trained"].get("settings", {})),
    }
    worst = metrics.confident_errors(probabilities, labels, constants.MOST_ERRORS)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    return {
        f"plot_model_{run}.pkl.png": plots.history_plot(
            history, report["trained"].get("best_epoch"), run, about
        ),
        f"visualize_errors_{run}.pkl.png": plots.errors_plot(
            test["img"][worst],
            labels[worst],
            predicted[worst],
            confidence[worst],
            names,
            run,
            about,
            report["errors"],
            len(labels),
        ),
        f"confusion_matrix_{run}.pkl.png": plots.confusion_plot(
            metrics.confusion_matrix(probabilities, labels), names, run, about
        ),
    }
