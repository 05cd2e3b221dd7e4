import json
import pickle
import shutil
import signal

import numpy as np
import pandas
import pytest

import data_ingestion
import model_analysis
from helper import sha256_of, write_json
from pipeline.analysis import cross_evaluation, evaluation
from pipeline.analysis.cross_evaluation import CrossEvaluation
from pipeline.analysis.evaluation import Evaluator
from pipeline.analysis.leaderboard import Leaderboard
from pipeline.analysis.models_by_datasets import ModelsByDatasets
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.catalog import Catalog
from pipeline.artifacts.metadata import read_json
from pipeline.stage.process import Stage
from testkit.checkpoints import put_checkpoint, put_copy_of_dataset
from testkit.raw_datasets import COLOURS, make_raw_dataset
from testkit.reports import put_report

pytestmark = pytest.mark.slow


def ingest(data, name, **keywords):
    """The name of a new dataset."""
    before = {path.stem for path in (data / "dataset").glob("*.pkl")}
    make_raw_dataset(data / "raw_dataset" / name, **keywords)
    assert data_ingestion.main(["--data", str(data), "--once", "--settle", "0"]) == 0
    [dataset] = {path.stem for path in (data / "dataset").glob("*.pkl")} - before
    return dataset


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    data = tmp_path_factory.mktemp("ingested")
    for seed in range(3):
        ingest(data, f"colours {seed}", names=True, seed=seed)
    return data / "dataset"


@pytest.fixture
def three(data, ingested):
    """The names of three datasets of the same kind, the oldest first."""
    shutil.copytree(ingested, data / "dataset")
    (data / "model_checkpoints").mkdir()
    return sorted(path.stem for path in ingested.glob("*.pkl"))


def put_one_checkpoint_each(data, datasets):
    """With its report, as the analysis alone is tested elsewhere."""
    for seed, dataset in enumerate(datasets):
        path = put_checkpoint(data, f"{dataset}__m__s", dataset, seed=seed)
        classes = [{"class": name} for name in COLOURS]
        put_report(
            data,
            path.stem,
            dataset,
            float(true_accuracy(data, path.stem, dataset)),
            checkpoint_sha256=sha256_of(path),
            dataset_sha256=sha256_of(data / "dataset" / f"{dataset}.pkl"),
            image_shape=[32, 32, 3],
            classes=classes,
        )


def analyze(data, *options):
    return model_analysis.main(["--data", str(data), "--once", "--verbose", *options])


def results(data, name):
    return data / "model_analysis_results" / name


def report(data, run):
    return json.loads(results(data, f"{run}.json").read_text())


def account_of(data, run):
    return results(data, f"on_other_datasets/{run}.json")


def accuracy_on(data, run):
    """What is written down, by the dataset's name."""
    names = {sha256_of(path): path.stem for path in (data / "dataset").glob("*.pkl")}
    found = read_json(account_of(data, run)).get("accuracies", {})
    return {names[sha256]: accuracy for sha256, accuracy in found.items()}


def matrix(data):
    """The table: by trained-on dataset, the accuracies on each."""
    table = pandas.read_csv(results(data, "models_by_datasets.csv"))
    return table.set_index("trained_on").filter(like="on ").rename(columns=lambda name: name[3:])


def count_tests(said):
    """How many tests on other datasets the lines speak of."""
    return sum(": accuracy 0" in line or ": accuracy 1" in line for line in said.splitlines())


def true_accuracy(data, run, dataset):
    with open(data / "model_checkpoints" / f"{run}.pkl", "rb") as file:
        model = pickle.load(file)["model"]
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        test = pickle.load(file)["test"]
    return (model.predict(test["img"], verbose=0).argmax(1) == test["label"]).mean()


