"""What a person asks, as files: read with care, carried out once or refused with a reason."""

import json
import logging
import os
import random
from functools import partial
from itertools import product

import pytest

import constants
from pipeline.artifacts.metadata import RunState
from pipeline.data_folder import DataFolder
from pipeline.requests.carrying_out import KnownRun, Requests
from pipeline.requests.request import Action, BadRequest, Request, write_request
from pipeline.requests.requested import is_cancelled, requested_reader, why_refused

RUNS = [
    KnownRun(f"run {state}", f"title {state}", f"{number:064x}", f"d{number % 2}", "m", "s", state)
    for number, state in enumerate(RunState)
    if state is not RunState.CANCELLED
]
KEYS = {run.state: run.key for run in RUNS}


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.make()
    return folder


def put(data, content, name="a.json"):
    """A request that lies there since long."""
    path = data.requests / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    os.utime(path, (1000, 1000))
    return path


def carried_out(data, retry=lambda keys: None):
    requests = Requests(data)
    requests.carry_out(requests.pending(), RUNS, retry)
    return requests


def asked(data):
    """What the record says of each run, for whoever else reads it."""
    reader = requested_reader(data)
    reader.look()
    states = {key: state for state, key in KEYS.items()}
    return {states[key]: one.as_plain() for key, one in reader.entries.items() if key in states}


def test_each_request_is_carried_out_and_its_file_goes(data):
    for name, content in enumerate([
        {"request": "priority", "run": "run waiting", "priority": 5},
        {"request": "note", "runs": ["run failed", KEYS["analyzed"]], "note": " try\n again "},
        {"request": "cancel", "run": "run running"},
        {"request": "stop", "run": "run waiting"},
        {"request": "hide", "dataset": "d1"},
        {"request": "unhide", "run": "run analyzed"},
    ]):  # fmt: skip
        put(data, content, f"{name}.json")
    carried_out(data)
    assert [*data.requests.iterdir()] == []
    assert asked(data) == {
        "waiting": {"priority": 5, "end": "stop"},
        "running": {"end": "cancel", "hidden": True},
        "failed": {"note": "try again"},
        "analyzed": {"note": "try again"},
    }


ALLOWED = {
    Action.CANCEL: {"waiting", "running"},
    Action.STOP: {"waiting", "running"},
    Action.RETRY: {"failed", "waiting"},
    Action.HIDE: {*KEYS},
    Action.UNHIDE: {*KEYS},
}


@pytest.mark.parametrize("action, state", [*product(ALLOWED, KEYS)])
def test_what_cannot_be_in_that_state_is_refused_with_the_state(data, action, state):
    put(data, {"request": action, "run": f"run {state}"})
    requests = carried_out(data)
    [*left] = [path.name for path in data.requests.iterdir()]
    if state in ALLOWED[action]:
        assert (left, requests.problems()) == ([], {})
    else:
        assert left == ["a.json.refused"]
        [reason] = requests.problems().values()
        assert reason.startswith(f"title {state} is {state}. Only a run that ")
        assert asked(data) == {}


