"""What the README says is there, is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SCRIPTS = (
    "data_ingestion.py",
    "model_training.py",
    "model_analysis.py",
    "generate_raw_dataset.py",
    "run_queue.py",
)


def commands():
    """The indented lines that are commands."""
    lines = re.findall(r"^    ((?:make |\.venv/bin/)\S.*)$", README, re.MULTILINE)
    return [line.split("#")[0].strip() for line in lines] + ["make demo", "make test"]


def tree():
    """(path, what it is) of each line of the tree of files; a line lies in the folder above it."""
    block = README.split("## The files")[1].split("```")[1]
    folders = {0: ""}  # by how far a line in it is indented
    for line in block.strip("\n").splitlines():
        indent, (name, text) = len(line) - len(line.lstrip()), line.split(maxsplit=1)
        path = folders[indent] + name
        if name.endswith("/"):
            folders[indent + 4] = path
        yield path, text


def options(script):
    shown = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"(--[a-z][a-z-]+)", shown.stdout.split("options:")[1]))


def test_each_command_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    programs = {"python", "tensorboard"}
    found = commands()
    assert {"make demo", "make test", "make run"} <= set(found)
    for command in found:
        program, *arguments = shlex.split(command)
        if program == "make":
            assert set(arguments) <= targets, command
        else:
            assert Path(program).name in programs, command
            if Path(program).name == "python":
                assert (ROOT / arguments[0]).is_file(), command


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_option_is_described_and_no_other(script):
    section = README.split("## Options")[1].split("\n## ")[0]
    shared, *rest = re.split(r"^`([a-z_]+\.py)`$", section, flags=re.MULTILINE)
    own = dict(zip(rest[::2], rest[1::2], strict=True))
    described = set(re.findall(r"`(--[a-z-]+)", own.get(script, "")))
    if script in ("generate_raw_dataset.py", "run_queue.py"):
        described.add("--help")
    else:
        described |= set(re.findall(r"`(--[a-z-]+)", shared))
    assert described == options(script)


def test_each_file_of_the_tree_exists_and_none_is_missing():
    described = dict(tree())
    for path in described:
        assert (ROOT / path).exists(), path
    modules = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "pipeline/**/*.py")
        for path in ROOT.glob(pattern)
        if path.name != "__init__.py"
    }
    assert len(modules) > 40
    assert modules <= set(described)


def test_each_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_each_page_of_a_folder_names_what_is_shipped():
    for folder, ending in (("models", ".py"), ("hyperparameters", ".toml")):
        page = (ROOT / folder / "README.md").read_text()
        for path in (ROOT / folder).glob(f"*{ending}"):
            assert f"`{path.stem}`" in page or f"`{path.name}`" in page


def test_the_example_model_builds(tmp_path):
    from pipeline.training.model_file import build

    page = (ROOT / "models" / "README.md").read_text()
    path = tmp_path / "example.py"
    path.write_text(page.split("```python\n")[1].split("```")[0])
    assert build(path, (32, 32, 3), 7).output_shape == (None, 7)


def test_the_table_of_settings_is_that_of_the_program():
    from pipeline.artifacts.hyperparameters import SETTINGS

    page = (ROOT / "hyperparameters" / "README.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \|.*\| `?([^|`]+)`? \|$", page, re.MULTILINE)
    assert dict(rows) == {key: str(setting.default) for key, setting in SETTINGS.items()}


def test_the_data_page_names_each_folder_and_record():
    import constants

    page = (ROOT / "data" / "README.md").read_text()
    for name in (
        constants.RAW_DATASETS, constants.DATASETS, constants.CHECKPOINTS, constants.RESULTS,
        constants.INGESTION_RECORD, constants.TRAINING_RECORD, constants.ANALYSIS_RECORD,
    ):  # fmt: skip
        assert name in page
