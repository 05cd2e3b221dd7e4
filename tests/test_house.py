"""The house rules: which room may use which."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "generate_raw_dataset",
    "data_ingestion",
    "model_training",
    "model_analysis",
    "model_prediction",
    "export_model",
    "run_queue",
    "web_ui",
}
# A module imports only from its own floor's room and from lower floors.
FLOORS = [
    {"constants"},
    {"helper"},
    {
        "pipeline.access",
        "pipeline.archive_formats",
        "pipeline.data_folder",
        "pipeline.json_values",
        "pipeline.problem",
        "pipeline.statistics",
    },
    {"pipeline.stage"},
    {"pipeline.event_files", "pipeline.run_warnings"},
    {"pipeline.artifacts"},
    {"pipeline.requests"},
    {"pipeline.pretrained"},
    {"pipeline.images"},
    {"pipeline.fitting"},
    {"pipeline.keras_models"},
    {"pipeline.tables"},
    {"pipeline.raw_data", "pipeline.training"},
    {"pipeline.analysis"},
    {"pipeline.prediction"},
    {"pipeline.export"},
    {"pipeline.uploads"},
    {"pipeline.web"},
    {*SCRIPTS, "pipeline.demo", "pipeline.keep_running"},
]
# Which modules may import a library, by the ends of their names.
HEAVY = {
    "tensorflow": {"keras_import", "run_description", "fitting", "batches", "model_formats"},
    "tensorboard": {"event_files", "tensorboard_logs"},
    "keras": {"keras_import", "cnn", "efficientnet_lite0", "pure_cnn"},
    "matplotlib": {"drawing", "plots", "table_plots", "contact_sheet"},
    "pandas": {"summary_files"},
    "watchdog": {"folder_watch"},
    "honcho": set(),
    "nicegui": {"frame", "now_page", "parts", "put_in_page", "runs_page", "run_page", "server"},
}


def modules():
    """The path of each module of the project, by the name that it is imported with."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for pattern in ("*.py", "pipeline/**/*.py", "models/*.py")
        for path in ROOT.glob(pattern)
        if path.name != "__init__.py"
    }


def imports(path):
    """Names of the modules that a file imports anywhere in it, and of what it imports from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def libraries_of(path):
    return {name.split(".")[0] for name in imports(path)} - {"pipeline"}


def last(name):
    return name.rpartition(".")[2]


def test_it_looks_at_the_whole_house():
    assert len(modules()) > 40
    assert modules().keys() >= SCRIPTS
    assert sum(len(imports(path) & set(modules())) for path in modules().values()) > 100


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


def room_of(name):
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else name


def floor_of(name):
    return next(number for number, rooms in enumerate(FLOORS) if room_of(name) in rooms)


def test_no_room_uses_one_above_it_or_beside_it():
    ours = {name: path for name, path in modules().items() if not name.startswith("models.")}
    for name, path in ours.items():
        for used in imports(path) & set(ours):
            same = room_of(used) == room_of(name)
            assert same or floor_of(used) < floor_of(name), f"{name} uses {used}"


def test_a_room_is_small_enough_to_look_around():
    files = Counter(room_of(name) for name in modules() if name.startswith("pipeline."))
    assert len(files) > 5
    assert {room: count for room, count in files.items() if count > 12} == {}


def test_helper_needs_only_the_standard_library():
    assert libraries_of(ROOT / "helper.py") - {"constants"} <= sys.stdlib_module_names
    assert len((ROOT / "helper.py").read_text().splitlines()) <= 150


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_heavy_libraries_stay_in_their_rooms(library):
    users = {last(name) for name, path in modules().items() if library in libraries_of(path)}
    assert users - {"generate_raw_dataset"} <= HEAVY[library]
    assert users or not HEAVY[library]


def test_no_module_is_named_like_a_library():
    assert not {last(name) for name in modules()} & (sys.stdlib_module_names | set(HEAVY))


def test_modules_and_functions_stay_readable():
    for name, path in modules().items():
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) < 400, name
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno - node.lineno < 121, f"{name}.{node.name}"
        sorts = ast.FunctionDef | ast.AsyncFunctionDef
        functions = [node for node in ast.walk(tree) if isinstance(node, sorts)]
        for function in functions:
            assert function.end_lineno - function.lineno < 60, f"{name}.{function.name}"


@pytest.mark.parametrize(
    "script",
    sorted(SCRIPTS),
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


def at_the_top(statements):
    """What runs when a module is imported, but not as a script."""
    for statement in statements:
        if isinstance(statement, ast.Try):
            for block in (statement, *statement.handlers):
                yield from at_the_top(block.body)
        elif not (isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test)):
            yield statement


def is_there_for_what_it_does(statement):
    """A call, a loop or an assignment to what belongs to another module; no name, no definition."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        return not all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return not isinstance(statement, ast.Import | ast.ImportFrom | definitions)


def test_no_line_of_a_module_is_there_for_what_importing_it_does():
    for name, path in modules().items():
        for statement in at_the_top(ast.parse(path.read_text()).body):
            assert not is_there_for_what_it_does(statement), f"{name}, line {statement.lineno}"


# All libraries are imported first. Then each module is, in a process forked from that one.
STATE = """
import atexit, faulthandler, gc, importlib, json, locale, logging, multiprocessing, os, random
import signal, socket, sys, threading, warnings

def state():
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    return {
        "hooks": [sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook],
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "warnings": [list(warnings.filters), warnings.showwarning],
        "logging": [
            (one.name, list(one.handlers), list(one.filters), one.level, one.propagate)
            for one in loggers
            if isinstance(one, logging.Logger) and (one.handlers or one.filters or one.level)
        ],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "paths to import from": [list(sys.path), list(sys.meta_path), list(sys.path_hooks)],
        "threads": threading.enumerate(),
        "exits": atexit._ncallbacks(),
        "garbage": [gc.isenabled(), gc.get_threshold()],
        "recursion": sys.getrecursionlimit(),
        "locale": locale.setlocale(locale.LC_ALL),
        "time-out": socket.getdefaulttimeout(),
        "chance": random.getstate(),
        "processes": multiprocessing.get_start_method(allow_none=True),
        "preloaded": multiprocessing.forkserver._forkserver._preload_modules,
        "faults": faulthandler.is_enabled(),
    }

libraries, modules = json.loads(sys.argv[1])
import multiprocessing.forkserver
os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")  # as Keras has to be told
for library in libraries:
    importlib.import_module(library)
for module in modules:
    if not os.fork():
        before = state()
        importlib.import_module(module)
        after = state()
        changed = [what for what in before if before[what] != after[what]]
        os.write(1, f"{module}: {changed}\\n".encode())
        os._exit(0)
    os.wait()
"""


def libraries():
    """All that the modules import and that is not ours, however deep in a library it lies."""
    names = set()
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
    ours = {name.split(".")[0] for name in modules()}
    return sorted(name for name in names if name.split(".")[0] not in ours)


@pytest.mark.slow
def test_importing_a_module_changes_nothing():
    names = list(modules())
    ended = subprocess.run(
        [sys.executable, "-c", STATE, json.dumps([libraries(), names])],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [f"{name}: []" for name in names]