def test_each_model_is_tested_on_each_other_dataset_once(data, three, capsys):
    put_one_checkpoint_each(data, three)
    assert analyze(data) == 0
    said = capsys.readouterr().out
    assert count_tests(said) == 6
    assert "3 models tested on 3 datasets: " in said
    assert list(matrix(data).index) == list(matrix(data).columns) == three
    for trained_on in three:
        run = f"{trained_on}__m__s"
        assert set(accuracy_on(data, run)) == set(three) - {trained_on}
        for dataset in three:
            expected = pytest.approx(true_accuracy(data, run, dataset), abs=1e-6)
            assert matrix(data).loc[trained_on, dataset] == expected
    assert analyze(data) == 0
    assert count_tests(capsys.readouterr().out) == 0


def test_what_the_tests_found_is_beside_the_reports_which_stay_as_they_are(data, three):
    put_one_checkpoint_each(data, three[:1])
    run = f"{three[0]}__m__s"
    path = results(data, f"{run}.json")
    before = path.stat().st_ino, path.stat().st_mtime_ns
    analyze(data)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    digests = [sha256_of(data / "dataset" / f"{dataset}.pkl") for dataset in three]
    written = json.loads(account_of(data, run).read_text())
    assert written == {
        "run": run,
        "checkpoint_sha256": report(data, run)["checkpoint_sha256"],
        "accuracies": {digest: pytest.approx(true_accuracy(data, run, dataset))
                       for digest, dataset in zip(digests[1:], three[1:], strict=True)},
    }  # fmt: skip


def test_a_model_is_loaded_once_for_all_datasets(data, three, monkeypatch):
    put_one_checkpoint_each(data, three)
    worker, loaded = evaluation._Worker, []
    monkeypatch.setattr(
        evaluation,
        "_Worker",
        lambda path, *more: (loaded.append(path.stem), worker(path, *more))[1],
    )
    analyze(data)
    assert loaded == [f"{dataset}__m__s" for dataset in reversed(three)]


def test_what_was_just_analyzed_is_tested_too(data, three):
    put_checkpoint(data, f"{three[0]}__m__s", three[0])
    assert analyze(data) == 0
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == set(three[1:])


def test_a_new_dataset_is_tested_with_the_models_there_are(data, three, capsys):
    put_one_checkpoint_each(data, three)
    analyze(data)
    newest = ingest(data, "newest", names=True, seed=9)
    capsys.readouterr()
    assert analyze(data) == 0
    assert count_tests(capsys.readouterr().out) == 3
    assert matrix(data)[newest].notna().all()


@pytest.mark.parametrize("other", ["names", "count", "size"])
def test_a_model_is_not_tested_on_what_it_does_not_fit(data, three, other, capsys):
    put_one_checkpoint_each(data, three[:1])
    name = ingest(data, "numbers", names=False, seed=5)
    path = data / "dataset" / f"{name}.json"
    description = read_json(path)
    if other == "names":
        path.write_text(json.dumps({**description, "class_names": ["a", "b", "c"]}))
    elif other == "count":
        path.write_text(json.dumps({**description, "class_names": ["blue", "green"]}))
    else:
        path.write_text(json.dumps({**description, "image_size": 16}))
    assert analyze(data) == 0
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == set(three[1:])
    assert name not in matrix(data)
    assert "error" not in capsys.readouterr().out


def test_numbers_are_comparable_only_within_a_raw_dataset_of_one_name(data, three):
    first = ingest(data, "numbers", names=False, seed=5)
    shutil.rmtree(data / "raw_dataset" / "numbers")
    second = ingest(data, "numbers", names=False, seed=6)
    ingest(data, "garments", names=False, seed=7)
    put_copy_of_dataset(data, first, "dropped in")
    put_checkpoint(data, f"{first}__m__s", first)
    put_checkpoint(data, f"{three[0]}__m__s", three[0])
    assert analyze(data) == 0
    assert set(accuracy_on(data, f"{first}__m__s")) == {second}
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == set(three[1:])


