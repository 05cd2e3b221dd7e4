import itertools
import os
import random
import shutil
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import constants
from pipeline.artifacts import safe_pickle
from pipeline.stage.process import Stage
from pipeline.training import run_queue
from pipeline.training.run_queue import Run, RunQueue
from pipeline.training.scheduler import Scheduler

MODEL = "def build_model(input_shape, num_classes):\n    return None\n"


class Folders:
    """The three folders a queue looks at, and how to drop something into them."""

    def __init__(self, root: Path):
        self.queue = RunQueue(root / "data", root / "models", root / "hyperparameters")
        self.datasets, self.models, self.sets = self.queue.folders()
        for folder in self.queue.folders():
            folder.mkdir(parents=True)

    def dataset(self, name: str, content: object = None, changed: float | None = None) -> Path:
        path = self.datasets / f"{name}.pkl"
        safe_pickle.publish(path, content or [name], {})
        if changed is not None:
            os.utime(path, (changed, changed))
        return path

    def model(self, name: str, text: str | None = None, priority: object = None) -> Path:
        path = self.models / f"{name}.py"
        line = "" if priority is None else f"PRIORITY = {priority}\n"
        path.write_text(line + (f"# {name}\n{MODEL}" if text is None else text))
        return path

    def set(self, name: str, text: str) -> Path:
        path = self.sets / f"{name}.toml"
        path.write_text(text)
        return path

    def names(self) -> list[str]:
        return [run.plain_name for run in self.queue.look()]

    def keys(self) -> list[str]:
        return [run.key for run in self.queue.look()]


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


@pytest.fixture
def one_run(folders):
    """One dataset, one model, one set."""
    folders.dataset("2022-06-08 20:57:20.868637")
    folders.model("cnn")
    folders.set("default", "epochs = 3\n")
    return folders


def parts(run: Run) -> tuple[str, str, str]:
    return run.dataset.name, run.model.name, run.hyperparameters.name


# Names


def test_the_shipped_pair_keeps_the_name_of_the_dataset_and_any_other_is_spelled_out(one_run):
    one_run.model("pure_cnn")
    one_run.set("fast", "epochs = 1")
    time = "2022-06-08 20:57:20.868637"
    assert one_run.names() == [
        time,
        f"{time}__cnn__fast",
        f"{time}__pure_cnn__default",
        f"{time}__pure_cnn__fast",
    ]
    assert one_run.queue.look()[0].long_name == f"{time}__cnn__default"


