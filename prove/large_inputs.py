"""No dropped file makes its reader take memory or time out of all proportion, however it is made.

Files of the shapes that parsers are worst at, as large as is allowed and larger; each is read in a
process of its own, whose memory and processor time the kernel limits.

    python -m prove.large_inputs SHAPE FILE     read one
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import constants
from prove import Result, some, tried

MEMORY, SECONDS = 2**30, 60  # for what is allowed; a reader alone takes 0.1 GB
SET, MODEL = constants.MOST_SET_BYTES, constants.MOST_MODEL_BYTES
JSON, RECORD, TABLE = constants.MOST_JSON_BYTES, constants.MOST_RECORD_BYTES // 4, 2**23
Shape = tuple[str, int, str, str, str]  # reader, most bytes, beginning, what is repeated, end
SHAPES: dict[str, Shape] = {
    "dotted key": ("set", SET, "a", ".a", "=1"),
    "dotted header": ("set", SET, "[a", ".a", "]"),
    "dotted key behind a quote": ("set", SET, '"#"', ".a", "=1"),
    "dotted key in a table": ("set", SET, 'x = ["""\n#""", {a', ".a", "=1}]"),
    "lines of dotted keys": ("set", SET, "", f"a{'.a' * 60}=1\n", ""),
    "nested arrays": ("set", SET, "a=", "[", ""),
    "seeds": ("set", SET, "seeds=[", "1,", "2]"),
    "nested seeds": ("set", SET, "seeds=", "[", ""),
    "nested tables": ("set", SET, "a=", "{a=", ""),
    "parentheses": ("model", MODEL, "PRIORITY=", "(", "1"),
    "signs": ("model", MODEL, "PRIORITY=", "-", "1"),
    "sums": ("model", MODEL, "PRIORITY=1", "+1", ""),
    "attributes": ("model", MODEL, "PRIORITY=a", ".a", ""),
    "calls": ("model", MODEL, "PRIORITY=a", "()", ""),
    "branches": ("model", MODEL, "if 1: pass\n", "elif 1: pass\n", ""),
    "statements": ("model", MODEL, "", "1;", ""),
    "list of lists": ("json", JSON, '{"a": [', "[],", "[]]}"),
    "list of tables": ("json", JSON, '{"class_names": [', "{},", "{}]}"),
    "deep lists": ("json", JSON, '{"a": ', "[", ""),
    "digits": ("json", JSON, '{"a": ', "9", "}"),
    "record of lists": ("record", RECORD, "", "]", "."),
    "record without an end": ("record", RECORD, "", "\0", ""),
    "rows of one column": ("table", TABLE, "a.png,0\n", "b\n", ""),
    "rows of no image": ("table", TABLE, "a.png,0\n", "b,0\n", ""),
    "rows of one image": ("table", TABLE, "", "a.png,0\n", ""),
    "rows of absent files": ("labels", TABLE, "a.png,0\n", "b,0\n", ""),
    "rows of two labels": ("labels", TABLE, "a.png,0\n", "a,1\n", ""),
    "rows of different labels": ("labels", TABLE, "f,label,x\na.png,0,1\n", "b.png,1,2\n", ""),
    "records": ("labels", TABLE, "{}\n", '{"":1}\n', ""),
    "record of lists in a table": ("labels", TABLE, '{"a":', "[],", "[]]}"),
    "columns": ("labels", TABLE, "a.png", ",0", "\nb.png,1"),
    "one cell": ("table", TABLE, "a.png,", "x", ""),
    "commas": ("table", TABLE, "a.png,0\n", ",", ""),
    "quotes": ("table", TABLE, 'a.png,"', '""', '"'),
    "last words in one line": ("log", 2**30, "", "x", ""),
    "state in one line": ("state", 2**30, "", "x", ""),
}  # fmt: skip


def prove(full: bool) -> Result:
    cases = [(name, times) for times in (1, 4) for name in SHAPES]
    figure = "{tried} large files, {broken} took more than" + f" {MEMORY >> 20:,} MB or {SECONDS} s"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tried(_violation, some(cases, full, 9), figure, pool.map)


def _violation(case: tuple[str, int]) -> str | None:
    name, times = case
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        path = Path(folder) / "file"
        _write(path, SHAPES[name], times)
        command = [sys.executable, "-m", "prove.large_inputs", name, str(path)]
        ended = subprocess.run(command, cwd=constants.ROOT, capture_output=True, text=True)
    if ended.returncode:
        said = ended.stderr.strip()[-300:]
        return f"{name}, {times} times what is allowed: {ended.returncode} {said}"
    return None


def _write(path: Path, shape: Shape, times: int) -> None:
    _, most, begin, repeated, end = shape
    count = (most - len(begin) - len(end)) // len(repeated) * times
    with open(path, "w") as file:
        file.write(begin)
        while count > 0:
            file.write(repeated * min(count, 2**20))
            count -= 2**20
        file.write(end)


def _set(path: Path) -> None:
    from pipeline.artifacts.hyperparameters import read_hyperparameters

    read_hyperparameters(path)


def _model(path: Path) -> None:
    from pipeline.training.run_queue import RunQueue

    RunQueue(path.parent)._model(path)


def _json(path: Path) -> None:
    from pipeline.artifacts.metadata import DatasetDescription, said_in

    DatasetDescription.of(said_in(path))


def _record(path: Path) -> None:
    from pipeline.artifacts.ledger import entries_in

    assert not entries_in(path)


def _table(path: Path) -> None:
    from pipeline.images.image_reader import read_raw
    from pipeline.raw_data.groundtruth import read_rows

    read_rows(read_raw(str(path), constants.MOST_TABLE_BYTES), "train", {"a.png"})


def _labels(path: Path) -> None:
    from pipeline.images.image_reader import read_raw
    from pipeline.tables.columns import Columns, find_columns
    from pipeline.tables.file_index import FileIndex
    from pipeline.tables.reader import read_table
    from pipeline.tables.rows import labelled_rows

    content, index = read_raw(str(path), constants.MOST_TABLE_BYTES), FileIndex({"a.png"})
    table = read_table(content, "t.jsonl" if content.startswith(b"{") else "t.csv")
    columns = find_columns(table, index)
    if isinstance(columns, Columns):
        labelled_rows(table, columns, index)


def _log(path: Path) -> None:
    from pipeline.stage.child_processes import _last_words

    assert _last_words(path)


def _state(path: Path) -> None:
    from pipeline.training import training_state

    folder = path.rename(path.with_name(training_state.FILE)).parent
    assert not training_state.progress(folder, "key").epochs


READERS: dict[str, Callable[[Path], None]] = {
    "set": _set,
    "model": _model,
    "json": _json,
    "record": _record,
    "table": _table,
    "labels": _labels,
    "log": _log,
    "state": _state,
}


def main(name: str, path: str) -> None:
    from helper import UserError

    # Address space, which the libraries alone take some of, and what they may keep of it.
    resource.setrlimit(resource.RLIMIT_AS, (8 * MEMORY, 8 * MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    with suppress(UserError, OSError):
        READERS[SHAPES[name][0]](Path(path))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if most > MEMORY:
        sys.exit(f"{most >> 20:,} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