def test_classes_in_another_order_are_matched_by_their_names(data, three):
    put_one_checkpoint_each(data, three[:1])
    analyze(data)
    run, path = f"{three[0]}__m__s", data / "dataset" / f"{three[1]}.pkl"
    expected = accuracy_on(data, run)[three[1]]
    with open(path, "rb") as file:
        content = pickle.load(file)
    order = [2, 0, 1]  # the new number of each class
    for split in content.values():
        split["label"] = np.array(order)[split["label"]]
        split["class"] = np.eye(3, dtype=np.float32)[split["label"]]
    description = read_json(path.with_suffix(".json"))
    names = [name for _, name in sorted(zip(order, description["class_names"], strict=True))]
    safe_pickle.publish(
        data / "dataset" / "permuted.pkl", content, {**description, "class_names": names}
    )
    assert analyze(data) == 0
    assert matrix(data).loc[three[0], "permuted"] == pytest.approx(expected, abs=1e-6)


def test_one_content_with_other_class_names_is_two_datasets(data, three):
    put_one_checkpoint_each(data, three[:1])
    path = data / "dataset" / f"{three[0]}.pkl"
    for name in ("translated", "exchanged"):
        shutil.copy(path, data / "dataset" / f"{name}.pkl")
    description = read_json(path.with_suffix(".json"))
    others = {"translated": ["azul", "rojo", "verde"], "exchanged": ["green", "red", "blue"]}
    for name, names in others.items():
        write_json(data / "dataset" / f"{name}.json", {**description, "class_names": names})
    assert analyze(data) == 0
    own = matrix(data).loc[three[0], three[0]]
    assert "translated" not in matrix(data)
    assert matrix(data).loc[three[0], "exchanged"] == pytest.approx(
        exchanged_accuracy(data, f"{three[0]}__m__s", three[0]), abs=1e-6
    )
    assert matrix(data).loc[three[0], "exchanged"] != own


def exchanged_accuracy(data, run, dataset):
    """Of a model whose outputs for blue, green, red are compared with labels of green, red, blue."""
    with open(data / "model_checkpoints" / f"{run}.pkl", "rb") as file:
        model = pickle.load(file)["model"]
    with open(data / "dataset" / f"{dataset}.pkl", "rb") as file:
        test = pickle.load(file)["test"]
    predicted = model.predict(test["img"], verbose=0).argmax(1)
    return (predicted == np.array([1, 2, 0])[test["label"]]).mean()


def test_an_undescribed_dataset_that_does_not_fit_costs_no_model(data, three, monkeypatch):
    put_one_checkpoint_each(data, three[:1])
    with open(data / "dataset" / f"{three[1]}.pkl", "rb") as file:
        content = pickle.load(file)
    for split in content.values():
        split["img"] = np.ascontiguousarray(split["img"][:, :16, :16])
    for dataset in three[1:]:
        for ending in (".pkl", ".json"):
            (data / "dataset" / f"{dataset}{ending}").unlink()
    with open(data / "dataset" / "small.pkl", "wb") as file:
        pickle.dump(content, file)
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: 1 / 0)
    assert analyze(data) == 0
    assert accuracy_on(data, f"{three[0]}__m__s") == {}
    assert not results(data, "models_by_datasets.csv").exists()


def test_what_is_deleted_drops_out_and_what_comes_back_is_not_tested_again(data, three, capsys):
    put_one_checkpoint_each(data, three)
    analyze(data)
    dataset = data / "dataset" / f"{three[0]}.pkl"
    checkpoint = data / "model_checkpoints" / f"{three[1]}__m__s.pkl"
    for path in (dataset, checkpoint):
        path.rename(data / path.name)
    assert analyze(data) == 0
    assert list(matrix(data).columns) == three[1:]
    assert list(matrix(data).index) == [three[0], three[2]]
    assert pandas.read_csv(results(data, "leaderboard.csv")).shape[0] == 3
    for path in (dataset, checkpoint):
        (data / path.name).rename(path)
    capsys.readouterr()
    assert analyze(data) == 0
    assert count_tests(capsys.readouterr().out) == 0
    assert list(matrix(data).columns) == list(matrix(data).index) == three