@pytest.mark.parametrize("letter", ["m", "猫", "\udcff"])
def test_a_run_whose_name_is_too_long_for_a_file_has_a_shorter_one_of_its_own(folders, letter):
    folders.dataset("d")
    folders.model(letter * (240 // len(os.fsencode(letter))), MODEL)
    folders.set("one " + "s" * 200, "epochs = 2\n")
    folders.set("two " + "s" * 200, "epochs = 3\n")
    found = {name for run in folders.queue.look() for name in run.names}
    assert len(found) == 2
    for name in found:
        assert name.startswith("d__\\udcff" if letter == "\udcff" else f"d__{letter}")
        for ending in (".json", ".pkl.png"):
            path = folders.models / f".confusion_matrix_{name}{ending}.partial"
            path.touch()


def test_names_that_start_with_an_underscore_or_a_dot_and_other_endings_take_no_part(one_run):
    before = one_run.keys()
    for hidden in ("_x", ".x", "__init__", ".cnn.py.partial"):
        one_run.model(hidden)
        one_run.dataset(hidden)
        one_run.set(hidden, "epochs = nonsense")
    for folder in one_run.queue.folders():
        (folder / "README.md").write_text("read me")
        (folder / "cnn.pyc").write_bytes(b"")
        (folder / "__pycache__").mkdir()
    assert one_run.keys() == before
    assert one_run.queue.problems == []


def test_no_dataset_no_model_or_no_set_is_no_run(one_run):
    for folder in one_run.queue.folders():
        shutil.move(folder, folder.with_name("away"))
        assert one_run.queue.look() == []
        assert one_run.queue.problems == []
        shutil.move(folder.with_name("away"), folder)
    assert len(one_run.queue.look()) == 1


def test_the_shipped_folders_hold_the_shipped_pair(tmp_path):
    queue = RunQueue(tmp_path)
    (tmp_path / constants.DATASETS).mkdir()
    safe_pickle.publish(tmp_path / constants.DATASETS / "a.pkl", {}, {})
    assert "a" in [run.plain_name for run in queue.look()]
    assert queue.problems == []


# Order


def test_the_newest_dataset_comes_first_then_the_models_priority_then_the_sets(folders):
    folders.dataset("2022-01-01 00:00:00.000000")
    folders.dataset("2023-01-01 00:00:00.000000")
    folders.model("slow", priority=-1)
    folders.model("soon", priority=5)
    folders.set("late", "epochs = 1\npriority = -3")
    folders.set("early", "epochs = 2\npriority = 3")
    folders.set("also_early", "epochs = 3\npriority = 3")
    sets = ["also_early", "early", "late"]
    assert [parts(run) for run in folders.queue.look()] == [
        (f"{year}-01-01 00:00:00.000000", model, name)
        for year in (2023, 2022)
        for model in ("soon", "slow")
        for name in sets
    ]


def test_a_dataset_with_a_name_given_by_hand_has_the_time_of_its_file(folders):
    folders.model("cnn")
    folders.set("default", "")
    folders.dataset("2022-01-01 00:00:00.000000")
    folders.dataset("2024-01-01 00:00:00.000000")
    folders.dataset("mnist", changed=datetime(2023, 1, 1).timestamp())
    folders.dataset("zebras", changed=datetime(2021, 1, 1).timestamp())
    assert folders.names() == [
        "2024-01-01 00:00:00.000000",
        "mnist",
        "2022-01-01 00:00:00.000000",
        "zebras",
    ]


def comes_before(one: tuple, other: tuple) -> bool:
    """The order rule, said in words: each sentence decides only where the ones before it tie."""
    (day, model, model_priority, name, set_priority) = one
    (other_day, other_model, other_model_priority, other_name, other_set_priority) = other
    if day != other_day:
        return day > other_day
    if model_priority != other_model_priority:
        return model_priority > other_model_priority
    if set_priority != other_set_priority:
        return set_priority > other_set_priority
    return model < other_model if model != other_model else name < other_name


@pytest.mark.parametrize("seed", range(8))
def test_random_products_come_whole_and_in_the_order_of_the_rule(folders, seed):
    draw = random.Random(seed)
    days = draw.sample(range(1, 29), draw.randint(1, 4))
    models = {
        f"{draw.choice('abcxyz')}{i}": draw.choice([None, -2, 0, 1, 7])
        for i in range(draw.randint(1, 4))
    }
    sets = {
        f"{draw.choice('abcxyz')}{i}": draw.choice([-2, 0, 1, 7]) for i in range(draw.randint(1, 4))
    }
    for day in days:
        if draw.random() < 0.5:
            folders.dataset(f"2022-06-{day:02} 20:57:20.868637")
        else:
            folders.dataset(f"by hand {day}", changed=datetime(2022, 6, day).timestamp())
    for name, priority in models.items():
        folders.model(name, priority=priority)
    for number, (name, priority) in enumerate(sets.items()):
        folders.set(name, f"epochs = {number + 1}\npriority = {priority}")
    found = []
    for run in folders.queue.look():
        dataset, model, name = parts(run)
        day = int(dataset.split()[-1] if "hand" in dataset else dataset[8:10])
        found.append((day, model, models[model] or 0, name, sets[name]))
    assert {(day, model, name) for day, model, _, name, _ in found} == set(
        itertools.product(days, models, sets)
    )
    assert len(found) == len(days) * len(models) * len(sets)
    for place, run in enumerate(found):
        assert all(comes_before(run, later) for later in found[place + 1 :])
    assert folders.queue.problems == []


class Stopped:
    """In the place of the training processes: a run ends when and how the test says."""

    def __init__(self):
        self.running, self.told, self.choices = [], [], []

    def start(self, run, job):
        process = SimpleNamespace(run=run, job=job, pausing=False, ended="")
        process.pause = lambda: setattr(process, "pausing", True)
        self.running.append(process)
        self.choices.append(run)

    def end(self, process, event):
        self.running.remove(process)
        self.told.append(
            (process, {"event": event, "seconds": 1, "accuracy": 1, "epoch": 1, "reason": "so"})
        )

    def reports(self):
        self.told, told = [], self.told
        return told


class Life:
    """Three folders in which things change at random, a training stage, and what it should do."""

    def __init__(self, folders, seed, places):
        self.folders, self.draw, self.count = folders, random.Random(seed), 0
        self.models, self.sets, self.days, self.over = {}, {}, {}, set()
        self.processes = Stopped()
        data = folders.datasets.parent
        (data / constants.CHECKPOINTS).mkdir()
        options = SimpleNamespace(data=data, preempt=True, workers=places, retry_failed=False)
        self.training = Scheduler(folders.queue, self.processes, options, Stage())
        self.places = places

    def step(self):
        actions = [self.drop_dataset, self.drop_model, self.drop_set, self.remove, self.end]
        self.draw.choices(actions, [1, 1, 1, 1, 4])[0]()

    def drop_dataset(self):
        # Not always the newest: a dataset can be put back.
        day = self.draw.choice([day for day in range(1, 29) if day not in self.days.values()])
        name = f"2022-06-{day:02} 20:57:20.868637"
        self.folders.dataset(name)
        self.days[name] = day

    def drop_model(self):
        name = self.draw.choice("abcde")
        self.models[name] = self.draw.randint(-2, 2)
        self.folders.model(name, priority=self.models[name])

    def drop_set(self):
        name = self.draw.choice("uvwxy")
        self.sets[name] = self.draw.randint(-2, 2)
        self.folders.set(name, f"epochs = {ord(name)}\npriority = {self.sets[name]}")

    def remove(self):
        kind, folder, ending = self.draw.choice(
            [
                (self.days, self.folders.datasets, "pkl"),
                (self.models, self.folders.models, "py"),
                (self.sets, self.folders.sets, "toml"),
            ]
        )
        if len(kind) > 1:
            name = self.draw.choice(sorted(kind))
            del kind[name]
            (folder / f"{name}.{ending}").unlink()

    def end(self):
        if not self.processes.running:
            return
        process = self.draw.choice(self.processes.running)
        event = "paused" if process.pausing else self.draw.choice(["trained", "failed"])
        if event == "trained":
            path = Path(process.job["checkpoint"])
            safe_pickle.publish(path, {}, {"run": process.job["description"]})
        if event != "paused":
            self.over.add(parts(process.run))
        self.processes.end(process, event)
        self.training.take_reports()

    def waiting(self):
        busy = {parts(process.run) for process in self.processes.running}
        product = set(itertools.product(self.days, self.models, self.sets)) - busy - self.over
        return [
            (self.days[day], model, self.models[model], name, self.sets[name])
            for day, model, name in product
        ]

    def check(self):
        """Let the stage choose; each of its choices has to be what the rule says."""
        waiting, chosen = self.waiting(), len(self.processes.choices)
        free = self.places - len(self.processes.running)
        self.training.start_what_fits()
        choices = self.processes.choices[chosen:]
        assert len(choices) == min(free, len(waiting))
        for run in choices:
            first = next(a for a in waiting if all(a == b or comes_before(a, b) for b in waiting))
            assert (f"2022-06-{first[0]:02} 20:57:20.868637", first[1], first[3]) == parts(run)
            waiting.remove(first)
        running = [process.run.dataset.time.day for process in self.processes.running]
        if waiting and max(waiting)[0] > min(running):
            assert any(process.pausing for process in self.processes.running)
        return len(choices)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "places"), [(0, 1), (1, 1), (2, 1), (3, 3), (4, 3), (5, 2)])
