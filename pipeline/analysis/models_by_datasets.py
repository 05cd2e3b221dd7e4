"""models_by_datasets.csv and .png: how good each model is on each dataset that it fits.

They answer whether a model got worse or the data got harder.
"""

import logging
from dataclasses import dataclass

from helper import shown
from pipeline.analysis.cross_evaluation import CrossEvaluation
from pipeline.analysis.leaderboard import MOST_DATASETS, MOST_LINES, Standing, names
from pipeline.analysis.summary_files import SummaryFiles
from pipeline.artifacts.catalog import Dataset, Report
from pipeline.stage.text import count

log = logging.getLogger(__name__)

NAME = "models_by_datasets"
TABLE = f"{NAME}.csv"


@dataclass
class Group:
    """The runs on one dataset, the best first, each with its accuracy on all datasets.

    `own` is the place of their dataset among these; None if it is not there any more.
    """

    dataset: str
    own: int | None
    reports: list[Report]
    accuracies: list[list[float | None]]


@dataclass
class Matrix:
    """`datasets` and `groups`: the oldest first. `limits`: what takes part, where not all does."""

    datasets: list[str]
    groups: list[Group]
    limits: str

    def sizes(self) -> tuple[str, str]:
        models = sum(len(group.reports) for group in self.groups)
        return count(models, "model"), count(len(self.datasets), "dataset")


class ModelsByDatasets:
    def __init__(self, cross_evaluation: CrossEvaluation):
        self.cross_evaluation = cross_evaluation
        self.files = SummaryFiles(
            cross_evaluation.catalog.data.results, NAME, cross_evaluation.stage
        )

    def update(self) -> None:
        """Bring the files in step with what has been tested."""
        matrix = self._matrix()
        changed = self.files.sync(matrix, lambda: lines(matrix), lambda: draw(matrix))
        if changed and matrix:
            log.info("%s tested on %s: %s", *matrix.sizes(), shown(self.files.picture))

    def _matrix(self) -> Matrix | None:
        """What there is to show; None where no model was tested on another dataset."""
        standings, datasets = (
            self.cross_evaluation.participants.standings(),
            self.cross_evaluation.participants.datasets(),
        )
        reports = [report for standing in standings for report in standing.reports]
        tested = {sha256 for report in reports for sha256 in self._accuracies(report)}
        if not tested & {dataset.sha256 for dataset in datasets}:
            return None
        tested |= {report.dataset_sha256 for report in reports}
        columns = [dataset for dataset in datasets if dataset.sha256 in tested]
        groups = [self._group(standing, columns) for standing in reversed(standings)]
        return Matrix(
            [dataset.name for dataset in columns],
            [group for group in groups if group.reports],
            self.cross_evaluation.participants.limits(),
        )

    def _group(self, standing: Standing, columns: list[Dataset]) -> Group:
        digests = [dataset.sha256 for dataset in columns]
        own = standing.reports[0].dataset_sha256
        group = Group(standing.dataset, digests.index(own) if own in digests else None, [], [])
        for report in standing.reports:
            found = {**self._accuracies(report), own: report.accuracy}
            if not found.keys().isdisjoint(digests):
                group.reports.append(report)
                group.accuracies.append([found.get(digest) for digest in digests])
        return group

    def _accuracies(self, report: Report) -> dict[str, float]:
        return self.cross_evaluation.catalog.accuracies(report)


def lines(matrix: Matrix) -> list[dict]:
    """The table: a line for each run, with a column for each dataset."""
    return [
        {
            "trained_on": group.dataset,
            "run": report.run,
            "model": report.model,
            "hyperparameter_set": report.hyperparameter_set,
            **{f"on {name}": share for name, share in zip(matrix.datasets, shares, strict=True)},
        }
        for group in matrix.groups
        for report, shares in zip(group.reports, group.accuracies, strict=True)
    ]


def draw(matrix: Matrix) -> bytes:
    from pipeline.analysis import (
        table_plots,  # matplotlib takes its time, which --help should not wait for
    )

    shown_groups = matrix.groups[-MOST_DATASETS:]
    most = MOST_LINES // len(shown_groups)
    sections = [
        table_plots.Section(
            f"trained on {group.dataset}",
            note(len(group.reports) - most),
            [names(report) for report in group.reports[:most]],
            group.accuracies[:most],
            group.own,
        )
        for group in shown_groups
    ]
    columns = [table_plots.Column("model", right=False), table_plots.Column("set", right=False)]
    return table_plots.matrix_plot(
        "Models by datasets",
        subtitles(matrix),
        columns,
        matrix.datasets,
        sections,
        {"Datasets": ", ".join(matrix.datasets)},
    )


def subtitles(matrix: Matrix) -> list[str]:
    found = [
        f"Accuracy of {matrix.sizes()[0]} on the test images of {matrix.sizes()[1]}",
        "framed: the dataset that a model was trained on; \N{EN DASH}: its images or classes do not fit",
    ]
    older = len(matrix.groups) - MOST_DATASETS
    if older > 0:
        found.append(f"the models of {count(older, 'older dataset')} are in {TABLE}")
    return [*found, matrix.limits] if matrix.limits else found


def note(left: int) -> str:
    return f"{count(left, 'more run')} in {TABLE}" if left > 0 else ""