def test_without_another_dataset_there_is_no_picture_any_more(data, three):
    put_one_checkpoint_each(data, three[:1])
    analyze(data)
    assert results(data, "models_by_datasets.png").exists()
    results(data, "models_by_datasets.png").unlink()
    for dataset in three[1:]:
        (data / "dataset" / f"{dataset}.pkl").unlink()
    assert analyze(data) == 0
    assert list(results(data, "").glob("models_by*")) == []


def test_killed_in_between_it_goes_on_and_ends_as_if_undisturbed(data, three, start, capsys):
    put_one_checkpoint_each(data, three)
    analyze(data)
    undisturbed = [read_json(account_of(data, f"{dataset}__m__s")) for dataset in three]
    shutil.rmtree(results(data, "on_other_datasets"))
    stage = start("model_analysis.py", "--data", data, "--verbose")
    for _ in range(3):
        stage.wait_for(": accuracy ")
    stage.end(signal.SIGKILL)
    capsys.readouterr()
    assert analyze(data) == 0
    assert (
        count_tests(capsys.readouterr().out) <= 4
    )  # of 6: none was lost but the third, at the most
    assert [read_json(account_of(data, f"{dataset}__m__s")) for dataset in three] == undisturbed


def test_a_new_checkpoint_goes_first(data, three, monkeypatch, capsys):
    put_one_checkpoint_each(data, three[:2])
    do = CrossEvaluation.do

    def do_while_another_comes(self, test):
        do(self, test)
        if not (data / "model_checkpoints" / f"{three[2]}__m__s.pkl").exists():
            put_checkpoint(data, f"{three[2]}__m__s", three[2], seed=2)

    monkeypatch.setattr(CrossEvaluation, "do", do_while_another_comes)
    analyze(data)
    lines = capsys.readouterr().out.splitlines()
    steps = ["new" if "__m__s: analyzed" in one else "test" for one in lines
             if "__m__s: analyzed" in one or count_tests(one)]  # fmt: skip
    assert steps == ["test", "new", *["test"] * 5]


def test_a_damaged_dataset_is_said_once_and_stops_no_other_test(data, three, capsys):
    put_one_checkpoint_each(data, three[:1])
    put_checkpoint(data, f"{three[0]}__another__s", three[0], seed=3)
    path = data / "dataset" / f"{three[1]}.pkl"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    assert analyze(data) == 1
    said = capsys.readouterr().out
    assert said.count("is damaged: its SHA-256") == 1
    assert f"__s: not tested on {three[1]}: " in said
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == {three[2]}
    path.write_bytes(content)
    assert analyze(data) == 0
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == set(three[1:])


def test_a_damaged_checkpoint_is_said_once_and_stops_no_other_test(data, three, capsys):
    put_one_checkpoint_each(data, three[:2])
    path = data / "model_checkpoints" / f"{three[1]}__m__s.pkl"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert analyze(data) == 1
    assert capsys.readouterr().out.count("is damaged: its SHA-256") == 1
    assert accuracy_on(data, f"{three[1]}__m__s") == {}
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == set(three[1:])


def test_a_dataset_that_is_not_as_described_is_not_tested_on(data, three, monkeypatch):
    put_one_checkpoint_each(data, three[:1])
    run = f"{three[0]}__m__s"
    for dataset in three:
        path = data / "dataset" / f"{dataset}.json"
        path.write_text(json.dumps({**read_json(path), "image_size": 16}))
    write_json(results(data, f"{run}.json"), {**report(data, run), "image_shape": [16, 16, 3]})
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: 1 / 0)
    assert analyze(data) == 0
    assert accuracy_on(data, run) == {}


class Turn:
    """The stage's parts without its loop, to look in between."""

    def __init__(self, data):
        self.catalog = Catalog(data)
        stage = Stage(once=True)
        self.leaderboard = Leaderboard(self.catalog, stage)
        self.evaluator = Evaluator(stage.status)
        self.tests = CrossEvaluation(self.catalog, self.leaderboard, self.evaluator, stage)
        self.matrix = ModelsByDatasets(self.tests)

    def next_test(self):
        self.catalog.look()
        self.leaderboard.update()
        return self.tests.next_test()


