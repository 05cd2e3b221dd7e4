import os
import subprocess
import sys

import pytest

import constants

pytestmark = pytest.mark.slow

IMPORT = "from pipeline.artifacts.keras_import import import_keras; import_keras()"


def printed_by(code):
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=constants.ROOT,
        env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


def test_imports_no_library_that_keras_is_not_needed_for():
    code = (
        f"import sys; {IMPORT}; print(*({{'sklearn', 'matplotlib', 'pandas'}} & set(sys.modules)))"
    )
    assert printed_by(code) == ("\n", "")


def test_what_it_leaves_out_can_be_imported_before_and_after():
    code = f"import sys, pandas; {IMPORT}; import sklearn; print(sys.modules['pandas'] is pandas)"
    assert printed_by(code) == ("True\n", "")


def test_a_training_imports_without_a_word():
    assert printed_by("import pipeline.training.fitting, pipeline.training.worker") == ("", "")
