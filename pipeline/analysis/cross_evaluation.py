"""Test each model on the datasets that it was not trained on, where image size and classes are the same.

What the tests of a model found is in on_other_datasets/<run>.json; what is not there is still to be
tested. So dying in between costs one test, and what is deleted drops out.
"""

import logging
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from helper import UserError, printable, remove_partials, write_json
from pipeline.analysis.evaluation import Evaluator
from pipeline.analysis.leaderboard import Leaderboard, Standing
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.catalog import (
    Catalog,
    Checkpoint,
    Dataset,
    Report,
    columns_for,
    cross_test_key,
    is_own,
)
from pipeline.artifacts.dataset import load_split
from pipeline.data_folder import state_of
from pipeline.stage.process import Stage

log = logging.getLogger(__name__)

# No more takes part, so that the work stays bounded however many runs there are.
MOST_DATASETS = 10  # the newest
MOST_RUNS = 100  # the best on each dataset
MOST_BYTES = 2**29  # of test images that are kept for the next test


@dataclass
class CrossTest:
    """One model to be tested on one dataset."""

    report: Report
    checkpoint: Path
    dataset: Dataset

    def states(self) -> dict[tuple[Path, ...], list]:
        """Of what a failure can be blamed on (a dataset, a model, or both together), its state."""
        both = self.checkpoint, self.dataset.path
        states = {path: state_of(path)[0] for path in both}
        return {blamed: [states[path] for path in blamed] for blamed in (both[:1], both[1:], both)}


class Participants:
    """The datasets and the runs that take part, of those that the catalog and the leaderboard have."""

    def __init__(self, catalog: Catalog, leaderboard: Leaderboard):
        self.catalog, self.leaderboard = catalog, leaderboard

    def datasets(self) -> list[Dataset]:
        """The oldest first. The same content under two names is one, unless its classes are other ones.

        A copy without a description is the same dataset as the original with its class names.
        """
        visible = [one for one in self.catalog.datasets.values() if one.name[0] not in "_."]
        described = {one.sha256 for one in visible if one.description.class_names}
        distinct = {
            (one.sha256, one.description.class_names): one
            for one in visible
            if one.description.class_names or one.sha256 not in described
        }
        by_age = sorted(
            distinct.values(), key=lambda one: (self.catalog.time_of(one.name), one.name)
        )
        return by_age[-MOST_DATASETS:]

    def standings(self) -> list[Standing]:
        """The runs in the leaderboard's order: those whose checkpoint is there."""
        checkpoints = {one.run: one for one in self.catalog.checkpoints}
        found = []
        for standing in self.leaderboard.standings:
            there = (one for one in standing.reports if _is_on(one, checkpoints.get(one.run)))
            if reports := list(islice(there, MOST_RUNS)):
                found.append(Standing(standing.dataset, reports))
        return found[:MOST_DATASETS]

    def limits(self) -> str:
        """What takes part, where not all does."""
        most = max((len(one.reports) for one in self.leaderboard.standings), default=0)
        if len(self.catalog.datasets) <= MOST_DATASETS and most <= MOST_RUNS:
            return ""
        return f"only the {MOST_DATASETS} newest datasets and the {MOST_RUNS} best runs on each take part"