def test_a_failed_test_is_tried_again_when_its_file_changed_and_not_before(data, three):
    put_one_checkpoint_each(data, three[:1])
    path = data / "dataset" / f"{three[2]}.pkl"
    (data / "dataset" / f"{three[1]}.pkl").unlink()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    analyze(data)
    turn = Turn(data)
    turn.tests.do(turn.next_test())
    assert turn.next_test() is None
    path.write_bytes(content)
    turn.tests.do(turn.next_test())
    assert set(accuracy_on(data, f"{three[0]}__m__s")) == {three[2]}


@pytest.mark.parametrize("gone", ["dataset", "model_checkpoints", "model_analysis_results"])
def test_what_goes_just_before_its_test_is_no_error(data, three, gone, caplog):
    put_one_checkpoint_each(data, three[:1])
    (data / "dataset" / f"{three[1]}.pkl").rename(data / "aside.pkl")
    analyze(data)
    (data / "aside.pkl").rename(data / "dataset" / f"{three[1]}.pkl")
    turn = Turn(data)
    test = turn.next_test()
    path = {
        "dataset": test.dataset.path,
        "model_checkpoints": test.checkpoint,
        "model_analysis_results": results(data, f"{test.report.run}.json"),
    }[gone]
    path.unlink()
    turn.tests.do(test)
    assert turn.next_test() is None
    assert turn.tests.all_well
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("replaced", ["dataset", "checkpoint"])
def test_what_is_replaced_just_before_its_test_gets_no_figures_of_the_other(data, three, replaced):
    put_one_checkpoint_each(data, three[:1])
    run = f"{three[0]}__m__s"
    (data / "dataset" / f"{three[1]}.pkl").rename(data / "aside.pkl")
    analyze(data)
    (data / "aside.pkl").rename(data / "dataset" / f"{three[1]}.pkl")
    turn = Turn(data)
    test = turn.next_test()
    assert test.dataset.name == three[1]
    if replaced == "dataset":
        for ending in (".pkl", ".json"):
            (data / "dataset" / f"{three[0]}{ending}").rename(
                data / "dataset" / f"{three[1]}{ending}"
            )
    else:
        put_checkpoint(data, run, three[0], seed=77)
    turn.tests.do(test)
    assert (
        sha256_of(turn.catalog.datasets[three[2]].path)
        in read_json(account_of(data, run))["accuracies"]
    )
    assert test.dataset.sha256 not in read_json(account_of(data, run))["accuracies"]


def test_a_fault_in_one_test_is_said_and_stops_no_other(data, three, capsys, monkeypatch):
    put_one_checkpoint_each(data, three[:2])
    evaluate = Evaluator.evaluate

    def evaluate_with_a_fault(self, checkpoint, *arguments):
        return 1 / 0 if three[0] in checkpoint.stem else evaluate(self, checkpoint, *arguments)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate_with_a_fault)
    assert analyze(data) == 1
    said = capsys.readouterr().out
    assert said.count(f"{three[0]}__m__s: not tested on {three[2]}: ZeroDivisionError: ") == 1
    assert "Traceback" in said
    assert set(accuracy_on(data, f"{three[1]}__m__s")) == {three[0], three[2]}


def test_a_stop_during_a_test_is_no_failed_test(data, three, monkeypatch, capsys):
    def evaluate_while_asked_to_stop(*_):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise TypeError("incompatible arguments")  # as pybind11 makes of it

    put_one_checkpoint_each(data, three[:1])
    monkeypatch.setattr(Evaluator, "evaluate", evaluate_while_asked_to_stop)
    assert analyze(data) == 130
    assert "not tested" not in capsys.readouterr().out


def test_a_copy_of_a_dataset_is_no_other_dataset(data, three):
    put_one_checkpoint_each(data, three)
    content = (data / "dataset" / f"{three[0]}.pkl").read_bytes()
    (data / "dataset" / "a copy.pkl").write_bytes(content)
    (data / "dataset" / "_left out.pkl").write_bytes(
        (data / "dataset" / f"{three[1]}.pkl").read_bytes()
    )
    put_copy_of_dataset(data, three[1], "_left out, too")
    analyze(data)
    assert list(matrix(data).columns) == three


