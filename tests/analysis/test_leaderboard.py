import csv
import json
import os
import signal
from io import StringIO

import pandas
import pytest

from helper import UserError
from pipeline import run_warnings
from pipeline.analysis import leaderboard, table_plots
from pipeline.artifacts import descriptions
from pipeline.artifacts.catalog import Catalog
from pipeline.artifacts.hyperparameters import SETTINGS
from pipeline.stage.process import Stage, listen_for_stop
from testkit.pictures import HOSTILE, margin_is_white, opened
from testkit.reports import put_report

NEW, OLD = "2024-05-06 07:08:09.000000", "2001-01-01 00:00:00.000000"
FORMULAS = [
    "=cmd|' C'!A0",
    "+1",
    "-1",
    "@x",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\uff1d1",
    '=1,"=1"\n=1',
]


def update(data, board=None, stage=None):
    """As the stage does it; without a board, as a new process does it."""
    if board is None:
        board = leaderboard.Leaderboard(Catalog(data), stage or Stage(once=True))
    board.catalog.look()
    board.update()
    return board


def results(data, name="leaderboard.csv"):
    return data / "model_analysis_results" / name


def table(data):
    return pandas.read_csv(results(data), keep_default_na=False)


def places(data):
    return [(row.dataset, row.place, row.run) for row in table(data).itertuples()]


def picture(data):
    return results(data, "leaderboard.png").read_bytes()


def state(data):
    """What tells a rewritten file from an untouched one."""
    files = [results(data), results(data, "leaderboard.png")]
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]


def standings(data):
    return leaderboard.standings(Catalog(data))


def test_the_newest_dataset_comes_first_and_in_it_the_best_run(data):
    put_report(data, f"{OLD}__a__x", OLD, 0.99)
    put_report(data, f"{NEW}__a__x", NEW, 0.5)
    put_report(data, f"{NEW}__b__x", NEW, 0.7)
    update(data)
    assert places(data) == [
        (NEW, 1, f"{NEW}__b__x"),
        (NEW, 2, f"{NEW}__a__x"),
        (OLD, 1, f"{OLD}__a__x"),
    ]


def test_of_equal_accuracy_the_smaller_loss_and_then_the_smaller_model_is_better(data):
    put_report(data, "d__a__x", "d", 0.5, loss=None)
    put_report(data, "d__b__x", "d", 0.5, loss=0.3, trained={"parameters": 9})
    put_report(data, "d__c__x", "d", 0.5, loss=0.3, trained={"parameters": 8})
    put_report(data, "d__d__x", "d", 0.5, loss=0.2, trained={"parameters": None})
    update(data)
    assert [run[3] for _, _, run in places(data)] == ["d", "c", "b", "a"]


def test_the_table_has_each_figure_in_a_column(data):
    settings = {"epochs": 9, "learning_rate": 0.001, "unknown": 1, "optimizer": [], "priority": 3}
    put_report(data, "d__a__x", "d", 2 / 3, trained={"epochs": 7, "settings": settings})
    put_report(data, "d__b__x", "d", 0.5)
    update(data)
    first = dict(zip(*list(csv.reader(StringIO(results(data).read_text())))[:2], strict=True))
    assert first == {
        "dataset": "d",
        "dataset_name": "",
        "place": "1",
        "run": "d__a__x",
        "model": "a",
        "hyperparameter_set": "x",
        "accuracy": "0.666667",
        "accuracy_low": "0.540569",
        "accuracy_high": "0.772707",
        "test_images": "60",
        "as_good_as_the_first": "",
        "p_value": "",
        "images_to_tell_apart": "",
        "validation_accuracy": "",
        "chosen_by_validation": "False",
        "balanced_accuracy": "",
        "macro_f1": "",
        "largest_class_accuracy": "",
        "no_better_than_guessing": "False",
        **dict.fromkeys(("seeds", "seeds_mean", "seeds_deviation", "seeds_low", "seeds_high"), ""),
        "loss": "0.333333",
        "parameters": "1000",
        "training_seconds": "1.5",
        "epochs": "7",
        "warnings": "",
        "dataset_warnings": "",
        "settings.epochs": "9",
    }


def test_a_setting_has_a_column_when_it_differs(data):
    put_report(data, "d__a__x", "d", 0.5)
    put_report(data, "stranger", "d", 0.4, trained={"settings": {}})
    update(data)
    assert not any(column.startswith("settings.") for column in table(data))
    put_report(data, "d__c__x", "d", 0.3, trained={"settings": {"learning_rate": 0.1}})
    update(data)
    assert list(table(data)["settings.learning_rate"]) == ["0.001", "", "0.1"]


