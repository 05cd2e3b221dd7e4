"""Which checkpoints are analyzed, and analyzing the next one."""

import errno
import logging
import os
import time
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
from pipeline.analysis.run_results import Results, Task, results_of
from pipeline.artifacts.catalog import Catalog, Checkpoint
from pipeline.artifacts.dataset import load_split
from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import AnalysisEntry, Report, RunState
from pipeline.data_folder import DataFolder, run_folder
from pipeline.stage.log_lines import warn_once
from pipeline.stage.process import Stage
from pipeline.stage.progress import counted
from pipeline.stage.retry import is_in_the_way
from pipeline.stage.status import Status
from pipeline.stage.text import count

log = logging.getLogger(__name__)

FIGURES = ("accuracy", "test_images", "no_better_than_guessing")  # of a report, in the record


class Problems:
    """Why checkpoints are not analyzed, by run: in the stage's status until it is mended."""

    def __init__(self, status: Status):
        self.status = status
        self._texts: dict[str, str] = {}

    def set(self, run: str, text: str) -> bool:
        """Returns whether this is news."""
        if self._texts.get(run) == text:
            return False
        self._texts[run] = text
        self.status.set_problems(self._texts)
        return True

    def forget(self, run: str) -> None:
        if self._texts.pop(run, None) is not None:
            self.status.set_problems(self._texts)

    def keep(self, checkpoints: list[Checkpoint]) -> None:
        """Forget those of all others."""
        if self._texts:
            for run in self._texts.keys() - {checkpoint.run for checkpoint in checkpoints}:
                self.forget(run)


class Analysis:
    """Which checkpoints are analyzed, and doing the next one."""

    def __init__(self, catalog: Catalog, evaluator: Evaluator, stage: Stage):
        self.catalog, self.evaluator, self.stage = catalog, evaluator, stage
        self.data = catalog.data
        self.record = Ledger(self.data.analysis_record, self._analyzed_on_disk, AnalysisEntry.of)
        self.all_well = True
        self.problems = Problems(stage.status)
        self._not_before: dict[Path, float] = {}  # what could not be read, until when it is left

    def next_task(self) -> Task | None:
        """The most urgent checkpoint that is neither analyzed nor failed."""
        self.problems.keep(self.catalog.checkpoints)
        for checkpoint in self.catalog.checkpoints:
            path = checkpoint.path
            if time.monotonic() < self._not_before.get(path, 0.0):
                continue
            try:
                digest = checkpoint.sha256
                if self._is_done(checkpoint.run, digest):
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
        log.debug("%s: started", task.title)
        self.stage.status.update(f"analyzing {task.title}")
        try:
            results = self._examine(task)
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
            self.stage.raise_if_stopping()
            # A fault of ours or of Keras: say all, and go on with the others.
            log.exception("%s: failed", task.title)
            return self._fail(task, f"{type(error).__name__}: {printable(error)[:300]}")
        self.stage.retry(lambda: self._write(results))
        figures = (results.report[name] for name in FIGURES)
        self._enter(task.sha256, **_entry_of(task.run, *figures))
        self.problems.forget(task.run)
        log.info(
            "%s: analyzed in %.1f s, %s, %s in %s",
            task.title,
            time.monotonic() - began,
            metrics.in_words(results.report),
            count(len(results.report["pictures"]), "picture"),
            shown(self.data.results),
        )
        return None

    def _fail(self, task: Task, reason: str) -> None:
        self.stage.raise_if_stopping()
        log.error("%s: failed: %s", task.title, reason)
        self.all_well = False
        self.problems.set(task.run, reason)
        self._enter(task.sha256, run=task.run, state="failed", reason=reason)

    def _examine(self, task: Task) -> Results:
        self.evaluator.prepare(task.path, task.sha256)
        import pipeline.event_files  # noqa: F401 - meanwhile: it takes as long as a picture

        test = load_split(task.dataset.path, "test")  # meanwhile
        total, status = len(test["img"]), self.stage.status
        with counted(total, "analysis  | testing", "images", status, task.run) as progress:
            evaluation = self.evaluator.evaluate(task.path, task.sha256, test, progress)
        return results_of(task, test, evaluation)

    def _write(self, results: Results) -> None:
        for name, content in results.files.items():
            with whole_file(self.data.results / name) as file:
                file.write(content)
        _tell_tensorboard(self.data, results.report)
        write_json(self.data.report(results.report["run"]), results.report)

    def _enter(self, digest: str, **entry: object) -> None:
        self.stage.retry(lambda: self.record.record(digest, **entry))

    def _is_done(self, run: str, digest: str) -> bool:
        entry, report = self.record.entries.get(digest), self.catalog.reports.get(run)
        if entry and entry.state is RunState.FAILED:
            self.all_well = False
            self.problems.set(run, entry.reason)
            return True
        if report is None or report.checkpoint_sha256 != digest:
            # A copy under another name is the same content, and its result is there already.
            if entry is None or entry.state is not RunState.ANALYZED or entry.run is None:
                return False
            return self.data.report(entry.run).exists()
        if entry is None:  # finished just before an earlier process died
            self._enter(digest, **_entry_of_report(report))
        return True

    def _analyzed_on_disk(self) -> dict[str, dict]:
        """The entry of each checkpoint that has a report, by its SHA-256."""
        return {
            report.checkpoint_sha256: _entry_of_report(report)
            for report in self.catalog.reports.values()
        }

    def _say_once(self, path: Path, text: str) -> None:
        self.all_well = False
        if self.problems.set(path.stem, text):
            log.error("%s: %s", printable(path.stem), text)


def _tell_tensorboard(data: DataFolder, report: dict) -> None:
    from pipeline.event_files import write_test

    logs = run_folder(data.checkpoint(report["run"])) / "logs"
    figures = {name: report[name] for name in ("loss", "accuracy")}
    try:
        write_test(logs, figures, report["trained"].get("best_epoch"))
    except OSError as error:
        # The logs may be another's, and are not what an analysis is there for.
        if not is_in_the_way(error) and error.errno not in (errno.EACCES, errno.EROFS):
            raise
        warn_once(f"{shown(logs)} does not get the test accuracy: {error.strerror}.")


def _check_length(path: Path) -> None:
    length, most = len(os.fsencode(path.stem)), constants.MOST_IN_NAME
    if length > most:
        raise UserError(
            f"its name has {length} bytes, expected {most} at the most, as files are named after it."
            " Give it and the .json beside it a shorter one."
        )


def _entry_of(run: str, accuracy: float, images: int | None, guessing: bool) -> dict:
    figures = dict(zip(FIGURES, (accuracy, images, guessing), strict=True))
    return {"run": run, "state": "analyzed", **figures}


def _entry_of_report(report: Report) -> dict:
    return _entry_of(
        report.run, report.accuracy, report.test_images, report.no_better_than_guessing
    )