# What takes part, without any model.


def put_dataset(data, name, names=("a", "b"), raw_name="colours"):
    """A dataset as far as it is looked at from outside."""
    path = data / "dataset" / f"{name}.pkl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(name)
    write_json(
        path.with_suffix(".json"),
        {
            "sha256": f"of {name}",
            "class_names": list(names),
            "image_size": 32,
            "raw_dataset": f"data/raw_dataset/{raw_name}",
        },
    )


def put_run(data, run, dataset, accuracy, **more):
    classes = [{"class": name} for name in more.pop("names", ("a", "b"))]
    put_report(data, run, dataset, accuracy, classes=classes, image_shape=[32, 32, 3], **more)
    path = data / "model_checkpoints" / f"{run}.pkl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(run)
    write_json(path.with_suffix(".json"), {"sha256": f"of {run}"})


def put_account(data, run, accuracies, checkpoint_sha256=None):
    account_of(data, run).parent.mkdir(parents=True, exist_ok=True)
    checkpoint_sha256 = checkpoint_sha256 or f"of {run}"
    write_json(
        account_of(data, run), {"checkpoint_sha256": checkpoint_sha256, "accuracies": accuracies}
    )


def year(number):
    return f"20{number:02d}-01-01 00:00:00.000000"


def all_tests(data):
    turn, found = Turn(data), []
    while test := turn.next_test():
        found.append((test.report.run, test.dataset.name))
        done = turn.catalog.accuracies(test.report)
        put_account(data, test.report.run, {**done, test.dataset.sha256: 0.25})
    turn.matrix.update()
    return found


def test_tests_come_newest_dataset_best_model_newest_other_dataset_first(data):
    for number in range(3):
        put_dataset(data, year(number))
        for model in range(2):
            put_run(data, f"{year(number)}__{model}__s", year(number), 0.5 + model / 10)
    order = [(int(run[2:4]), int(run[28]), int(dataset[2:4])) for run, dataset in all_tests(data)]
    assert order == [
        (2, 1, 1), (2, 1, 0), (2, 0, 1), (2, 0, 0),
        (1, 1, 2), (1, 1, 0), (1, 0, 2), (1, 0, 0),
        (0, 1, 2), (0, 1, 1), (0, 0, 2), (0, 0, 1),
    ]  # fmt: skip


def test_of_very_many_the_newest_datasets_and_the_best_models_take_part(data, monkeypatch):
    monkeypatch.setattr(cross_evaluation, "MOST_DATASETS", 3)
    monkeypatch.setattr(cross_evaluation, "MOST_RUNS", 2)
    for number in range(5):
        put_dataset(data, year(number))
        for model in range(4):
            put_run(data, f"{year(number)}__{model}__s", year(number), 0.5 + model / 10)
    done = all_tests(data)
    assert len(done) == 3 * 2 * 2
    assert (
        {run[2:4] for run, _ in done} == {dataset[2:4] for _, dataset in done} == {"02", "03", "04"}
    )
    assert {run[28] for run, _ in done} == {"2", "3"}
    assert list(matrix(data).columns) == [year(2), year(3), year(4)]
    assert Turn(data).tests.participants.limits() == (
        "only the 3 newest datasets and the 2 best runs on each take part"
    )


@pytest.mark.parametrize(
    "accuracy", [None, True, "0.5", 1.5, -1, [], {}], ids=lambda value: str(value)
)
def test_an_entry_without_an_accuracy_is_tested_again(data, accuracy):
    for number in range(2):
        put_dataset(data, year(number))
    put_run(data, f"{year(0)}__a__s", year(0), 0.5)
    put_account(data, f"{year(0)}__a__s", {f"of {year(1)}": accuracy})
    assert all_tests(data) == [(f"{year(0)}__a__s", year(1))]