def test_to_try_again_takes_back_a_cancellation_and_a_failure(data):
    retried = set()
    for number, (action, state) in enumerate(
        [("cancel", "waiting"), ("retry", "waiting"), ("retry", "failed"), ("cancel", "running")]
    ):
        put(data, {"request": action, "run": f"run {state}"}, f"{number}.json")
    carried_out(data, retried.update)
    assert retried == {KEYS["failed"]}
    assert asked(data) == {"waiting": {}, "failed": {}, "running": {"end": "cancel"}}


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        ({"run": "run waiting"}, 'has no "request". Add one of priority, cancel'),
        ({"request": "delete", "run": "run waiting"}, '"request" is "delete", expected one of'),
        ({"request": ["stop"], "run": "run waiting"}, "expected one of"),
        ({"request": "stop"}, "it names no run"),
        ({"request": "stop", "runs": []}, '"runs" is "[]", expected a list of names'),
        ({"request": "stop", "runs": ["x", 1]}, "expected a list of names"),
        ({"request": "stop", "run": 1}, '"run" is "1", expected a name'),
        ({"request": "stop", "model": 1}, '"model" is "1", expected a name'),
        ({"request": "stop", "rum": "x"}, 'unknown key "rum". Did you mean "run"?'),
        ({"request": "stop", "run": "../../x"}, 'There is no run "../../x". run_queue.py --json'),
        ({"request": "stop", "model": "other"}, "No run is of that dataset, model and set."),
        ({"request": "priority", "run": "run waiting"}, '"priority" is missing, expected a whole'),
        ({"request": "priority", "run": "run waiting", "priority": 1.5}, "expected a whole number"),
        ({"request": "priority", "run": "run waiting", "priority": 10**7}, "from -1000000 to"),
        ({"request": "priority", "run": "run waiting", "priority": True}, "expected a whole"),
        ({"request": "note", "run": "run waiting"}, '"note" is missing, expected a line of text'),
        ({"request": "note", "run": "run waiting", "note": "x" * 201}, "has 201 characters"),
        ({"request": "hide", "run": "\x1b[31m\ud800"}, 'There is no run "\\x1b[31m'),
    ],
)
def test_a_bad_request_is_named_kept_and_in_no_others_way(data, caplog, content, reason):
    put(data, content)
    put(data, {"request": "hide", "run": "run trained"}, "b.json")
    with caplog.at_level(logging.INFO):
        requests = carried_out(data)
    assert asked(data) == {"trained": {"hidden": True}}
    [path] = data.requests.iterdir()
    assert path.name == "a.json.refused"
    [text] = requests.problems().values()
    assert reason in text
    assert why_refused(data, data.requests / "a.json") == text
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR] == [
        f"{data.requests / 'a.json'}: {text}"
    ]
    # It is remembered by the next process, and forgotten with the file.
    assert [*Requests(data).problems().values()] == [text]
    path.unlink()
    assert Requests(data).problems() == {}


def test_what_is_no_file_or_too_large_is_refused_and_never_waited_for(data):
    os.mkfifo(data.requests / "pipe.json")
    (data.requests / "folder.json").mkdir()
    (data.requests / "link.json").symlink_to("nowhere")
    (data.requests / "large.json").write_bytes(b" " * (constants.MOST_REQUEST_BYTES + 1))
    for name in ("pipe", "folder", "link", "large"):
        os.utime(data.requests / f"{name}.json", (1000, 1000), follow_symlinks=False)
    requests = carried_out(data)
    assert sorted(path.name for path in data.requests.iterdir()) == [
        f"{name}.json.refused" for name in ("folder", "large", "link", "pipe")
    ]
    texts = [*requests.problems().values()]
    assert len(texts) == 4
    for what in ("a pipe", "a folder", "a link to no file", "bytes, at most"):
        assert any(what in text for text in texts), what


def test_what_may_be_half_written_is_left_for_the_next_look(data):
    path = data.requests / "a.json"
    path.write_bytes(b'{"request": "hi')
    carried_out(data)
    assert path.exists()
    path.write_bytes(b'{"request": "hide", "run": "run waiting"}')
    carried_out(data)
    assert (path.exists(), asked(data)) == (False, {"waiting": {"hidden": True}})


def test_other_files_are_nobodys_requests(data):
    names = [".a.json.partial", ".hidden.json", "a.txt", "a.json~", "b.json.refused"]
    for name in names:
        put(data, {"request": "hide", "run": "run waiting"}, name)
    carried_out(data)
    assert sorted(path.name for path in data.requests.iterdir()) == sorted(names)
    assert asked(data) == {}


def test_of_several_runs_those_that_can_are_done_and_the_others_named(data):
    put(data, {"request": "cancel", "runs": [f"run {state}" for state in KEYS] + ["gone"]})
    requests = carried_out(data)
    assert asked(data) == {"waiting": {"end": "cancel"}, "running": {"end": "cancel"}}
    [text] = requests.problems().values()
    for what in ('no run "gone"', "title trained is trained", "title failed is failed"):
        assert what in text


