import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

import constants
from constants import ROOT
from helper import UserError
from pipeline.stage import lock
from pipeline.stage.retry import retry_until_disk_works
from pipeline.training.run_table import is_locked
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset

pytestmark = pytest.mark.slow


def test_only_one_process_at_a_time_and_it_is_named(tmp_path):
    with lock.StageLock("training", tmp_path):
        with pytest.raises(
            UserError, match=rf"already running as process {os.getpid()}\. Use that one, stop it"
        ):
            lock.StageLock("training", tmp_path).__enter__()
        with lock.StageLock("analysis", tmp_path):
            pass
    with lock.StageLock("training", tmp_path):
        pass


def test_who_asks_whether_a_stage_runs_does_not_keep_it_from_starting(tmp_path, monkeypatch):
    with open(tmp_path / ".training.lock", "w") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)  # as is_locked does, for an instant
        monkeypatch.setattr(lock.time, "sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
        with lock.StageLock("training", tmp_path):
            assert is_locked(tmp_path / ".training.lock")


def test_of_eight_processes_started_at_once_one_works(data, start):
    processes = [start("data_ingestion.py", "--data", data) for _ in range(8)]
    said = {process: process.wait_for("ingestion |") for process in processes}
    [worker] = [process for process, line in said.items() if "watching" in line]
    for process in processes:
        if process is not worker:
            assert f"already running as process {worker.process.pid}." in said[process]
            assert process.end() == 1


def test_after_kill_9_another_process_takes_over(data, start):
    first = start("data_ingestion.py", "--data", data)
    first.wait_for("watching")
    first.end(signal.SIGKILL)
    start("data_ingestion.py", "--data", data).wait_for("watching")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_with_one_line(data, start, number):
    process = start("data_ingestion.py", "--data", data)
    process.wait_for("watching")
    assert process.end(number) == 0
    assert [line.split("| ")[1] for line in process.lines[1:]] == ["stopped"]


def test_with_nohup_a_closed_terminal_does_not_stop_it(data, start):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; what it starts inherits that
    process = start("data_ingestion.py", "--data", data, "--settle", "0")
    process.wait_for("watching")
    process.process.send_signal(signal.SIGHUP)
    make_raw_dataset(data / "raw_dataset" / "colours")
    process.wait_for("ingested as dataset")
    assert process.end(signal.SIGTERM) == 0


def test_it_stops_when_nobody_reads_its_lines_any_more(data):
    process = subprocess.Popen(
        [sys.executable, ROOT / "data_ingestion.py", "--data", data],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert b"watching" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_it_works_without_an_output(data):
    make_raw_dataset(data / "raw_dataset" / "colours")
    program = f"{sys.executable} {ROOT}/data_ingestion.py --data {data} --once >&- 2>&-"
    assert subprocess.run(["sh", "-c", program]).returncode == 0
    assert len(list((data / "dataset").glob("*.pkl"))) == 1


@pytest.fixture
def make_run(data, tmp_path, start):
    """honcho with the Procfile as in a terminal; a pipe with a line for each process that it leads
    to, which ends when the last of them does."""
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "pipe")
    as_stage = f'case "$1" in -m) ;; *) set -- "$@" --data {data} ;; esac'
    for name, command in {
        "python": f'{as_stage}; exec {sys.executable} "$@"',
        "tensorboard": "exec sleep 600",
    }.items():
        program = tmp_path / "bin" / name
        told = f'exec 9>{tmp_path / "pipe"}\necho $$ "{name} $*" >&9\n'
        program.write_text(f"#!/bin/sh\n{told}{command}\n")
        program.chmod(0o755)
    honcho = start(
        Path(sys.executable).with_name("honcho"),
        *("-f", ROOT / "Procfile", "start"),
        environment={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **MAKE_RUN},
        new_session=True,
    )
    with open(tmp_path / "pipe") as pipe:
        run = MakeRun(honcho, pipe)
        for _ in range(2 * len([*STAGES, WEB, TENSORBOARD])):  # each, and what keeps it running
            run.read_next()
        yield run
    for number in run.numbers.values():
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


class MakeRun:
    """`make run`: honcho, and by command the number of each process that was started last with it."""

    def __init__(self, honcho, pipe):
        self.honcho, self.pipe, self.numbers = honcho, pipe, {}

    def read_next(self):
        number, _, command = self.pipe.readline().rstrip("\n").partition(" ")
        assert number, f"all ended: {self.honcho.lines}"
        self.numbers[command] = int(number)
        return command

    def kill(self, command):
        """As the kernel does it when memory is short."""
        os.kill(self.numbers[command], signal.SIGKILL)


MAKE_RUN = {"PYTHONUNBUFFERED": "1"}  # what the Makefile sets for honcho
SCRIPTS = ("data_ingestion", "model_training", "model_analysis", "model_prediction")
STAGES = [f"python {name}.py" for name in SCRIPTS]
WEB = "python web_ui.py"
TENSORBOARD = "tensorboard --logdir data/model_checkpoints"


def test_closing_the_terminal_of_make_run_leaves_nothing_running(make_run):
    os.killpg(make_run.honcho.process.pid, signal.SIGHUP)
    assert make_run.honcho.end() == -signal.SIGHUP
    assert make_run.pipe.read() == ""  # returns when nobody holds the other end any more


def test_what_is_killed_under_make_run_is_started_again(make_run, data):
    honcho, numbers = make_run.honcho, dict(make_run.numbers)
    assert sorted(numbers) == sorted(
        [*STAGES, WEB, TENSORBOARD]
        + [f"python -m pipeline.keep_running {name}" for name in [*STAGES, WEB, TENSORBOARD]]
    )
    left = [*["| watching"] * len(STAGES), "| the page is at http://127.0.0.1:"]
    while left:  # one that is still being imported ends without a word
        line = honcho.wait_for("| ")
        left = [said for said in left if said not in line] + [
            said for said in left if said in line
        ][1:]
    for command in (*STAGES, WEB, TENSORBOARD):
        make_run.kill(command)
        name = command.split()[command.startswith("python")]
        reason = "was ended by SIGKILL, often for want of memory"
        line = honcho.wait_for("starting it again")
        assert line.endswith(f" | {name} {reason}; starting it again in 1 s")
        assert make_run.read_next() == command
        assert make_run.numbers[command] != numbers[command]
        if command != TENSORBOARD:
            honcho.wait_for("| the page is at" if command == WEB else "| watching")
    make_raw_dataset(data / "raw_dataset" / "colours")
    honcho.wait_for("ingested as dataset")
    honcho.end(signal.SIGINT)
    # Training may have begun by then, and says what it was in: "stopped; ...".
    stopped = [line.split()[1] for line in honcho.lines if re.search(r"\| stopped(;|$)", line)]
    assert sorted(stopped) == ["analysis.1", "ingestion.1", "prediction.1", "training.1", "web.1"]
    assert make_run.pipe.read() == ""


def test_what_keeps_a_stage_running_may_be_killed_itself(make_run, start, data):
    keeper = "python -m pipeline.keep_running python data_ingestion.py"
    make_run.honcho.wait_for("raw_dataset")  # which it watches
    make_run.kill(keeper)
    second = start("data_ingestion.py", "--data", data)
    second.wait_for(f"is already running as process {make_run.numbers[STAGES[0]]}.")
    assert second.end() == 1
    make_run.honcho.end(signal.SIGINT)
    assert make_run.pipe.read() == ""


def test_a_stop_of_make_run_in_the_middle_of_a_line_stops_it(tmp_path):
    """Without MAKE_RUN honcho then dies of "reentrant call" and waits for ever for what it started."""
    assert "PYTHONUNBUFFERED=1 PATH=" in (ROOT / "Makefile").read_text()
    (tmp_path / "Procfile").write_text("many: seq 9999; exec sleep 600\n")
    honcho = subprocess.Popen(
        [Path(sys.executable).with_name("honcho"), "start"],
        cwd=tmp_path,
        env={**os.environ, **MAKE_RUN},
        stdout=subprocess.PIPE,
    )
    while (
        not is_full(honcho.stdout) or Path(f"/proc/{honcho.pid}/stat").read_text().split()[2] != "S"
    ):
        os.sched_yield()
    honcho.send_signal(signal.SIGINT)
    honcho.stdout.read()
    assert honcho.wait(patience()) == 128 + signal.SIGINT


def is_full(pipe):
    unread = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(unread, sys.byteorder) > 64_000


def test_keep_trying_says_each_reason_once_and_goes_on(monkeypatch):
    monkeypatch.setattr(constants, "RETRY", 0)
    errors = iter(
        [
            OSError(28, "full", "a.pkl"),
            OSError(28, "full", "a.pkl"),
            OSError(30, "read-only", "a.pkl"),
        ]
    )
    said = []

    def action():
        if error := next(errors, None):
            raise error
        return "done"

    assert retry_until_disk_works(action, said.append) == "done"
    assert said == [
        "cannot read or write a.pkl: the disk is full. Free some space; trying again every 0 s.",
        "cannot read or write a.pkl: the file system is read-only. Make it writable; trying again every 0 s.",
        "the disk works again",
    ]


def test_once_means_one_try():
    def action():
        raise OSError(28, "full", "a.pkl")

    with pytest.raises(
        UserError, match=r"^cannot read or write a.pkl: the disk is full. Free some space\.$"
    ):
        retry_until_disk_works(action, print, once=True)


def test_keep_trying_does_not_hide_a_bug():
    def action():
        raise OSError(9, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file"):
        retry_until_disk_works(action, print)


def test_left_over_halves_are_removed_at_the_start(data, start):
    (data / "dataset").mkdir()
    left = [data / "dataset" / ".x.pkl.partial", data / ".data_ingestion_settings.pkl.partial"]
    for path in left:
        path.write_text("half")
    start("data_ingestion.py", "--data", data, "--once").end()
    assert not any(path.exists() for path in left)


def test_a_data_folder_with_odd_characters_works(tmp_path, start):
    data = tmp_path / "my däta 数据 [1] $x"
    make_raw_dataset(data / "raw_dataset" / "colours *")
    process = start("data_ingestion.py", "--data", data, "--once", "--settle", "0")
    process.wait_for("ingested as dataset")
    assert process.end() == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_lock_that_is_no_file_ends_it_with_a_sentence(data, start, make):
    make(data / ".ingestion.lock")
    process = start("data_ingestion.py", "--data", data, "--once")
    assert process.end() == 1
    [line] = process.lines
    assert "cannot read or write" in line
    assert line.endswith("expected a file. Move it away.")