def test_what_changes_on_disk_changes_the_board(data):
    board = update(data)
    assert not results(data).exists()
    first = put_report(data, "d__a__x", "d", 0.5)
    second = put_report(data, "d__b__x", "d", 0.6)
    update(data, board)
    assert [run for _, _, run in places(data)] == ["d__b__x", "d__a__x"]
    before = picture(data)
    put_report(data, "d__a__x", "d", 0.7)
    update(data, board)
    assert [run for _, _, run in places(data)] == ["d__a__x", "d__b__x"]
    assert picture(data) != before
    first.unlink()
    update(data, board)
    assert [run for _, _, run in places(data)] == ["d__b__x"]
    second.unlink()
    update(data, board)
    assert list(results(data, "").iterdir()) == []


def test_as_long_as_nothing_changes_nothing_is_written(data):
    put_report(data, "d__a__x", "d", 0.5)
    board = update(data)
    before = state(data)
    update(data, board)
    update(data)
    path = put_report(data, "d__a__x", "d", 0.5, dataset_warnings={"of no interest": "here"})
    update(data, board)
    assert state(data) == before
    assert json.loads(path.read_text())["dataset_warnings"]


@pytest.mark.parametrize("name", ["leaderboard.csv", "leaderboard.png"])
def test_a_deleted_file_of_the_board_comes_back(data, name):
    put_report(data, "d__a__x", "d", 0.5)
    board = update(data)
    for bring_back in (lambda: update(data, board), lambda: update(data)):
        before = results(data, name).read_bytes()
        results(data, name).unlink()
        bring_back()
        assert results(data, name).read_bytes() == before


def test_dying_between_picture_and_table_leaves_no_picture_of_yesterday(data):
    put_report(data, "d__a__x", "d", 0.5)
    update(data)
    old = picture(data), results(data).read_bytes()
    put_report(data, "d__b__x", "d", 0.6)
    blocked = results(data, ".leaderboard.csv.partial")
    blocked.mkdir()  # so that it dies just before the table
    with pytest.raises(
        UserError, match=r"\.leaderboard\.csv: a folder has its name\. Move it away\."
    ):
        update(data)
    assert picture(data) != old[0]
    assert results(data).read_bytes() == old[1]
    blocked.rmdir()
    results(data, "leaderboard.png").write_bytes(old[0])
    update(data)
    assert picture(data) != old[0]
    assert len(places(data)) == 2


@pytest.mark.parametrize("accuracy", [None, True, "0.5", float("nan"), 1.5, -0.1, [0.5]])
def test_a_report_without_an_accuracy_is_left_out(data, accuracy):
    put_report(data, "d__a__x", "d", 0.5)
    path = put_report(data, "d__b__x", "d", 0.5)
    report = {**json.loads(path.read_text()), "accuracy": accuracy}
    path.write_text(json.dumps(report))
    update(data)
    assert [run for _, _, run in places(data)] == ["d__a__x"]


def test_what_is_no_report_is_left_out(data):
    path = put_report(data, "d__a__x", "d", 0.5)
    results(data, "a copy.json").write_bytes(path.read_bytes())
    results(data, "damaged.json").write_bytes(path.read_bytes()[:-20])
    results(data, "of another program.json").write_text('{"accuracy": 0.9, "run": 7}')
    results(data, "list.json").write_text("[1]")
    put_report(data, "no digest", "d", 0.9, checkpoint_sha256=None)
    put_report(data, "no dataset", None, 0.9)
    put_report(data, "other content", "d", 0.9, dataset_sha256=3)
    update(data)
    assert [run for _, _, run in places(data)] == ["d__a__x"]


def test_strange_figures_are_left_out_and_the_run_stays(data):
    trained = {"parameters": "many", "seconds": 10**400, "epochs": True, "settings": [], "model": 3}
    put_report(data, "d__a__x", "d", 0.5, loss=1e299, trained=trained, test_images="all")
    put_report(data, "d__b__x", "d", 0.5, loss=[], trained={"settings": {"epochs": 1e299}})
    update(data)
    assert len(places(data)) == 2
    assert margin_is_white(picture(data))