def test_whatever_is_dropped_and_removed_meanwhile_each_choice_is_the_rules(folders, seed, places):
    life = Life(folders, seed, places)
    for action in (life.drop_dataset, life.drop_model, life.drop_set):
        action()
    choices = 0
    for _ in range(150):
        life.step()
        choices += life.check()
    assert choices > 30


# Keys: what makes a new run and what does not


def test_another_given_validation_part_makes_another_run(one_run):
    [before] = one_run.keys()
    for name, part in (
        ("a", {}),
        ("b", {"validation_sha256": "1"}),
        ("c", {"validation_sha256": "2"}),
    ):
        safe_pickle.publish(one_run.datasets / f"{name}.pkl", ["2022-06-08 20:57:20.868637"], part)
    keys = one_run.keys()
    assert len(keys) == 3
    assert before in keys  # that without a part has the key of earlier versions


def test_other_class_names_make_another_run_and_a_copy_without_description_does_not(one_run):
    pictures = {"same": "pictures"}
    for name, classes in (("a", ["cat", "dog"]), ("b", ["Katze", "Hund"])):
        safe_pickle.publish(one_run.datasets / f"{name}.pkl", pictures, {"class_names": classes})
    keys = one_run.keys()
    assert len(keys) == 3
    shutil.copy(one_run.datasets / "a.pkl", one_run.datasets / "copy.pkl")
    assert one_run.keys() == keys