def test_whoever_asks_wrongly_is_told(tmp_path):
    with pytest.raises(BadRequest, match="expected a whole number"):
        write_request(tmp_path, Action.PRIORITY, ["x"], priority="high")
    assert not (tmp_path / "requests").exists()


def test_requests_are_carried_out_in_the_order_in_which_they_were_asked(data):
    for priority in range(20):
        write_request(data.path, Action.PRIORITY, ["run waiting"], priority=priority)
    assert len(Requests(data).pending()) == 20
    carried_out(data)
    assert asked(data) == {"waiting": {"priority": 19}}


class Dies(BaseException):
    pass


def test_dying_anywhere_loses_nothing_and_does_nothing_twice(data, monkeypatch):
    """A retry and, once it is done, a failure that nobody asked to try again."""
    for number in range(1, 30):
        put(data, {"request": "retry", "run": "run failed"}, "a.json")
        put(data, {"request": "priority", "run": "run waiting", "priority": number}, "b.json")
        put(data, {"request": "stop", "run": "none"}, "c.json")
        retried = []
        died = dies_at(number, partial(carry_out_and_note, data, retried), monkeypatch)
        carry_out_and_note(data, retried)  # another process, before any run starts
        tries = len(retried)
        assert tries >= 1
        carry_out_and_note(data, retried)
        assert len(retried) == tries
        assert asked(data)["waiting"] == {"priority": number}
        assert [path.name for path in data.requests.iterdir()] == ["c.json.refused"]
        assert len(Requests(data).problems()) == 1
        (data.requests / "c.json.refused").unlink()
    assert not died, "try more numbers"


def carry_out_and_note(data, retried):
    requests = Requests(data)
    if files := requests.pending():
        requests.carry_out(files, RUNS, lambda keys: retried.append(keys))


def dies_at(number, action, monkeypatch):
    """Whether `action` came to its call `number` of those that change a file, where it ends."""
    count = 0

    def counting(call):
        def counted(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == number:
                raise Dies
            return call(*arguments, **keywords)

        return counted

    with monkeypatch.context() as patch:
        for name in ("replace", "rename", "unlink", "fsync"):
            patch.setattr(os, name, counting(getattr(os, name)))
        try:
            action()
        except Dies:
            return True
    return False


def test_a_file_that_cannot_be_taken_away_is_carried_out_once(data, monkeypatch):
    put(data, {"request": "retry", "run": "run failed"})
    put(data, b"nonsense", "b.json")

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(os, "rename", refuse)
    retried = []
    for _ in range(3):
        requests = Requests(data)
        requests.carry_out(requests.pending(), RUNS, retried.append)
        assert len(requests.problems()) == 3  # two that stay, and why one was refused
    assert len(retried) == 1


def test_a_request_made_of_anything_is_one_or_is_refused():
    draw = random.Random(0)
    values = [None, True, 0, -1, 1.5, 1e400, 10**30, "", "x", [], ["x"], [1], {}, {"run": "x"}]
    values += [*Action]
    keys = ["request", "run", "runs", "dataset", "model", "set", "priority", "note", ":x", ""]
    outcomes = {True: 0, False: 0}
    for _ in range(5000):
        said = {key: draw.choice(values) for key in draw.sample(keys, draw.randrange(5))}
        said["request"] = draw.choice([*Action, *values])
        try:
            outcomes[isinstance(Request.of(said), Request)] += 1
        except BadRequest:
            outcomes[False] += 1
    assert min(outcomes.values()) > 100


def test_a_stopped_run_with_no_epoch_is_cancelled(data):
    put(data, {"request": "stop", "run": "run waiting"})
    one = carried_out(data).of(KEYS["waiting"])
    assert (is_cancelled(one, 0), is_cancelled(one, 1)) == (True, False)