@pytest.mark.parametrize("name", [*FORMULAS, *(name for name in HOSTILE if len(name) < 200)])
def test_no_name_is_a_formula_or_breaks_a_line(data, name):
    in_a_file_name = name.replace("/", "").replace("\ud800", os.fsdecode(b"\xff"))
    put_report(data, f"{in_a_file_name}__{in_a_file_name}__{in_a_file_name}", name, 0.5)
    update(data)
    text = results(data).read_text()
    lines = list(csv.reader(StringIO(text)))
    assert len(text.splitlines()) == len(lines) == 2
    assert all(character.isprintable() for line in lines for cell in line for character in cell)
    for cell in lines[1]:
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\t", "\r"))
    assert margin_is_white(picture(data))


def test_a_name_like_a_formula_is_kept_after_an_apostrophe(data):
    put_report(data, "=1+1", "-1", 0.5)
    update(data)
    assert places(data) == [("'-1", 1, "'=1+1")]


def test_a_renamed_dataset_stays_one_and_a_replaced_one_becomes_two(data):
    put_report(data, f"{OLD}__a__x", OLD, 0.5, dataset_sha256="same")
    put_report(data, f"{OLD}__b__x", NEW, 0.6, dataset_sha256="same")
    put_report(data, "mine__a__x", "mine", 0.7, dataset_sha256="before")
    put_report(data, "mine__b__x", "mine", 0.8, dataset_sha256="after")
    found = [(one.dataset, [report.run for report in one.reports]) for one in standings(data)]
    assert found[0] == (NEW, [f"{OLD}__b__x", f"{OLD}__a__x"])
    assert sorted(found[1:]) == [("mine", ["mine__a__x"]), ("mine", ["mine__b__x"])]


def test_a_dataset_that_was_named_by_hand_has_its_place_by_the_age_of_its_file(data):
    put_report(data, "mine__a__x", "mine", 0.5)
    put_report(data, f"{NEW}__a__x", NEW, 0.5)
    board = update(data)
    assert [dataset for dataset, _, _ in places(data)] == [NEW, "mine"]
    path = data / "dataset" / "mine.pkl"
    path.parent.mkdir()
    path.write_text("made today")
    update(data, board)
    assert [dataset for dataset, _, _ in places(data)] == ["mine", NEW]


def test_runs_of_edited_models_are_told_apart_and_strangers_called_by_name(data):
    for run in ("d__a__x", "d__a__x__0123abcd", "dropped in"):
        put_report(data, run, "d", 0.5)
    names = {leaderboard.names(report) for report in standings(data)[0].reports}
    assert names == {("a", "x"), ("a", "x (0123abcd)"), ("dropped in", "")}


def put_many(data, datasets, runs, name="model"):
    for number in range(datasets):
        dataset = f"20{number:02d}-01-01 00:00:00.000000"
        for run in range(runs):
            settings = {"epochs": 5 + run % 2, "learning_rate": 0.1 * run, "batch_size": run}
            trained = {"epochs": 5, "settings": settings}
            accuracy = (run + 0.5) / runs
            put_report(data, f"{dataset}__{name}{run}__set", dataset, accuracy, trained=trained)


@pytest.mark.slow
@pytest.mark.parametrize(("datasets", "runs"), [(1, 1), (3, 9), (1, 80), (30, 2), (7, 40)])
def test_however_many_runs_there_are_the_picture_has_a_reasonable_size(data, datasets, runs):
    put_many(data, datasets, runs)
    update(data)
    assert len(table(data)) == datasets * runs
    assert margin_is_white(picture(data))
    assert max(opened(picture(data)).size) < 2500
    assert len(picture(data)) < 1_000_000


@pytest.mark.parametrize("name", ["W" * 60, "i" * 60, "猫" * 60, "my_model_" * 7])
def test_long_names_stay_in_their_columns(data, name):
    put_many(data, 2, 3, name)
    update(data)
    assert margin_is_white(picture(data))
    assert max(opened(picture(data)).size) < 2500


def test_the_picture_says_what_more_is_in_the_table(data):
    put_many(data, 8, 40)
    content = standings(data)
    shown = leaderboard.best(content)
    assert [len(part.reports) for part in shown] == [5] * 6
    assert leaderboard.subtitle(content, shown) == (
        "320 runs on 8 datasets, the newest dataset first;"
        " 80 runs on older datasets in leaderboard.csv"
    )
    assert (
        leaderboard.note(shown[0].reports, 35) == "60 test images; 35 more runs in leaderboard.csv"
    )


def test_a_picture_of_all_says_only_how_many(data):
    put_report(data, "d__a__x", "d", 0.5, test_images=1)
    content = standings(data)
    assert leaderboard.subtitle(content, content) == "1 run on 1 dataset"
    assert leaderboard.note(content[0].reports, 0) == "1 test image"


