"""leaderboard.csv and .png: all analyzed runs, dataset by dataset, the best first.

Told from the reports on disk, so a report that comes, changes or goes changes the board.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from pipeline.analysis.summary_files import SummaryFiles
from pipeline.artifacts.catalog import Catalog, Report
from pipeline.artifacts.dataset import display_names
from pipeline.artifacts.hyperparameters import SETTINGS
from pipeline.run_warnings import FOOTNOTES, marks
from pipeline.stage.process import Stage
from pipeline.stage.text import count, figure, percent
from pipeline.statistics.class_metrics import GUESSING, UNEQUAL
from pipeline.statistics.comparison import Comparison, compare_with_first
from pipeline.statistics.intervals import accuracy_interval
from pipeline.statistics.spread import Spread, spread_of

# The picture has room for this much; the table has all.
MOST_DATASETS = 6
MOST_LINES = 30
MOST_SETTINGS = 4


@dataclass
class Standing:
    """The runs on one dataset, the best first."""

    dataset: str
    reports: list[Report]
    raw_name: str = ""


class Leaderboard:
    def __init__(self, catalog: Catalog, stage: Stage):
        self.catalog = catalog
        self.files = SummaryFiles(catalog.data.results, "leaderboard", stage)
        self.standings: list[Standing] = []
        self._ranked: tuple = None, None

    def update(self) -> None:
        """Bring the files in step with the reports on disk."""
        reports, datasets = self.catalog.reports, self.catalog.datasets
        if reports is not self._ranked[0] or datasets != self._ranked[1]:
            self._ranked = reports, datasets
            self.standings = standings(self.catalog)
        content = self.standings
        self.files.sync(content, lambda: lines(content), lambda: draw(content))


def standings(catalog: Catalog) -> list[Standing]:
    """One for each dataset, the newest first.

    What makes a dataset is its content and what its classes are called, not its own name.
    """
    groups = defaultdict(list)
    for report in catalog.reports.values():
        groups[report.dataset_sha256, report.kind.class_names].append(report)
    found = {}
    for identity, reports in groups.items():
        names = {report.dataset for report in reports}
        time, name = max((catalog.time_of(name), name) for name in names)
        raw_name = next(
            (one for report in reports if (one := catalog.kind_of(report).raw_name)), ""
        )
        found[time, name, identity] = Standing(name, sorted(reports, key=_rank), raw_name)
    return [found[key] for key in sorted(found, reverse=True)]


def _rank(report: Report) -> tuple:
    """The fewer mistakes, the smaller the loss, the smaller the model, the better."""
    unknown = float("inf")
    loss = unknown if report.loss is None else report.loss
    return -report.accuracy, loss, report.parameters or unknown, report.run


def comparisons(reports: list[Report]) -> list[Comparison | None]:
    """Of each run with the first, on the same test images; None where that is not known."""
    return compare_with_first([report.outcomes for report in reports], reports[0].test_images or 0)


def chosen(reports: list[Report]) -> Report | None:
    """The run to take by validation; None where not all runs say what they reached there."""
    if any(report.validation_accuracy is None for report in reports):
        return None
    return max(reports, key=lambda report: report.validation_accuracy or 0)


def spreads(reports: list[Report]) -> list[Spread | None]:
    """For each run that of the accuracy over the seeds of its model and settings; None where it is alone."""
    by_seed: defaultdict[tuple, dict] = defaultdict(dict)
    for report in sorted(reports, key=lambda report: report.run):
        by_seed[_apart_from_seed(report)].setdefault(report.settings.get("seed"), report.accuracy)
    found = {
        experiment: spread_of([*accuracies.values()])
        for experiment, accuracies in by_seed.items()
        if None not in accuracies  # without a seed, runs are not known to be the same experiment
    }
    return [found.get(_apart_from_seed(report)) for report in reports]


def _apart_from_seed(report: Report) -> tuple:
    """What runs have alike that differ in their seed alone. A default may be spelled out or not."""
    said = {
        (name, value)
        for name, value in report.settings.items()
        if name != "seed" and value != SETTINGS[name].default
    }
    return report.model, report.model_sha256, frozenset(said)


def lines(content: list[Standing]) -> list[dict]:
    """The table: a line for each run, with a column for each setting that differs."""
    settings = differing(content)
    return [
        {
            "dataset": standing.dataset,
            "dataset_name": standing.raw_name,
            "place": rank,
            "run": report.run,
            "model": report.model,
            "hyperparameter_set": report.hyperparameter_set,
            "accuracy": report.accuracy,
            **certainty(report, comparison, report is choice),
            **over_seeds(spread),
            "loss": report.loss,
            "parameters": report.parameters,
            "training_seconds": report.seconds,
            "epochs": report.epochs,
            "warnings": "; ".join(report.warnings),
            "dataset_warnings": "; ".join(report.dataset_warnings),
            **{f"settings.{name}": report.settings.get(name) for name in settings},
        }
        for standing in content
        for choice in [chosen(standing.reports)]
        for rank, (report, comparison, spread) in enumerate(
            zip(
                standing.reports,
                comparisons(standing.reports),
                spreads(standing.reports),
                strict=True,
            ),
            1,
        )
    ]


def over_seeds(spread: Spread | None) -> dict:
    """The columns of the accuracy over the seeds of one model and set."""
    return {
        "seeds": spread and spread.count,
        "seeds_mean": spread and spread.mean,
        "seeds_deviation": spread and spread.deviation,
        "seeds_low": spread and spread.low,
        "seeds_high": spread and spread.high,
    }


def certainty(report: Report, comparison: Comparison | None, is_chosen: bool) -> dict:
    """The columns that say how sure the accuracy is, and what it is worth."""
    low, high = accuracy_interval(report.accuracy, report.test_images) or (None, None)
    return {
        "accuracy_low": low,
        "accuracy_high": high,
        "test_images": report.test_images,
        "as_good_as_the_first": comparison and comparison.as_good,
        "p_value": comparison and comparison.p_value,
        "images_to_tell_apart": comparison and comparison.images,
        "validation_accuracy": report.validation_accuracy,
        "chosen_by_validation": is_chosen,
        "balanced_accuracy": report.balanced_accuracy,
        "macro_f1": report.macro_f1,
        "largest_class_accuracy": report.guessing_accuracy,
        "no_better_than_guessing": report.no_better_than_guessing,
    }


def differing(content: list[Standing]) -> list[str]:
    """The settings that not all of these runs have alike, as far as they say."""
    values = defaultdict(set)
    for report in chain.from_iterable(standing.reports for standing in content):
        for name, value in report.settings.items():
            values[name].add(value)
    return [name for name in SETTINGS if len(values[name]) > 1]


def best(content: list[Standing]) -> list[Standing]:
    """As much of it as there is room for in a picture."""
    newest = content[:MOST_DATASETS]
    return [
        replace(standing, reports=standing.reports[: MOST_LINES // len(newest)])
        for standing in newest
    ]


def draw(content: list[Standing]) -> bytes:
    from pipeline.analysis import (
        table_plots,  # matplotlib takes its time, which --help should not wait for
    )

    shown = best(content)
    settings = [name for name in differing(shown) if name != "epochs"][:MOST_SETTINGS]
    unequal = any(map(is_unequal, chain.from_iterable(part.reports for part in shown)))
    seeded = any(chain.from_iterable(spreads(part.reports) for part in content[: len(shown)]))
    columns = [
        table_plots.Column(""),
        table_plots.Column("model", right=False),
        table_plots.Column("set", right=False),
        table_plots.Column("accuracy"),
        table_plots.Column("95 % interval", bar=True),
        table_plots.Column("beside the first", right=False),
        *([table_plots.Column("over seeds", right=False)] if seeded else []),
        table_plots.Column("validation"),
        *map(table_plots.Column, ("balanced", "macro F1") if unequal else ()),
        *map(table_plots.Column, ("loss", "parameters", "seconds", "epochs", *settings)),
    ]
    datasets = display_names({part.dataset: part.raw_name for part in shown})
    sections = [
        table_plots.Section(
            datasets[part.dataset],
            note(part.reports, len(whole.reports) - len(part.reports)),
            [
                cells(rank, report, settings, comparison, unequal, [spread] if seeded else [])
                for rank, (report, comparison, spread) in enumerate(
                    zip(
                        part.reports,
                        comparisons(whole.reports),
                        spreads(whole.reports),
                        strict=False,
                    ),
                    1,
                )
            ],
            [
                [report.accuracy, *(accuracy_interval(report.accuracy, report.test_images) or ())]
                for report in part.reports
            ],
            remarks=remarks(whole.reports),
        )
        for part, whole in zip(shown, content, strict=False)
    ]
    about = {"Datasets": ", ".join(part.dataset for part in shown)}
    subtitles = [subtitle(content, shown)]
    return table_plots.table_plot("Leaderboard", subtitles, columns, sections, about)


def subtitle(content: list[Standing], shown: list[Standing]) -> str:
    runs, left = (
        sum(len(part.reports) for part in parts) for parts in (content, content[len(shown) :])
    )
    text = f"{count(runs, 'run')} on {count(len(content), 'dataset')}"
    if len(content) > 1:
        text += ", the newest dataset first"
    if left:
        text += f"; {count(left, 'run')} on older datasets in leaderboard.csv"
    return text


def note(reports: list[Report], left: int) -> str:
    images = reports[0].test_images
    notes = [count(int(images), "test image")] if images else []
    if left:
        notes.append(f"{count(left, 'more run')} in leaderboard.csv")
    return "; ".join(notes)


def remarks(reports: list[Report]) -> list[str]:
    """What the figures of these runs on one dataset do not say by themselves."""
    found = warnings_in_words(reports)
    if len(reports) > 1:
        text = f"The best of {len(reports)} runs on one test part looks better than it is"
        if choice := chosen(reports):
            name = " ".join(filter(None, names(choice)))
            text += f"; chosen by validation: {name}, test accuracy {percent(choice.accuracy)}"
        found.append(f"{text}.")
        known = [comparison for comparison in comparisons(reports) if comparison]
        if alike := sum(comparison.as_good for comparison in known):
            which = f"{alike} of the {len(known)} other runs" if len(known) > 1 else "The other run"
            found.append(
                f"{which} {'is' if alike == 1 else 'are'} as"
                " good as the first within chance (McNemar's exact test, Holm's correction);"
                " beside each, how many test images would tell the two apart."
            )
    if any(spreads(reports)):
        found.append(
            "Over seeds: the mean test accuracy of a model and set \N{PLUS-MINUS SIGN} its standard"
            " deviation, the lowest and the highest, and of how many seeds."
        )
    if is_unequal(reports[0]):
        guess = percent(reports[0].guessing_accuracy or 0)
        found.append(f"Classes are not equally large: always guessing the largest gives {guess}.")
    return found


def warnings_in_words(reports: list[Report]) -> list[str]:
    """What is to be known of the dataset, and what the marks stand for."""
    of_dataset = reports[0].dataset_warnings
    found = [f"The dataset: {'; '.join(of_dataset)}."] if of_dataset else []
    used = {mark for report in reports for mark in marks(report.warnings)}
    return [*found, *(f"{mark} {text}." for mark, text in FOOTNOTES.items() if mark in used)]


def is_unequal(report: Report) -> bool:
    return (report.class_ratio or 0) > UNEQUAL


def beside_the_first(rank: int, report: Report, comparison: Comparison | None) -> str:
    if report.no_better_than_guessing:
        return GUESSING
    if rank == 1 or comparison is None:
        return "" if rank == 1 else "\N{EN DASH}"
    if not comparison.as_good:
        return (
            f"worse (p {'< 0.001' if comparison.p_value < 0.001 else f'{comparison.p_value:.3f}'})"
        )
    return "as good" + (f" ({count(comparison.images, 'image')})" if comparison.images else "")


def interval_cell(report: Report) -> str:
    interval = accuracy_interval(report.accuracy, report.test_images)
    return f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}" if interval else "\N{EN DASH}"


def spread_cell(spread: Spread | None) -> str:
    """In per cent."""
    if spread is None:
        return "\N{EN DASH}"
    mean, deviation, low, high = (
        f"{100 * share:.1f}" for share in (spread.mean, spread.deviation, spread.low, spread.high)
    )
    return f"{mean} \N{PLUS-MINUS SIGN} {deviation} ({low}-{high} of {spread.count})"


def share_cell(share: float | None) -> str:
    return "\N{EN DASH}" if share is None else percent(share)


def cells(
    rank: int,
    report: Report,
    settings: list[str],
    comparison: Comparison | None = None,
    unequal: bool = False,
    over_seeds: Sequence[Spread | None] = (),
) -> list[str]:
    """`over_seeds` has the run's spread where that has a column."""
    epochs, most = report.epochs, report.settings.get("epochs")
    model, chosen_set = names(report)
    return [
        str(rank),
        model,
        f"{chosen_set} {marks(report.warnings)}".strip(),
        percent(report.accuracy),
        interval_cell(report),
        beside_the_first(rank, report, comparison),
        *map(spread_cell, over_seeds),
        share_cell(report.validation_accuracy),
        *map(share_cell, (report.balanced_accuracy, report.macro_f1) if unequal else ()),
        figure(report.loss, ".3f"),
        figure(report.parameters, ",.0f"),
        figure(report.seconds, ",.1f"),
        figure(epochs, ".0f") + (f" of {figure(most, '.0f')}" if epochs != most else ""),
        *(figure(report.settings.get(name), ".6g") for name in settings),
    ]


def names(report: Report) -> tuple[str, str]:
    """The model and the set, as much as it takes to tell runs apart; of a stranger, its name."""
    if not report.model:
        return report.run, ""
    # An edited model or set has a run of its own, whose name ends in its key.
    _, edited, key = report.run.partition(f"__{report.model}__{report.hyperparameter_set}__")
    return report.model, report.hyperparameter_set + (f" ({key})" if edited else "")
