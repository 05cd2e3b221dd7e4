"""What the documents say is there, is there."""

import re
import shlex
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from docs import write_reference

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
# What in a message of the page stands for what it is about.
VARIES = re.compile(r"\.\.\.|\b[NM]\b|[:;]|SIGKILL|a pipe")


def commands():
    """The indented lines that are commands."""
    lines = re.findall(r"^    ((?:make |\.venv/bin/)\S.*)$", README, re.MULTILINE)
    return [line.split("#")[0].strip() for line in lines] + ["make demo", "make test"]


def tree():
    """(path, what it is) of each line of the tree of files; a line lies in the folder above it."""
    block = (ROOT / "docs" / "architecture.md").read_text().split("## The files")[1].split("```")[1]
    folders = {0: ""}  # by how far a line in it is indented
    for line in block.strip("\n").splitlines():
        indent, (name, text) = len(line) - len(line.lstrip()), line.split(maxsplit=1)
        path = folders[indent] + name
        if name.endswith("/"):
            folders[indent + 4] = path
        yield path, text


@cache
def options(script):
    shown = write_reference.help_of(script)
    return set(re.findall(r"(--[a-z][a-z-]+)", shown.split("options:")[1]))


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


def test_the_reference_has_the_options_as_help_says_them():
    assert write_reference.with_options(REFERENCE) == REFERENCE, "make docs writes them"


def test_the_reference_has_each_script():
    programs = {
        path.name
        for path in ROOT.glob("*.py")
        if re.search(r"ArgumentParser\(|stage_parser\(", path.read_text())
    }
    assert len(programs) > 4
    assert set(write_reference.SCRIPTS) == programs


@pytest.mark.parametrize("script", write_reference.SCRIPTS)
def test_each_option_is_described_and_no_other(script):
    section = REFERENCE.split(f"### {script}\n")[1].split("\n##")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.*) \|$", section, re.MULTILINE)
    described = {name for names, _ in rows for name in re.findall(r"--[a-z-]+", names)}
    assert described == options(script)
    assert all(text for _, text in rows)


def test_each_message_in_the_troubleshooting_is_one_that_the_program_writes():
    sources = [*ROOT.glob("*.py"), *ROOT.glob("pipeline/**/*.py")]
    # A sentence that goes on in the next line of the source is one sentence.
    program = "".join(re.sub(r'"\n\s*f?"', "", path.read_text()) for path in sources)
    messages = re.findall(r'"([^"]+)"', REFERENCE.split("## Troubleshooting")[1])
    parts = [
        part
        for message in messages
        for part in VARIES.split(" ".join(message.split()))
        if len(part.strip()) > 5
    ]
    assert len(parts) > 8
    assert [part for part in parts if part.strip() not in program] == []


def test_each_file_of_the_tree_exists_and_none_is_missing():
    described = Counter(path for path, _ in tree())
    assert set(described.values()) == {1}
    for path in described:
        assert (ROOT / path).exists(), path
    files = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "*.md", "pipeline/**/*.py", "docs/*.*")
        for path in ROOT.glob(pattern)
        if path.name != "__init__.py"
    }
    assert len(files) > 60
    assert files <= set(described)


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
