import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from constants import ROOT
from testkit.processes import patience


def keeper_program(pause=0.01, longest=0.04, ran_well=60, stopping=0.1):
    """A keeper whose four times (in seconds) are these."""
    return f"""
import sys, constants
constants.RESTART, constants.RESTART_MOST, constants.RAN_WELL = {pause}, {longest}, {ran_well}
from pipeline import keep_running
keep_running.STOPPING = {stopping}
sys.exit(keep_running.main())
"""


KILL_ITSELF = "import os; os.kill(os.getpid(), 9)"
RUN_ON = "import time; print('running', flush=True); time.sleep(600)"


@pytest.fixture
def keep():
    """Start a Python program that is kept running, with short pauses; killed at the test's end."""
    started = []

    def keep_program(program, *first, **options):
        command = [sys.executable, "-c", textwrap.dedent(program)]
        keeper = subprocess.Popen(
            [sys.executable, *(first or ["-c", keeper_program()]), *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("COV")},
            **options,
        )
        started.append(keeper)
        return keeper

    yield keep_program
    for keeper in started:
        try:
            os.killpg(keeper.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        keeper.wait()
        keeper.stdout.close()


def times(path, *programs):
    """A program that is the first of `programs` at its first run, the second one at its next, ..."""
    return f"""
        from pathlib import Path
        counter = Path({str(path)!r})
        runs = int(counter.read_text()) if counter.exists() else 0
        counter.write_text(str(runs + 1))
        exec({programs!r}[runs])
        """


def test_what_is_killed_is_started_again_with_a_pause_that_grows_to_a_limit(keep, tmp_path):
    keeper = keep(times(tmp_path / "runs", *[KILL_ITSELF] * 4, "print('well')"))
    said, _ = keeper.communicate(timeout=patience())
    assert keeper.returncode == 0
    pauses = ["0.01", "0.02", "0.04", "0.04"]
    python = Path(sys.executable).name
    assert [line.partition(" | ")[2] for line in said.splitlines()[:-1]] == [
        f"{python} was ended by SIGKILL, often for want of memory; starting it again in {pause} s"
        for pause in pauses
    ]
    assert said.splitlines()[-1] == "well"


@pytest.mark.slow
def test_after_it_ran_well_the_pause_is_as_at_first(keep, tmp_path):
    well = f"import time; time.sleep(4.1); {KILL_ITSELF}"
    program = times(tmp_path / "runs", KILL_ITSELF, KILL_ITSELF, well, "0")
    keeper = keep(program, "-c", keeper_program(ran_well=4))
    said, _ = keeper.communicate(timeout=patience())
    pauses = [line.split(" again in ")[1] for line in said.splitlines()]
    assert pauses == ["0.01 s", "0.02 s", "0.01 s"]


@pytest.mark.parametrize("status", [0, 1, 2, 130])
def test_what_ends_by_itself_is_not_started_again(keep, status):
    keeper = keep(f"print('once'); raise SystemExit({status})")
    said, _ = keeper.communicate(timeout=patience())
    assert (said, keeper.returncode) == ("once\n", status)


def test_a_stage_that_ended_by_a_fault_is_started_again(keep, tmp_path):
    fault = """
        import argparse, pathlib
        from pipeline.stage.process import run_stage
        options = argparse.Namespace(verbose=False, once=False, data=pathlib.Path({!r}))
        raise SystemExit(run_stage("ingestion", options, "dataset", lambda *_: 1 / 0))
        """
    program = textwrap.dedent(fault).format(str(tmp_path / "data"))
    keeper = keep(times(tmp_path / "runs", program, "0"))
    said, _ = keeper.communicate(timeout=patience())
    assert "ingestion | ended by a fault of its own" in said
    assert "ZeroDivisionError" in said
    assert "ended with exit status 70; starting it again in 0.01 s" in said
    assert keeper.returncode == 0


def test_what_somebody_stopped_is_not_started_again(keep):
    keeper = keep("import os; os.kill(os.getpid(), 15)")
    assert keeper.communicate(timeout=patience())[0] == ""
    assert keeper.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_the_pause_at_once(keep, number):
    keeper = keep(KILL_ITSELF, "-c", keeper_program(pause=600, longest=600))
    assert "starting it again in 600 s" in keeper.stdout.readline()
    keeper.send_signal(number)
    assert keeper.communicate(timeout=patience())[0].endswith(" | stopped\n")
    assert keeper.returncode == 0


def test_the_pause_ends_when_nobody_reads_any_more(keep):
    keeper = keep(KILL_ITSELF, "-c", keeper_program(pause=600, longest=600))
    assert "starting it again in 600 s" in keeper.stdout.readline()
    keeper.stdout.close()
    assert keeper.wait(60) == 0


def test_a_signal_to_the_group_reaches_the_program_once(keep):
    program = """
        import os, signal, time
        reads, writes = os.pipe()
        signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked\\n") and os.write(writes, b"."))
        print("ready", flush=True)
        os.read(reads, 1)
        time.sleep(0.05)
        """
    keeper = keep(program, "-c", keeper_program(stopping=600))
    assert keeper.stdout.readline() == "ready\n"
    os.killpg(keeper.pid, signal.SIGTERM)
    assert keeper.communicate(timeout=patience())[0] == "asked\n"


def test_a_signal_to_it_alone_is_passed_on(keep):
    keeper = keep(RUN_ON)
    assert keeper.stdout.readline() == "running\n"
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(60) == 128 + signal.SIGTERM


def test_without_a_program_it_says_how_it_is_used():
    command = [sys.executable, "-m", "pipeline.keep_running"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "python -m pipeline.keep_running PROGRAM" in ended.stdout