def test_the_picture_says_when_a_training_stopped_early(data):
    put_report(data, "d__a__x", "d", 0.5, trained={"epochs": 3})
    [standing] = standings(data)
    assert leaderboard.cells(1, standing.reports[0], ["learning_rate"]) == [
        "1", "a", "x", "50.0 %", "37.7-62.3", "", "\N{EN DASH}", "0.500", "1,000", "1.5", "3 of 5", "0.001"
    ]  # fmt: skip


def test_a_fault_in_the_picture_is_said_once_and_stops_nothing(data, monkeypatch, caplog):
    put_report(data, "d__a__x", "d", 0.5)
    monkeypatch.setattr(table_plots, "table_plot", lambda *_: 1 / 0)
    board = update(data)
    update(data, board)
    assert [record.message for record in caplog.records] == ["leaderboard.csv: failed"]
    monkeypatch.undo()
    put_report(data, "d__b__x", "d", 0.6)
    update(data, board)
    assert len(places(data)) == 2


def test_a_stop_while_it_is_drawn_is_a_stop(data, monkeypatch, stage):
    def draw_while_asked_to_stop(*_):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise TypeError("incompatible arguments")  # as pybind11 makes of it

    put_report(data, "d__a__x", "d", 0.5)
    monkeypatch.setattr(table_plots, "table_plot", draw_while_asked_to_stop)
    listen_for_stop(stage.stop_asked)
    with pytest.raises(KeyboardInterrupt):
        update(data, stage=stage)


def test_a_look_at_unchanged_reports_reads_none_of_them(data, monkeypatch):
    for number in range(3):
        put_report(data, f"d__a__{number}", "d", 0.5)
    reads, read = [], descriptions.said_in
    monkeypatch.setattr(descriptions, "said_in", lambda path: reads.append(path) or read(path))
    board = update(data)
    assert len(reads) == 3
    update(data, board)
    assert len(reads) == 3


def test_a_report_that_changed_is_read_even_if_its_date_was_set_back(data):
    path = put_report(data, "d__a__b", "d", 0.25)
    board, status = update(data), path.stat()
    path.write_text(path.read_text().replace("0.25", "0.75"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    update(data, board)
    assert list(table(data)["accuracy"]) == [0.75]


def test_when_many_settings_differ_the_picture_shows_the_first_of_them(data):
    for number in range(2):
        settings = dict.fromkeys(SETTINGS, number)
        put_report(data, f"d__a__{number}", "d", 0.5, trained={"settings": settings})
    update(data)
    assert sum(column.startswith("settings.") for column in table(data)) == len(SETTINGS) - 1
    assert opened(picture(data)).width < 2300


def put_tested(data, run, right, validation=None, **more):
    """A report on a run that was right on these test images, of 280."""
    bits = [int(number in right) for number in range(280)]
    text = bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, 280, 8)).hex()
    figures = {"test_images": 280, "errors": 280 - len(right), "right": text}
    figures["validation_accuracy"] = validation
    return put_report(data, run, "d", len(right) / 280, **figures, **more)


def test_runs_as_good_as_the_first_within_chance_are_marked(data):
    put_tested(data, "d__a__x", range(270), 0.95)
    put_tested(data, "d__b__x", range(7, 274), 0.97)
    put_tested(data, "d__c__x", range(180), 0.7)
    put_report(data, "d__old__x", "d", 0.5, test_images=280)
    update(data)
    rows = table(data)
    assert list(rows["as_good_as_the_first"]) == ["", "True", "False", ""]
    assert float(rows["p_value"][1]) == pytest.approx(0.548828)
    assert 2000 < float(rows["images_to_tell_apart"][1]) < 3000
    assert list(rows["chosen_by_validation"].astype(str)) == ["False"] * 4  # "old" does not say


def test_the_choice_by_validation_and_what_the_best_of_many_is_worth_are_said(data):
    put_tested(data, "d__a__x", range(270), 0.95)
    put_tested(data, "d__b__x", range(7, 274), 0.97)
    update(data)
    assert list(table(data)["chosen_by_validation"]) == [False, True]
    [standing] = standings(data)
    assert leaderboard.remarks(standing.reports) == [
        "The best of 2 runs on one test part looks better than it is;"
        " chosen by validation: b x, test accuracy 95.4 %.",
        "The other run is as good as the first within chance (McNemar's exact test, Holm's"
        " correction); beside each, how many test images would tell the two apart.",
    ]
    assert margin_is_white(picture(data))


