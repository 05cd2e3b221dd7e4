import os
import signal
import subprocess
import sys

import pytest

from constants import ROOT
from pipeline.stage.terminal import INTERRUPTED, UNREAD, run_script

pytestmark = pytest.mark.slow

SCRIPTS = (
    "data_ingestion.py",
    "model_training.py",
    "model_analysis.py",
    "model_prediction.py",
    "export_model.py",
    "run_queue.py",
    "generate_raw_dataset.py",
)
HELP = [[script, "--help"] for script in SCRIPTS]
SAID = [["run_queue.py"], ["run_queue.py", "--json"], ["run_queue.py", "--health"]]


def closed_after(lines, command, **environment):
    """The exit status and the complaints of a script whose reader goes after so many lines."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(lines):
        assert process.stdout.readline()
    process.stdout.close()
    with process:
        return process.stderr.read(), process.wait()


@pytest.mark.parametrize(
    "environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"]
)
@pytest.mark.parametrize("command", [*SAID, *HELP], ids=" ".join)
def test_a_pipe_that_is_closed_at_once_is_no_traceback(command, environment, data):
    folder = [] if "--help" in command else ["--data", data]
    complaints, status = closed_after(0, [*command, *folder], **environment)
    assert complaints == ""
    # argparse itself passes over what it cannot print, unless a buffer still holds it.
    assert status == UNREAD or (status == 0 and "--help" in command and environment)


@pytest.mark.parametrize("format", [[], ["--json"]], ids=["table", "json"])
def test_the_first_line_of_a_long_table_is_to_be_had(dataset, data, tmp_path, format):
    for kind, ending, text in (("models", "py", "# {}"), ("sets", "toml", "seed = {}")):
        (tmp_path / kind).mkdir()
        for number in range(40):  # 1,600 runs are more than a pipe holds
            (tmp_path / kind / f"{kind}{number}.{ending}").write_text(text.format(number))
    folders = ["--models-folder", tmp_path / "models"]
    folders += ["--hyperparameters-folder", tmp_path / "sets"]
    command = ["run_queue.py", "--data", data, *folders, *format]
    assert closed_after(1, command) == ("", UNREAD)


def test_a_raw_dataset_is_made_whole_though_nobody_reads_that_it_is(tmp_path):
    output = tmp_path / "digits"
    command = ["generate_raw_dataset.py", "--train", 20, "--test", 20, "--output", output]
    assert closed_after(0, command) == ("", UNREAD)
    assert len(list(output.rglob("*.png"))) == 40


def test_nobody_reads_a_proof():
    assert closed_after(0, ["-m", "prove", "--few", "any_csv"]) == ("", UNREAD)


INTERRUPTED_WHILE = """
import runpy
import signal
import sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.mark.parametrize("module", ["argparse", "pipeline.stage.terminal"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_a_script_is_imported_is_no_traceback(script, module):
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE, module, script],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", -signal.SIGINT)


def test_ctrl_c_while_a_script_prints_is_no_traceback():
    def main():
        signal.raise_signal(signal.SIGINT)

    assert run_script(main) == INTERRUPTED == 130


def test_another_exit_status_is_passed_on():
    assert run_script(lambda: 7) == 7
    with pytest.raises(SystemExit, match="2"):
        run_script(lambda: sys.exit(2))