def test_a_dataset_whose_description_cannot_be_read_for_now_is_no_other_dataset(one_run):
    description = next(one_run.datasets.glob("*.json"))
    before, aside = one_run.keys(), description.rename(description.with_suffix(".aside"))
    description.symlink_to(description)
    assert one_run.keys() == []
    [problem] = one_run.queue.problems
    assert problem == (
        f"{description} cannot be read: it is a link to no file, expected a file."
        " Put another file there."
    )
    aside.replace(description)
    assert one_run.keys() == before


def test_equal_content_under_two_names_is_one_run(one_run):
    before = one_run.keys()
    shutil.copy(one_run.datasets / "2022-06-08 20:57:20.868637.pkl", one_run.datasets / "copy.pkl")
    shutil.copy(one_run.models / "cnn.py", one_run.models / "copy.py")
    one_run.set("copy", "# the same, said differently\nepochs = 0x3\n")
    assert one_run.keys() == before


def test_a_renamed_file_is_the_same_run(one_run):
    before = one_run.keys()
    for folder, ending in zip(one_run.queue.folders(), (".pkl", ".py", ".toml"), strict=True):
        for path in folder.glob(f"*{ending}"):
            path.rename(path.with_name(f"renamed{ending}"))
    assert one_run.keys() == before


def test_a_model_that_is_edited_is_a_new_run(one_run):
    before = one_run.keys()
    one_run.model("cnn", text=MODEL + "# edited\n")
    assert one_run.keys() != before


def test_a_setting_that_is_edited_is_a_new_run(one_run):
    keys = set(one_run.keys())
    for text in ("epochs = 4", "epochs = 3\nseed = 1", "epochs = 3\nlearning_rate = 0.1"):
        one_run.set("default", text)
        keys |= set(one_run.keys())
    assert len(keys) == 4


def test_a_set_with_several_seeds_is_a_run_for_each_in_their_order(one_run):
    one_run.model("pure_cnn")
    one_run.set("a", "epochs = 1\nseeds = [10, 2]")
    one_run.set("b", "epochs = 1\nseed = 3\npriority = 1")
    time = "2022-06-08 20:57:20.868637"
    assert one_run.names() == [
        f"{time}__cnn__b",
        f"{time}__pure_cnn__b",
        f"{time}__cnn__a__seed10",
        f"{time}__cnn__a__seed2",
        time,
        f"{time}__pure_cnn__a__seed10",
        f"{time}__pure_cnn__a__seed2",
        f"{time}__pure_cnn__default",
    ]
    runs = one_run.queue.look()
    assert len({run.key for run in runs}) == len(runs)
    assert len({run.apart_from_seed for run in runs}) == 4


def test_a_seed_that_a_list_names_is_no_new_run(one_run):
    [before] = one_run.keys()
    one_run.set("default", "epochs = 3\nseeds = [0, 1]\npriority = 3")
    keys = one_run.keys()
    assert keys[0] == before
    assert len(keys) == 2
    one_run.set("other", "epochs = 3\nseed = 1")  # the same as one of the list
    assert one_run.keys() == keys


def test_a_checkpoint_of_one_seed_counts_where_a_list_names_it(one_run):
    [run] = one_run.queue.look()
    data = one_run.datasets.parent
    description = {"run": {"key": run.key, "epochs": 3}}
    (data / constants.CHECKPOINTS).mkdir()
    safe_pickle.publish(data / constants.CHECKPOINTS / f"{run.plain_name}.pkl", {}, description)
    one_run.set("default", "epochs = 3\nseeds = [1, 0, 2]")
    processes = Stopped()
    options = SimpleNamespace(data=data, preempt=True, workers=9, retry_failed=False)
    Scheduler(one_run.queue, processes, options, Stage()).start_what_fits()
    assert [run.hyperparameters.settings.seed for run in processes.choices] == [1, 2]
    assert [Path(process.job["checkpoint"]).stem for process in processes.running] == [
        f"{run.dataset.name}__cnn__default__seed{seed}" for seed in (1, 2)
    ]


@pytest.mark.parametrize(
    "text",
    ["# faster\nepochs = 3 # three", "epochs = 3\npriority = 9", "seed = 0\nepochs = 3"],
)
def test_a_comment_a_priority_or_a_default_spelled_out_is_no_new_run(one_run, text):
    before = one_run.keys()
    one_run.set("default", text)
    assert one_run.keys() == before