def test_unequal_classes_are_said_with_what_guessing_gives(data):
    more = {"class_ratio": 19.0, "largest_class": {"class": "cat", "accuracy": 0.95}}
    more |= {"balanced_accuracy": 0.5, "macro_f1": 0.487, "no_better_than_guessing": True}
    put_tested(data, "d__a__x", range(266), **more)
    update(data)
    [standing] = standings(data)
    assert leaderboard.remarks(standing.reports) == [
        "Classes are not equally large: always guessing the largest gives 95.0 %."
    ]
    shown = leaderboard.cells(1, standing.reports[0], [], unequal=True)
    assert shown[5:9] == ["no better than guessing", "\N{EN DASH}", "50.0 %", "48.7 %"]
    assert list(table(data)["no_better_than_guessing"]) == [True]
    assert margin_is_white(picture(data))


def put_seeded(data, run, accuracy, seed, sha="of a", **settings):
    trained = {"model_sha256": sha, "settings": {"epochs": 5, "seed": seed, **settings}}
    put_report(data, run, "d", accuracy, trained=trained)


def test_runs_that_differ_in_their_seed_alone_have_mean_and_spread(data):
    put_seeded(data, "d__a__x__seed0", 0.5, 0)
    put_seeded(data, "d__a__x__seed1", 0.75, 1, learning_rate=0.002, priority=4)  # the defaults
    put_seeded(data, "d__a__x", 1.0, 2)
    put_seeded(data, "d__a__y", 0.25, 3, epochs=6)
    put_seeded(data, "d__a__x__01234567", 0.2, 3, sha="of an edited model")
    put_report(data, "stranger", "d", 0.1, trained={"model": "a", "settings": {}})
    update(data)
    columns = ["seeds", "seeds_mean", "seeds_deviation", "seeds_low", "seeds_high"]
    assert table(data)[columns].astype(str).to_numpy().tolist() == [
        *[["3.0", "0.75", "0.25", "0.5", "1.0"]] * 3,
        *[[""] * 5] * 3,
    ]
    [standing] = standings(data)
    cells = [leaderboard.spread_cell(one) for one in leaderboard.spreads(standing.reports)]
    assert cells == [*["75.0 \N{PLUS-MINUS SIGN} 25.0 (50.0-100.0 of 3)"] * 3, *["\N{EN DASH}"] * 3]
    assert leaderboard.remarks(standing.reports)[-1].startswith("Over seeds: the mean")
    assert margin_is_white(picture(data))


def test_one_seed_counts_once_and_without_several_nothing_is_said_of_seeds(data):
    put_seeded(data, "d__a__x", 0.5, 0)
    put_seeded(data, "d__a__y", 0.75, 0)
    put_seeded(data, "d__b__x", 0.75, 1, sha="of b")
    [standing] = standings(data)
    assert leaderboard.spreads(standing.reports) == [None] * 3
    assert not any("seeds" in remark for remark in leaderboard.remarks(standing.reports))
    assert len(leaderboard.cells(1, standing.reports[0], [])) + 1 == len(
        leaderboard.cells(1, standing.reports[0], [], over_seeds=[None])
    )


def test_warnings_of_a_run_are_a_mark_a_footnote_and_a_cell(data):
    early = "ended early in epoch 5: the loss became NaN"
    warned = {"ended_early": {"text": early}, "no_validation": {"text": "No validation: ..."}}
    put_tested(data, "d__a__x", range(266), trained={"warnings": warned})
    put_tested(data, "d__b__x", range(200))
    update(data)
    [standing] = standings(data)
    assert [leaderboard.cells(1, one, [])[2] for one in standing.reports] == ["x †‡", "x"]
    assert leaderboard.remarks(standing.reports)[:2] == [
        "† ended early: the best epoch until then counts.",
        "‡ no validation: the best epoch is chosen by what it was fitted on.",
    ]
    assert list(table(data)["warnings"]) == [f"{early}; {run_warnings.NO_VALIDATION}", ""]
    assert margin_is_white(picture(data))


def test_warnings_of_a_dataset_are_said_below_its_name(data):
    warned = {kind: {"count": 3} for kind in run_warnings.COUNTED}
    put_tested(data, "d__a__x", range(266), dataset_warnings=warned)
    update(data)
    [standing] = standings(data)
    [remark] = leaderboard.remarks(standing.reports)
    assert remark.startswith("The dataset: 3 test images are in train, too; 3 test images look")
    assert table(data)["dataset_warnings"][0].startswith("3 test images are in train, too;")
    assert margin_is_white(picture(data))
    assert opened(picture(data)).width < 1600  # a long remark takes another line, no wider picture
