"""What an installation is made of: each module, each requirement, in the versions that were tested."""

import re
import tomllib
from fnmatch import fnmatch

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import constants
from constants import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
EXTRAS = SETUPTOOLS["dynamic"]["optional-dependencies"]
FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))
PYTHONS = ("3.11", "3.12", "3.13")  # TensorFlow has no release for 3.14 yet


def requirements(name):
    """What a file of requirements lists, one a line; pip's options, such as -r, are no requirements."""
    lines = [line.split(" #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pins(python):
    """The version of each library in constraints.txt for a version of Python."""
    kept = {}
    for pin in requirements("constraints.txt"):
        [exact] = pin.specifier
        assert exact.operator == "==" and not exact.version.endswith("*"), pin
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert canonicalize_name(pin.name) not in kept, pin
            kept[canonicalize_name(pin.name)] = Version(exact.version)
    return kept


def test_each_module_is_installed_and_nothing_else():
    assert set(SETUPTOOLS["py-modules"]) == {path.stem for path in ROOT.glob("*.py")}
    assert len(SETUPTOOLS["py-modules"]) > 6
    search = SETUPTOOLS["packages"]["find"]
    assert not search["namespaces"]  # a package is a folder with an __init__.py
    rooms = {path.parent for path in ROOT.glob("pipeline/**/*.py")}
    assert len(rooms) > 5
    others = {path.parent for path in ROOT.glob("*/__init__.py")} - rooms
    assert len(others) > 1
    for folder in rooms | others:
        name = ".".join(folder.relative_to(ROOT).parts)
        assert (folder / "__init__.py").is_file(), name
        is_installed = any(fnmatch(name, pattern) for pattern in search["include"])
        assert is_installed == (folder in rooms), name


def test_the_version_is_that_of_the_program():
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "constants.VERSION"}
    assert Version(constants.VERSION) > Version("0")
    assert set(PROJECT["project"]["dynamic"]) == SETUPTOOLS["dynamic"].keys()


def test_each_file_of_requirements_is_installed_with_its_extra():
    installed = [*SETUPTOOLS["dynamic"]["dependencies"]["file"]]
    installed += [name for extra in EXTRAS.values() for name in extra["file"]]
    assert sorted(set(installed)) == FILES
    assert {f"requirements-{extra}.txt" for extra in EXTRAS} == set(FILES) - {"requirements.txt"}
    for extra, files in EXTRAS.items():
        assert f"requirements-{extra}.txt" in files["file"]
    assert all(requirements(name) for name in FILES)


@pytest.mark.parametrize("python", PYTHONS)
def test_each_requirement_is_pinned_to_a_version_that_it_allows(python):
    wanted = [one for name in FILES for one in requirements(name)]
    assert len(wanted) > 15
    for one in wanted:
        assert pins(python)[canonicalize_name(one.name)] in one.specifier, one


def test_coverage_is_measured_of_all_that_is_installed():
    measured = PROJECT["tool"]["coverage"]["run"]["source_pkgs"]
    assert set(measured) == {*SETUPTOOLS["py-modules"], "pipeline"}


def test_a_commit_is_checked_by_the_ruff_that_was_tested():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    [version] = re.findall(r"ruff-pre-commit\n\s+rev: v(\S+)", hooks)
    assert Version(version) == pins(PYTHONS[0])["ruff"]


def test_each_python_that_the_project_names_is_tried():
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    [tried] = re.findall(r"python: \[(.*)\]", workflow)
    tried = re.findall(r"3\.\d+", tried)
    assert set(PYTHONS) <= set(tried)
    assert PROJECT["project"]["requires-python"] == f">={min(tried, key=Version)}"