class CrossEvaluation:
    """Which test is due, and doing it."""

    def __init__(
        self, catalog: Catalog, leaderboard: Leaderboard, evaluator: Evaluator, stage: Stage
    ):
        self.catalog, self.evaluator, self.stage = catalog, evaluator, stage
        self.participants = Participants(catalog, leaderboard)
        remove_partials(self.catalog.data.results_on_other_datasets)
        self.all_well = True
        self._failed: dict[tuple[Path, ...], list] = {}  # files that are no good, in that state
        self._not_as_described: list[Dataset] = []
        self._splits: dict[str, dict[str, np.ndarray]] = {}

    def next_test(self) -> CrossTest | None:
        """The next test. Those of one model follow each other, as loading it takes longest."""
        newest_first = self.participants.datasets()[::-1]
        for report in chain.from_iterable(
            standing.reports for standing in self.participants.standings()
        ):
            for dataset in newest_first:
                test = CrossTest(report, self.catalog.data.checkpoint(report.run), dataset)
                if self._is_to_do(test):
                    return test
        self.evaluator.forget()
        self._splits.clear()
        return None

    def do(self, test: CrossTest) -> None:
        """Do one test and write down what it found."""
        states, accuracy = test.states(), None
        try:
            if not self._is_as_described(test.dataset):
                return
            accuracy = self._accuracy(test)
        except FileNotFoundError:
            pass  # it went, and so it drops out
        except UserError as error:
            self._fail(test, str(error))
        except Exception as error:
            self.stage.raise_if_stopping()
            log.exception("%s: failed on %s", test.report.run, test.dataset.name)
            self._fail(test, f"{type(error).__name__}: {printable(error)[:300]}")
        if accuracy is None:
            blamed = self._blamed(test)
            self._failed[blamed] = states[blamed]
        else:
            self.stage.retry(lambda: self._enter(test, accuracy))

    def _is_to_do(self, test: CrossTest) -> bool:
        report, dataset = test.report, test.dataset
        return (
            dataset.kind is not None
            and not is_own(report, dataset)
            and dataset.kind.fits(self.catalog.kind_of(report))
            and cross_test_key(report, dataset) not in self.catalog.accuracies(report)
            and dataset not in self._not_as_described
            and not (self._failed and self._has_failed(test))
        )

    def _has_failed(self, test: CrossTest) -> bool:
        return any(self._failed.get(blamed) == state for blamed, state in test.states().items())

    def _blamed(self, test: CrossTest) -> tuple[Path, ...]:
        """What not to try again until it changes: what could not be loaded, or else the pair."""
        if test.dataset.sha256 not in self._splits:
            return (test.dataset.path,)
        if not self.evaluator.holds(test.report.checkpoint_sha256):
            return (test.checkpoint,)
        return test.checkpoint, test.dataset.path

    def _is_as_described(self, dataset: Dataset) -> bool:
        split, kind = self._split_of(dataset), dataset.kind
        found = split["img"].shape[1:], split["class"].shape[1]
        if kind is not None and found == (kind.image_shape, len(kind.class_names)):
            return True
        self._not_as_described.append(dataset)
        return False

    def _accuracy(self, test: CrossTest) -> float:
        split, sha256 = self._split_of(test.dataset), test.report.checkpoint_sha256
        evaluation = self.evaluator.evaluate(
            test.checkpoint, sha256, split, lambda _: self.stage.status.heartbeat()
        )
        columns = columns_for(test.report, test.dataset)
        predicted = evaluation.probabilities[:, columns].argmax(1)
        accuracy = float((predicted == split["label"]).mean())
        log.debug("%s: accuracy %.3f on %s", test.report.run, accuracy, test.dataset.name)
        return accuracy

    def _split_of(self, dataset: Dataset) -> dict[str, np.ndarray]:
        if dataset.sha256 not in self._splits:
            if sum(split["img"].nbytes for split in self._splits.values()) > MOST_BYTES:
                self._splits.clear()
            split = load_split(dataset.path, "test")
            _check_unchanged(dataset.path, dataset.sha256)
            self._splits[dataset.sha256] = split
        return self._splits[dataset.sha256]

    def _enter(self, test: CrossTest, accuracy: float) -> None:
        report = test.report
        self.catalog.data.results_on_other_datasets.mkdir(exist_ok=True)
        content = {
            "run": report.run,
            "checkpoint_sha256": report.checkpoint_sha256,
            "accuracies": {
                **self.catalog.accuracies(report),
                cross_test_key(report, test.dataset): accuracy,
            },
        }
        write_json(self.catalog.data.report_on_other_datasets(report.run), content)

    def _fail(self, test: CrossTest, reason: str) -> None:
        self.stage.raise_if_stopping()
        self.all_well = False
        log.error("%s: not tested on %s: %s", test.report.run, test.dataset.name, reason)


def _is_on(report: Report, checkpoint: Checkpoint | None) -> bool:
    """Whether the report is on this checkpoint, and not on one that was there before."""
    try:
        return checkpoint is not None and checkpoint.sha256 == report.checkpoint_sha256
    except OSError:
        return False


def _check_unchanged(path: Path, sha256: str) -> None:
    """A dataset that changes between the listing and the test must not count under its old digest."""
    if safe_pickle.digest(path) != sha256:
        raise FileNotFoundError(f"{path} was replaced")
