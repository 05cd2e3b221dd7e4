import fcntl
import json
import os
import signal
import time

import pytest

import constants
import run_queue
from helper import write_json
from pipeline.stage.lock import StageLock
from pipeline.training.health import health_of

STAGES = ("ingestion", "training", "analysis", "prediction")


@pytest.fixture
def working(data):
    """Make it look as if a process worked as a stage; what it says is given."""
    files = []

    def work(stage, **said):
        files.append(open(data / f".{stage}.lock", "w+"))  # noqa: SIM115
        fcntl.flock(files[-1], fcntl.LOCK_EX)
        files[-1].write("123\n")
        files[-1].flush()
        if said:
            (data / "status").mkdir(exist_ok=True)
            about = {"stage": stage, "pid": 123, "said": time.monotonic()}
            write_json(data / "status" / f"{stage}.json", about | said)
        return files[-1]

    yield work
    for file in files:
        file.close()


def table(data, capsys):
    """The exit status, and the state and what is done by stage."""
    status = run_queue.main(["--data", str(data), "--health"])
    head, *lines = capsys.readouterr().out.splitlines()
    column = head.index("doing"), head.index("progress")
    return status, {
        line.split()[0]: (line.split()[1], line[slice(*column)].strip()) for line in lines
    }


def test_where_nothing_was_started_all_are_down(data, capsys):
    assert table(data, capsys) == (1, dict.fromkeys(STAGES, ("down", "never started")))


def test_what_is_wrong_with_an_input_is_said_below_the_table(data, working, capsys):
    problems = {"raw/a\n": "train/1.png is empty.\x1b[31m", "raw/b": "has no test/."}
    working("ingestion", doing="waiting", problems={**problems, "raw/c": 7})
    run_queue.main(["--data", str(data), "--health"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        r"ingestion: raw/a\n: train/1.png is empty.\x1b[31m",
        "ingestion: raw/b: has no test/.",
    ]
    run_queue.main(["--data", str(data), "--health", "--json"])
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["problems"] for stage in stages] == [problems, {}, {}, {}]


def test_what_a_stage_does_is_there_in_numbers(data, working, capsys):
    task = {"run": "a__cnn__x", "since": "2026-11-27 01:02:03", "step": 30, "steps": 90}
    task |= {"epoch": 2, "epochs": 5, "eta": 12.5}
    odd = {"run": 7, "since": None, "step": -1, "steps": "many", "epoch": 1.5, "eta": 1e300}
    working("training", doing="training a__cnn__x", tasks=[task, odd, 7, None])
    working("analysis", doing="waiting", tasks="none")
    run_queue.main(["--data", str(data), "--health", "--json"])
    _, training, analysis, _ = json.loads(capsys.readouterr().out)["stages"]
    unknown = dict.fromkeys(("step", "steps", "epoch", "epochs", "eta"))
    assert training["tasks"] == [task, {"run": "", "since": "", **unknown}]
    assert analysis["tasks"] == []


def test_all_well_is_exit_status_0(data, working, capsys):
    for stage in STAGES:
        working(stage, doing="waiting")
    assert table(data, capsys) == (0, dict.fromkeys(STAGES, ("live", "waiting")))


