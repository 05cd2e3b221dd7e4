"""The house rules: which room may use which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {"generate_raw_dataset", "data_ingestion", "model_training", "model_analysis"}
HEAVY = {
    "tensorflow": {"quiet_keras", "trainer", "fitting", "fused_adam"},
    "tensorboard": {"event_log"},
    "keras": {"quiet_keras", "cnn", "pure_cnn"},
    "matplotlib": {"drawing", "plots", "board_plots"},  # pictures, and what they share
    "pandas": {"board"},
    "watchdog": {"folder_watch"},
    "honcho": set(),
}


def modules():
    return {
        path.stem: path
        for pattern in ("*.py", "pipeline/*.py", "models/*.py")
        for path in ROOT.glob(pattern)
    }


def imports(path):
    """Names of the modules that a file imports anywhere in it, ours without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("pipeline."):
            found.add(node.module.removeprefix("pipeline."))
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


def test_no_script_imports_a_script():
    for name, path in modules().items():
        assert not imports(path) & (SCRIPTS - {name}), name


def test_imports_go_one_way():
    ours = modules()
    used = {name: imports(path) & set(ours) for name, path in ours.items()}
    assert used["constants"] == set()
    assert used["helper"] == {"constants"}
    order = []
    while len(order) < len(ours):
        free = [name for name in ours if name not in order and used[name] <= set(order)]
        assert free, f"these import each other in a circle: {sorted(set(ours) - set(order))}"
        order += free


def test_helper_needs_only_the_standard_library():
    assert imports(ROOT / "helper.py") - {"constants"} <= sys.stdlib_module_names
    assert len((ROOT / "helper.py").read_text().splitlines()) <= 150


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_heavy_libraries_stay_in_their_rooms(library):
    users = {name for name, path in modules().items() if library in imports(path) - {"pipeline"}}
    assert users - {"generate_raw_dataset"} <= HEAVY[library]


def test_no_module_is_named_like_a_library():
    assert not set(modules()) & (sys.stdlib_module_names | set(HEAVY))


def test_modules_and_functions_stay_readable():
    for name, path in modules().items():
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) < 400, name
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for function in functions:
            assert function.end_lineno - function.lineno < 60, f"{name}.{function.name}"


@pytest.mark.parametrize(
    "script",
    ["data_ingestion", "model_training", "model_analysis", "generate_raw_dataset", "run_queue"],
)
def test_help_does_not_wait_for_heavy_libraries(script):
    program = (
        f"import sys, {script}\n"
        f"try: {script}.main(['--help'])\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in shown.stdout
    assert "usage:" in shown.stdout


def test_importing_constants_does_nothing():
    tree = ast.parse((ROOT / "constants.py").read_text())
    allowed = (ast.Assign, ast.Expr, ast.ImportFrom, ast.Import)
    assert all(isinstance(statement, allowed) for statement in tree.body)
