"""models_by_datasets.csv and .png: how good each model is on each dataset that is comparable with its own.

They answer whether a model got worse or the data got harder.
"""

import logging
from dataclasses import dataclass
from itertools import pairwise

from helper import shown
from pipeline.analysis.cross_evaluation import CrossEvaluation
from pipeline.analysis.leaderboard import MOST_DATASETS, MOST_LINES, Standing, names
from pipeline.analysis.summary_files import SummaryFiles
from pipeline.artifacts.catalog import Dataset, Report, is_own
from pipeline.artifacts.dataset import display_names
from pipeline.artifacts.metadata import Kind
from pipeline.stage.text import count

log = logging.getLogger(__name__)

NAME = "models_by_datasets"
TABLE = f"{NAME}.csv"
MOST_CLASSES = 10  # that are named


@dataclass
class Group:
    """The runs on one dataset, the best first, each with its accuracy on all datasets.

    `own` is the number of their dataset among these; None if it is not there any more. `classes` says
    what datasets have in common that are comparable with it.
    """

    dataset: str
    raw_name: str
    classes: str
    own: int | None
    reports: list[Report]
    accuracies: list[list[float | None]]


@dataclass
class Matrix:
    """`datasets`: by their names those of their raw datasets; comparable ones stand beside each other.

    `classes`: what those have in common, for each dataset. `groups`: the oldest first. `limits`: what
    takes part, where not all does.
    """

    datasets: dict[str, str]
    classes: list[str]
    groups: list[Group]
    limits: str

    def sizes(self) -> tuple[str, str]:
        models = sum(len(group.reports) for group in self.groups)
        return count(models, "model"), count(len(self.datasets), "dataset")

    def display_names(self) -> dict[str, str]:
        """Of all datasets, also of those that are not there any more."""
        return display_names({one.dataset: one.raw_name for one in self.groups} | self.datasets)

    def in_order(self, groups: list[Group]) -> list[Group]:
        """These groups, those on comparable datasets after each other."""
        order = list(dict.fromkeys([*self.classes, *(group.classes for group in groups)]))
        return sorted(groups, key=lambda group: order.index(group.classes))


class ModelsByDatasets:
    def __init__(self, cross_evaluation: CrossEvaluation):
        self.cross_evaluation = cross_evaluation
        self.catalog = cross_evaluation.catalog
        self.files = SummaryFiles(self.catalog.data.results, NAME, cross_evaluation.stage)

    def update(self) -> None:
        """Bring the files in step with what has been tested."""
        matrix = self._matrix()
        changed = self.files.sync(matrix, lambda: lines(matrix), lambda: draw(matrix))
        if changed and matrix:
            log.info("%s tested on %s: %s", *matrix.sizes(), shown(self.files.picture))

    def _matrix(self) -> Matrix | None:
        """What there is to show; None where no model was tested on another dataset."""
        participants = self.cross_evaluation.participants
        standings, datasets = participants.standings(), participants.datasets()
        reports = [report for standing in standings for report in standing.reports]
        tests = [
            (dataset.name, is_own(report, dataset))
            for report in reports
            for dataset in datasets
            if self.catalog.accuracy_on(report, dataset) is not None
        ]
        if all(own for _, own in tests):
            return None
        tested = {name for name, _ in tests}
        columns = in_order([dataset for dataset in datasets if dataset.name in tested])
        groups = [self._group(standing, columns) for standing in reversed(standings)]
        return Matrix(
            {dataset.name: dataset.description.raw_name for dataset in columns},
            [classes_of(dataset.kind) for dataset in columns],
            [group for group in groups if group.reports],
            participants.limits(),
        )

    def _group(self, standing: Standing, columns: list[Dataset]) -> Group:
        own = [number for number, one in enumerate(columns) if is_own(standing.reports[0], one)]
        classes = classes_of(self.catalog.kind_of(standing.reports[0]))
        first = own[0] if own else None
        group = Group(standing.dataset, standing.raw_name, classes, first, [], [])
        for report in standing.reports:
            found = [self.catalog.accuracy_on(report, dataset) for dataset in columns]
            if any(accuracy is not None for accuracy in found):
                group.reports.append(report)
                group.accuracies.append(found)
        return group


def in_order(datasets: list[Dataset]) -> list[Dataset]:
    """The same, those that are comparable beside each other."""
    order = list(dict.fromkeys(classes_of(dataset.kind) for dataset in datasets))
    return sorted(datasets, key=lambda dataset: order.index(classes_of(dataset.kind)))


def classes_of(kind: Kind | None) -> str:
    """What datasets have in common that are comparable with one of this kind, in words."""
    if kind is None or not kind.class_names:
        return "unknown classes"
    size = " x ".join(map(str, kind.image_shape[:2]))
    if kind.are_numbered:
        whose = f"raw dataset {kind.raw_name}" if kind.raw_name else "no known raw dataset"
        return f"classes 0 to {len(kind.class_names) - 1} of {whose}, {size} pixels"
    named, more = sorted(kind.class_names)[:MOST_CLASSES], len(kind.class_names) - MOST_CLASSES
    return ", ".join(named) + (f" and {more} more" if more > 0 else "") + f"; {size} pixels"


def lines(matrix: Matrix) -> list[dict]:
    """The table: a line for each run, with a column for each dataset."""
    return [
        {
            "trained_on": group.dataset,
            "dataset_name": group.raw_name,
            "classes": group.classes,
            "run": report.run,
            "model": report.model,
            "hyperparameter_set": report.hyperparameter_set,
            **{f"on {name}": share for name, share in zip(matrix.datasets, shares, strict=True)},
        }
        for group in matrix.in_order(matrix.groups)
        for report, shares in zip(group.reports, group.accuracies, strict=True)
    ]


def draw(matrix: Matrix) -> bytes:
    from pipeline.analysis import (
        table_plots,  # matplotlib takes its time, which --help should not wait for
    )

    groups = matrix.in_order(matrix.groups[-MOST_DATASETS:])
    most, display = MOST_LINES // len(groups), matrix.display_names()
    sections = [
        table_plots.Section(
            f"trained on {display[group.dataset]}",
            note(len(group.reports) - most),
            [names(report) for report in group.reports[:most]],
            group.accuracies[:most],
            group.own,
            "" if before and before.classes == group.classes else group.classes,
        )
        for before, group in zip([None, *groups], groups, strict=False)
    ]
    columns = [table_plots.Column("model", right=False), table_plots.Column("set", right=False)]
    return table_plots.matrix_plot(
        "Models by datasets",
        subtitles(matrix),
        columns,
        [display[dataset] for dataset in matrix.datasets],
        sections,
        {"Datasets": ", ".join(matrix.datasets)},
        [
            number
            for number, (before, classes) in enumerate(pairwise(matrix.classes), 1)
            if before != classes
        ],
    )


def subtitles(matrix: Matrix) -> list[str]:
    found = [
        f"Accuracy of {matrix.sizes()[0]} on the test images of {matrix.sizes()[1]}",
        "framed: the dataset that a model was trained on",
        "\N{EN DASH}: not comparable, as classes or image size differ",
    ]
    older = len(matrix.groups) - MOST_DATASETS
    if older > 0:
        found.append(f"the models of {count(older, 'older dataset')} are in {TABLE}")
    return [*found, matrix.limits] if matrix.limits else found


def note(left: int) -> str:
    return f"{count(left, 'more run')} in {TABLE}" if left > 0 else ""