def test_another_dataset_is_a_new_run_and_one_without_description_is_known_by_its_bytes(one_run):
    (before,) = one_run.keys()
    path = one_run.dataset("2022-06-08 20:57:20.868637")
    path.with_suffix(".json").unlink()
    assert one_run.keys() == [before]
    path.write_bytes(path.read_bytes() + b"more")
    assert one_run.keys() != [before]


def test_a_change_within_one_tick_of_the_clock_is_seen(one_run):
    path = one_run.set("default", "epochs = 3\n")
    before, status = one_run.keys(), path.stat()
    one_run.set("default", "epochs = 4\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert one_run.keys() != before


def test_what_did_not_change_is_not_read_again(one_run):
    for folder in one_run.queue.folders():
        for path in folder.iterdir():
            os.utime(path, (1e9, 1e9))
    before = one_run.queue.look()
    assert one_run.queue.look() is before
    one_run.set("default", "epochs = 4\n")
    assert one_run.queue.look() != before


# Problems: named, and in nobody's way


@pytest.mark.parametrize("line", ["PRIORITY = 5\n", "PRIORITY=-3  # later\r\n", "PRIORITY = 0\n"])
def test_a_models_priority_is_no_new_run(one_run, line):
    before = one_run.keys()
    one_run.model("cnn", text=f"{line}# cnn\n{MODEL}")
    assert one_run.keys() == before


@pytest.mark.parametrize(
    "change",
    [
        ("WIDTH = PRIORITY = 5\n", "WIDTH = PRIORITY = 6\n"),
        ("PRIORITY = 5; WIDTH = 1\n", "PRIORITY = 5; WIDTH = 2\n"),
        ("PRIORITY = 5\nWIDTH = PRIORITY\n", "PRIORITY = 6\nWIDTH = PRIORITY\n"),
    ],
)
def test_a_priority_that_does_more_than_order_is_a_new_run(one_run, change):
    keys = []
    for text in change:
        one_run.model("cnn", text=text + MODEL)
        keys += one_run.keys()
    assert keys[0] != keys[1]


NO_PRIORITY = "models/bad.py: its PRIORITY is no whole number. Write PRIORITY = 0 or another."
BAD_MODELS = {
    "def build_model(:\n": "models/bad.py, line 1 is not Python (invalid syntax). Correct it.",
    "\n\nx = (\n": "models/bad.py, line 3 is not Python ('(' was never closed). Correct it.",
    "PRIORITY = 'high'\n": NO_PRIORITY,
    "PRIORITY = 1.5\n": NO_PRIORITY,
    "PRIORITY = True\n": NO_PRIORITY,
    "PRIORITY = max(1, 2)\n": NO_PRIORITY,
    "PRIORITY = 10 ** 9\n": NO_PRIORITY,
    "PRIORITY: int = 'x'\n": NO_PRIORITY,
    "PRIORITY = {[]: 1}\n": NO_PRIORITY,
    "PRIORITY = " + "-" * 2000 + "1\n": NO_PRIORITY,
    "PRIORITY = " + "-" * 100_000 + "1\n": NO_PRIORITY,
}


@pytest.mark.parametrize("text", BAD_MODELS)
def test_a_model_that_cannot_take_part_is_named_and_in_nobodys_way(one_run, tmp_path, text):
    before = one_run.keys()
    one_run.model("bad", text=text)
    assert one_run.keys() == before
    assert one_run.queue.problems == [f"{tmp_path}/{BAD_MODELS[text]}"]


BAD_SETS = {
    "epochs = 0": ("bad.toml: epochs is 0, expected a whole number, 1 or more and at most 100000."),
    "priority = 0.5": (
        "bad.toml: priority is 0.5, expected a whole number, -1000000 or more and at most 1000000."
    ),
    "epoch = 1": 'bad.toml: unknown key "epoch". Did you mean "epochs"?',
    "epochs 1": (
        "bad.toml is no TOML file (Expected '=' after a key in a key/value pair"
        " (at line 1, column 8)). Correct that line."
    ),
}


@pytest.mark.parametrize("text", BAD_SETS)
def test_a_set_that_cannot_take_part_is_named_and_in_nobodys_way(one_run, text):
    before = one_run.keys()
    path = one_run.set("bad", text)
    assert one_run.keys() == before
    assert one_run.queue.problems == [f"{path.parent}/{BAD_SETS[text]}"]


def test_a_folder_with_the_name_of_a_file_is_named_and_in_nobodys_way(one_run):
    before = one_run.keys()
    (one_run.models / "folder.py").mkdir()
    (one_run.sets / "folder.toml").mkdir()
    (one_run.datasets / "folder.pkl").mkdir()
    assert one_run.keys() == before
    assert sorted(one_run.queue.problems) == sorted(
        f"{path} cannot be read: it is a folder, expected a file. Put another file there."
        for path in (
            one_run.models / "folder.py",
            one_run.sets / "folder.toml",
            one_run.datasets / "folder.pkl",
        )
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_named_and_in_nobodys_way(one_run, make):
    before = one_run.keys()
    one_run.dataset("described")
    keys = one_run.keys()
    paths = [one_run.models / "x.py", one_run.sets / "x.toml", one_run.datasets / "x.pkl"]
    described = one_run.datasets / "described.json"
    described.unlink()
    for path in (*paths, described):
        make(path)
    assert one_run.keys() == before != keys
    assert sorted(
        problem.split(" cannot be read: it is a ")[0] for problem in one_run.queue.problems
    ) == [str(path) for path in sorted([*paths, described])]


def test_a_model_file_that_is_too_large_is_not_parsed(one_run):
    before, path = one_run.keys(), one_run.model("x", text="PRIORITY = 1" + "+1" * 2**18)
    assert one_run.keys() == before
    assert one_run.queue.problems == [
        f"{path} cannot be read: it has 524,300 bytes, at most 262,144 are allowed."
        " Put another file there."
    ]


def test_problems_go_when_their_cause_goes(one_run):
    path = one_run.model("bad", text="(")
    one_run.queue.look()
    one_run.queue.look()
    assert len(one_run.queue.problems) == 1
    path.unlink()
    one_run.queue.look()
    assert one_run.queue.problems == []


def test_a_file_that_went_while_we_looked_is_no_problem(one_run, monkeypatch):
    before, gone = one_run.keys(), [one_run.model("gone"), one_run.set("gone", "epochs = 7\n")]
    list_files = run_queue._files

    def list_then_remove(folder):
        files = list_files(folder)
        for path in gone:
            path.unlink(missing_ok=True)
        return files

    monkeypatch.setattr(run_queue, "_files", list_then_remove)
    assert one_run.keys() == before
    assert one_run.queue.problems == []


def test_looking_runs_no_model(one_run, tmp_path):
    one_run.model("loud", text=f"open({str(tmp_path / 'ran')!r}, 'w')\nPRIORITY = 3\n{MODEL}")
    assert one_run.names()[0].endswith("__loud__default")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("line", "priority"), [("PRIORITY = -4", -4), ("A = PRIORITY = 6", 6)])
def test_a_priority_is_read_without_running_the_model(one_run, line, priority):
    one_run.model("cnn", text=f"{line}\n{MODEL}")
    assert one_run.queue.look()[0].model.priority == priority


def test_a_model_is_not_trained_on_images_of_sizes_that_it_does_not_take(tmp_path):
    models, sets, datasets = (tmp_path / name for name in ("models", "sets", "data/dataset"))
    for folder in (models, sets, datasets):
        folder.mkdir(parents=True)
    for name, limits in {
        "all": "",
        "large": "SMALLEST_IMAGE = 64\n",
        "small": "LARGEST_IMAGE: int = 64\n",
    }.items():
        (models / f"{name}.py").write_text(limits)
    (sets / "default.toml").write_text("")
    for size in (32, 64, 96):
        (datasets / f"{size}.pkl").touch()
        (datasets / f"{size}.json").write_text(f'{{"sha256": "{size}", "image_size": {size}}}')
    (datasets / "unknown.pkl").touch()
    queue = RunQueue(tmp_path / "data", models, sets)
    pairs = {(run.dataset.name, run.model.name) for run in queue.look()}
    assert pairs == {
        *((size, "all") for size in ("32", "64", "96", "unknown")),
        *((size, "large") for size in ("64", "96", "unknown")),
        *((size, "small") for size in ("32", "64", "unknown")),
    }
    assert sorted(queue.left_out) == [
        "32: not trained with large, which takes images from 64 pixels; these have 32",
        "96: not trained with small, which takes images up to 64 pixels; these have 96",
    ]
    (models / "large.py").write_text("SMALLEST_IMAGE = 'x'\n")
    queue.look()
    assert "its SMALLEST_IMAGE is no whole number" in queue.problems[0]