def test_a_report_on_a_checkpoint_of_before_takes_no_part(data):
    for number in range(2):
        put_dataset(data, year(number))
    put_run(data, f"{year(0)}__a__s", year(0), 0.5)
    put_run(data, f"{year(0)}__b__s", year(0), 0.5, checkpoint_sha256="of another")
    assert [run for run, _ in all_tests(data)] == [f"{year(0)}__a__s"]


@pytest.mark.parametrize("content", ["", "[]", '{"accuracies": 3}', '{"accuracies": {"x": NaN}}'])
def test_a_damaged_account_of_tests_is_made_again(data, content):
    for number in range(2):
        put_dataset(data, year(number))
    put_run(data, f"{year(0)}__a__s", year(0), 0.5)
    put_account(data, f"{year(0)}__a__s", {})
    account_of(data, f"{year(0)}__a__s").write_text(content)
    assert all_tests(data) == [(f"{year(0)}__a__s", year(1))]


def test_what_was_found_of_another_checkpoint_of_that_name_does_not_count(data):
    for number in range(2):
        put_dataset(data, year(number))
    put_run(data, f"{year(0)}__a__s", year(0), 0.5)
    put_account(data, f"{year(0)}__a__s", {f"of {year(1)}": 0.5}, "of another")
    assert all_tests(data) == [(f"{year(0)}__a__s", year(1))]


def test_what_a_killed_process_left_half_written_is_removed(data):
    put_account(data, "a", {})
    left = results(data, "on_other_datasets/.b.json.partial")
    left.write_text("half")
    Turn(data)
    assert not left.exists()


def test_models_of_two_kinds_share_the_picture(data):
    for number, names in enumerate([("a", "b"), ("x", "y"), ("a", "b"), ("x", "y"), ("0", "1")]):
        put_dataset(data, year(number), names)
        put_run(data, f"{year(number)}__m__s", year(number), 0.5, names=names)
    assert len(all_tests(data)) == 2 + 2
    assert list(matrix(data).columns) == [year(number) for number in (0, 2, 1, 3, 4)]
    blank = matrix(data).isna().to_numpy()
    assert blank.tolist() == [
        [False, False, True, True, True],
        [False, False, True, True, True],
        [True, True, False, False, True],
        [True, True, False, False, True],
        [True, True, True, True, False],
    ]


def test_what_an_earlier_version_found_of_what_is_not_comparable_is_not_shown(data):
    """It took equal numbers of classes for the same classes."""
    for number, raw_name in enumerate(["mnist", "fashion", "mnist"]):
        put_dataset(data, year(number), ("0", "1"), raw_name)
        put_run(data, f"{year(number)}__m__s", year(number), 0.5, names=("0", "1"))
    put_account(data, f"{year(0)}__m__s", {f"of {year(1)}": 0.123, f"of {year(2)}": 0.25})
    turn = Turn(data)
    turn.leaderboard.update()
    turn.matrix.update()
    found = matrix(data).loc[year(0)]
    assert found[[year(0), year(2)]].tolist() == [0.5, 0.25]
    assert np.isnan(found[year(1)])


def test_models_and_images_are_kept_only_as_long_as_there_is_something_to_test(data, three):
    put_one_checkpoint_each(data, three[:1])
    analyze(data)
    shutil.rmtree(results(data, "on_other_datasets"))
    turn = Turn(data)
    kept = []
    while test := turn.next_test():
        turn.tests.do(test)
        loaded = turn.evaluator.holds(test.report.checkpoint_sha256)
        kept.append((loaded, len(turn.tests._splits)))
    assert kept == [(True, 1), (True, 2)]
    assert (turn.evaluator._worker, turn.tests._splits) == (None, {})


def test_of_large_datasets_the_images_of_one_are_kept(data, three, monkeypatch):
    monkeypatch.setattr(cross_evaluation, "MOST_BYTES", 0)
    put_one_checkpoint_each(data, three)
    kept, do = [], CrossEvaluation.do
    monkeypatch.setattr(
        CrossEvaluation, "do", lambda self, test: (do(self, test), kept.append(len(self._splits)))
    )
    assert analyze(data) == 0
    assert kept == [1] * 6
