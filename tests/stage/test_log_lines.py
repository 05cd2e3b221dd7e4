"""Whatever a stage's process has to say comes out as lines of one form."""

import io
import logging
import re
import subprocess
import sys
import textwrap

import pytest

from constants import ROOT
from pipeline.stage.log_lines import log, start_logging

FORM = re.compile(r"\d\d:\d\d:\d\d analysis  \| ")


def said_by(program: str, environment: dict[str, str] | None = None) -> list[str]:
    """The lines of a process that logs as the analysis stage and then runs `program`, without their heads."""
    start = "import sys\nfrom pipeline.stage.log_lines import log, start_logging\nstart_logging('analysis')\n"
    ended = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(program)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = ended.stdout.decode().split("\n")
    assert lines.pop() == ""
    assert [line for line in lines if not FORM.match(line)] == []
    return [FORM.sub("", line) for line in lines]


def test_lines_are_aligned(capsys):
    start_logging("analysis")
    log.info("done")
    time, rest = capsys.readouterr().out.split(" ", 1)
    assert len(time) == len("14:02:09")
    assert rest == "analysis  | done\n"


def test_under_honcho_the_prefix_is_left_to_honcho(capsys, monkeypatch):
    monkeypatch.setenv("HONCHO_PROCESS_NAME", "analysis.1")
    start_logging("analysis")
    log.info("done")
    assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("half \ud800", "half \\ud800"),
        ("猫 😀 قطة $x^2$ <b> %s", "猫 😀 قطة $x^2$ <b> %s"),
    ],
)
def test_a_name_cannot_make_a_line_of_its_own(capsys, name, shown):
    start_logging("analysis")
    log.info("%s: analyzed", name)
    assert capsys.readouterr().out.split(" ", 1)[1] == f"analysis  | {shown}: analyzed\n"


def test_a_terminal_that_is_not_in_utf_8_shows_codes(monkeypatch):
    latin = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", latin)
    start_logging("analysis")
    log.info("é 猫")
    assert latin.buffer.getvalue().endswith(b"| \xe9 \\u732b\n")


def test_what_another_library_logs_is_one_line_with_its_name():
    assert said_by(
        """
        import logging
        library = logging.getLogger("matplotlib.font_manager")
        library.setLevel(logging.DEBUG)
        library.warning("Building\\n  the %s", "cache")
        library.info("nobody wants to know")
        """
    ) == ["matplotlib.font_manager: Building the cache"]


def test_a_warning_of_python_is_one_line():
    [line] = said_by("import warnings; warnings.warn('old\\nthing', FutureWarning)")
    assert line.startswith("py.warnings: ")
    assert "FutureWarning: old thing" in line


def test_a_traceback_has_the_form_on_each_line():
    lines = said_by(
        r"""
        try:
            raise ValueError("two\nlines \x1b[31m")
        except ValueError:
            log.exception("x: failed")
        """
    )
    assert lines[:2] == ["x: failed", "Traceback (most recent call last):"]
    assert lines[-2:] == ["ValueError: two", r"lines \x1b[31m"]


@pytest.mark.parametrize(
    ("program", "first"),
    [
        ("1 / 0", "ended by a fault of its own"),
        (
            """
            import threading
            threading.Thread(target=lambda: 1 / 0, name="reader").start()
            """,
            "reader ended by a fault of its own",
        ),
        (
            """
            class Thing:
                def __del__(self):
                    1 / 0
            Thing()
            """,
            "exception ignored in <function Thing.__del__ at 0x",
        ),
    ],
)
def test_a_fault_that_nobody_catches_is_said_in_the_form(program, first):
    lines = said_by(program)
    assert lines[0].startswith(first)
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_stop_that_falls_where_nothing_can_be_raised_is_not_lost():
    said = said_by(
        """
        import signal, threading
        class Thing:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
        try:
            Thing()
            threading.Event().wait(120)
            log.info("nothing happened")
        except KeyboardInterrupt:
            log.info("stopped")
        """
    )
    assert said == ["stopped"]


def test_where_nobody_reads_the_lines_it_goes_on(tmp_path):
    program = f"""
        import os, pathlib
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
        log.info("into nowhere")
        pathlib.Path({str(tmp_path / "done")!r}).touch()
        """
    assert said_by(program) == []
    assert (tmp_path / "done").exists()


def test_a_line_is_said_once():
    assert said_by("log.error('once')") == ["once"]


def test_the_lines_of_a_module_of_the_package_have_the_form_of_the_stage(capsys):
    start_logging("analysis")
    logging.getLogger("pipeline.analysis.metrics").info("measured")
    logging.getLogger("pipelines").warning("of another library")
    said = [line.split("| ")[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["measured", "pipelines: of another library"]
