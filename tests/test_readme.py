"""What the documents say is there, is there."""

import random
import re
import shlex
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from docs import write_reference

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
# Not CHANGELOG.md, which may speak of what is gone.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for pattern in ("*.md", "docs/*.md", "data/*.md", "models/*.md", "hyperparameters/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"
}
# What in a message of the page stands for what it is about.
VARIES = re.compile(r"\.\.\.|\b[NM]\b|[:;]|SIGKILL|a pipe")
MOST_WORDS = 1800  # in README, as `wc -w` counts


def commands():
    """(page, command) of each indented line that is a command, and of each `make ...` in a sentence."""
    for page, text in PAGES.items():
        for line in re.findall(r"^    ((?:make |\.venv/bin/)\S.*)$", text, re.MULTILINE):
            yield page, line.split("#")[0].strip()
        for line in re.findall(r"`(make\s[^`]+)`", text):
            yield page, " ".join(line.split())


def tree():
    """(path, what it is) of each line of the tree of files; a line lies in the folder above it."""
    block = PAGES["docs/architecture.md"].split("## The files")[1].split("```")[1]
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


def links():
    """(page, target) of each link that leads to a file or a heading, not to another site."""
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" not in target:
                yield page, target


def headings(text):
    """The anchors of a page's headings, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_readme_is_short():
    assert 300 < len(README.split()) <= MOST_WORDS


def test_the_first_screen_has_the_picture_and_both_commands():
    first_screen = "\n".join(README.splitlines()[:20])
    for part in ("![", "    make demo ", "    make test "):
        assert part in first_screen


def test_each_command_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    programs = {"python", "tensorboard"}
    found = list(commands())
    assert {("README.md", f"make {target}") for target in ("demo", "test", "run")} <= set(found)
    assert len({page for page, _ in found}) > 3
    assert len(found) > 25
    for page, command in found:
        program, *arguments = shlex.split(command)
        if program == "make":
            named = {argument for argument in arguments if "=" not in argument}
            assert named <= targets, f"{page}: {command}"
            continue
        assert Path(program).name in programs, f"{page}: {command}"
        if Path(program).name == "python" and arguments[0] != "-m":
            assert (ROOT / arguments[0]).is_file(), f"{page}: {command}"
            named = {argument for argument in arguments if argument.startswith("--")}
            assert named <= options(arguments[0]), f"{page}: {command}"


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


def test_each_option_that_a_document_speaks_of_exists():
    known = set().union(*map(options, write_reference.SCRIPTS))
    known |= {"--few"}  # of python -m prove
    named = {
        (page, name)
        for page, text in PAGES.items()
        for span in re.findall(r"`([^`\n]+)`", text)
        for name in re.findall(r"(?<![\w-])--[a-z-]+", span)
        if "tensorboard" not in span
    }
    assert len({name for _, name in named}) > 10
    assert {(page, name) for page, name in named if name not in known} == set()


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
    found = list(links())
    assert len(found) > 30
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md"} <= {page for page, _ in found}
    for page, target in found:
        path, _, anchor = target.partition("#")
        leads_to = (ROOT / page).parent / path if path else ROOT / page
        assert leads_to.exists(), f"{page}: {target}"
        assert not anchor or anchor in headings(leads_to.read_text()), f"{page}: {target}"


def test_the_readme_leads_to_each_document():
    reached = {target.partition("#")[0] for page, target in links() if page == "README.md"}
    wanted = {page for page in PAGES if page.startswith("docs/")} | {"CONTRIBUTING.md"}
    assert len(wanted) > 4
    assert wanted <= reached


def test_each_program_that_a_document_names_exists():
    named = {
        (page, path)
        for page, text in PAGES.items()
        for path in re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    }
    assert len(named) > 40
    assert {f"{page}: {path}" for page, path in named if not (ROOT / path).exists()} == set()


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


def test_each_figure_of_speed_was_measured():
    section = README.split("## How fast it is\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    figures = {
        figure
        for row in rows
        for cell in row.split("|")[2:]
        for figure in re.findall(r"[\d,.]*\d(?= s\b| images/s)", cell)
    }
    assert len(figures) > 8
    measured = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert {figure for figure in figures if not re.search(rf"\b{figure}\b", measured)} == set()


@pytest.mark.slow
def test_a_folder_of_pictures_is_moved_as_readme_says(tmp_path):
    moving = README.split("I have my own pictures")[1].split("    mv ")[1].split("\n")[0]
    (tmp_path / "data" / "raw_dataset").mkdir(parents=True)
    draw = random.Random(0)
    for number in range(40):
        folder = tmp_path / "my_pictures" / ("cats" if number < 20 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (40, 30), draw.randbytes(3600)).save(folder / f"{number}.jpg")
    subprocess.run(["sh", "-ec", f"mv {moving}"], cwd=tmp_path, check=True)
    ingestion = [sys.executable, "data_ingestion.py", "--data", str(tmp_path / "data"), "--once"]
    ended = subprocess.run(
        [*ingestion, "--settle", "0"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "my_pictures: class folders, 2 classes, 40 images, " in ended.stdout + ended.stderr


def test_each_page_of_a_folder_names_what_is_shipped():
    for folder, ending in (("models", ".py"), ("hyperparameters", ".toml")):
        page = (ROOT / folder / "README.md").read_text()
        for path in (ROOT / folder).glob(f"*{ending}"):
            assert f"`{path.stem}`" in page or f"`{path.name}`" in page


def test_the_example_model_builds(tmp_path):
    from pipeline.keras_models.model_file import build

    page = (ROOT / "models" / "README.md").read_text()
    path = tmp_path / "example.py"
    path.write_text(page.split("```python\n")[1].split("```")[0])
    assert build(path, (32, 32, 3), 7).output_shape == (None, 7)


def test_the_table_of_settings_is_that_of_the_program():
    from pipeline.artifacts.hyperparameters import MEANINGS, SETTINGS

    page = (ROOT / "hyperparameters" / "README.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \|.*\| `?([^|`]+)`? \|$", page, re.MULTILINE)
    assert dict(rows) == {key: str(setting.default) for key, setting in SETTINGS.items()}
    meanings = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", page, re.MULTILINE)
    seeds = {"seeds": "instead of `seed`: a run with each of them"}
    assert dict(meanings) == MEANINGS | seeds


def test_the_data_page_names_each_folder_and_record():
    import constants

    page = (ROOT / "data" / "README.md").read_text()
    for name in (
        constants.RAW_DATASETS, constants.DATASETS, constants.CHECKPOINTS, constants.RESULTS,
        constants.INGESTION_RECORD, constants.TRAINING_RECORD, constants.ANALYSIS_RECORD,
        constants.REQUESTS, constants.REQUESTS_RECORD,
    ):  # fmt: skip
        assert name in page