@pytest.mark.parametrize("stage", STAGES)
def test_one_stage_alone_decides_the_exit_status_where_it_is_named(data, working, capsys, stage):
    working("training", doing="waiting")
    options = ["--data", str(data), "--health", "--stage", stage]
    assert run_queue.main(options) == (0 if stage == "training" else 1)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["stage", stage]
    run_queue.main([*options, "--json"])
    assert [told["stage"] for told in json.loads(capsys.readouterr().out)["stages"]] == [stage]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--health", "--stage", "trainer"], "'ingestion', 'training', 'analysis', 'prediction'"),
        (["--stage", "training"], "--stage goes with --health"),
    ],
)
def test_a_stage_that_is_not_there_or_not_asked_for_is_an_error(data, capsys, options, said):
    with pytest.raises(SystemExit) as ended:
        run_queue.main(["--data", str(data), *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.replace(
        "from ingestion, training, analysis, prediction", said
    )


@pytest.mark.parametrize("state", ["stuck", "down"])
def test_one_that_is_not_well_is_exit_status_1(data, working, capsys, state):
    for stage in STAGES[1:]:
        working(stage, doing="waiting")
    if state == "stuck":
        long_ago = time.monotonic() - constants.STUCK - 60
        working("ingestion", doing="ingesting a", progress="7 of 9 images", said=long_ago)
    status, stages = table(data, capsys)
    assert status == 1
    assert [stages[stage][0] for stage in STAGES] == [state, *["live"] * 3]


def test_of_a_stuck_one_it_says_how_long_it_has_been_quiet(data, working):
    working("training", doing="training a", progress="epoch 1 of 9", said=time.monotonic() - 600)
    cells = health_of("training", data).cells()
    assert cells[:2] == ("training", "stuck")
    assert "epoch 1 of 9, no sign of life for 10 min" in cells


def test_a_long_work_that_gets_on_is_not_stuck(data, working):
    since = "2022-06-08 20:57:20"
    working("training", doing="training a", since=since, said=time.monotonic() - 60)
    assert health_of("training", data).state == "live"


def test_a_process_number_alone_proves_nothing(data, working):
    """The number of one that was killed may be another program's by now; the lock cannot be."""
    working("training", doing="training a", pid=os.getpid()).close()
    (data / ".training.lock").write_text(f"{os.getpid()}\n")
    health = health_of("training", data)
    assert (health.state, health.doing) == ("down", "ended without a word; was training a")


def test_what_a_process_that_was_killed_had_said_is_not_taken_for_the_next_ones(data, working):
    working("training", doing="training a", pid=99, said=time.monotonic() - 600)
    health = health_of("training", data)
    assert (health.state, health.doing, health.pid) == ("live", "", None)


def test_a_process_with_the_number_of_one_that_was_killed_is_not_taken_for_it(data):
    """In a container the stage is always process 1, or whichever comes after the first."""
    with StageLock("training", data):
        said = {"pid": os.getpid(), "doing": "training a", "said": time.monotonic() - 600}
        (data / "status").mkdir()
        write_json(data / "status" / "training.json", said)
        health = health_of("training", data)
        assert (health.state, health.doing, health.pid) == ("live", "", None)
        write_json(data / "status" / "training.json", said | {"said": time.monotonic()})
        health = health_of("training", data)
        assert (health.state, health.doing, health.pid) == ("live", "training a", os.getpid())


def test_one_that_never_says_anything_is_stuck_in_the_end(data, working):
    working("training")
    assert health_of("training", data).state == "live"
    long_ago = time.time() - constants.STUCK - 60
    os.utime(data / ".training.lock", (long_ago, long_ago))
    assert health_of("training", data).state == "stuck"


def test_a_lock_without_a_number_is_believed(data, working):
    working("training", doing="training a").truncate(0)  # as on a full disk
    assert health_of("training", data).doing == "training a"


def test_a_clock_from_before_the_machine_was_started_again_is_none(data, working):
    working("training", doing="training a", said=time.monotonic() + 1e6)
    assert health_of("training", data).quiet == 0


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{", b'{"said": "x", "doing": 7}'])
def test_a_damaged_status_is_as_good_as_none(data, working, content):
    working("training")
    (data / "status").mkdir()
    (data / "status" / "training.json").write_bytes(content)
    assert health_of("training", data).state == "live"


def test_json_has_the_names_as_they_are_and_the_table_spells_them_out(data, working, capsys):
    working("analysis", doing="analyzing two\nlines \x1b[31m", last_error="half \udcff")
    run_queue.main(["--data", str(data), "--health", "--json"])
    *_, analysis, _ = json.loads(capsys.readouterr().out)["stages"]
    assert analysis["doing"] == "analyzing two\nlines \x1b[31m"
    assert analysis["last_error"] == "half \udcff"
    assert (analysis["state"], analysis["pid"]) == ("live", 123)
    assert table(data, capsys)[1]["analysis"] == ("live", "analyzing two\\nlines \\x1b[31m")


@pytest.mark.parametrize(
    ("number", "doing"),
    [(signal.SIGTERM, "stopped"), (signal.SIGKILL, "ended without a word; was ")],
)
def test_a_real_stage_lives_and_is_down(data, start, capsys, number, doing):
    process = start("data_ingestion.py", "--data", data)
    process.wait_for("watching")
    while not (health := health_of("ingestion", data)).doing:
        assert health.state == "live"
    process.end(number)
    health = health_of("ingestion", data)
    assert health.state == "down"
    assert health.doing.startswith(doing)
