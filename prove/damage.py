"""Damage to a dataset, a checkpoint, a record or the state of a training never goes unnoticed.

Every single bit of each is flipped, and each is cut after every byte.
"""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from helper import UserError
from pipeline.artifacts import ledger
from pipeline.artifacts.checkpoint import load_checkpoint
from pipeline.artifacts.dataset import load_split
from pipeline.data_folder import description_path
from pipeline.training import training_state
from prove import Result, warm
from prove.account import key_of
from prove.scenes import BEGUN, CHECKPOINT, FIRST, prepared

CHUNK = 4096  # damages that one process tries
IN_SHORT = 211  # when not all are tried, every so many are

Case = tuple[Path, range]


def prove(full: bool) -> Result:
    files = _files()
    step = 1 if full else IN_SHORT
    cases = [
        (path, range(start, min(start + CHUNK, _damages(path)), step))
        for path in files
        for start in range(0, _damages(path), CHUNK)
    ]
    violations = [line for lines in warm.each(_unnoticed, cases) for line in lines]
    tried = sum(len(places) for _, places in cases)
    return Result(
        tried,
        tried - len(violations),
        f"{tried:,} flipped bits and cuts in {len(files)} files, {len(violations)} unnoticed",
        violations,
    )


def _files() -> list[Path]:
    first, begun, checkpoint = prepared(FIRST, BEGUN, CHECKPOINT)
    made = checkpoint.folder / "template" / "data"
    return [
        *made.glob("dataset/*.pkl"),
        *made.glob("model_checkpoints/*.pkl"),
        *(begun.folder / "template").rglob(training_state.FILE),
        *(one.scene.record(one.folder / "undisturbed") for one in (first, begun, checkpoint)),
    ]


def _reader(path: Path) -> Callable[[Path], object]:
    """How the stages read a file such as `path`."""
    if path.name == training_state.FILE:
        key = key_of(path)
        return lambda copy: training_state.load(copy.parent, key)
    if path.parent.name == "dataset":
        return lambda copy: load_split(copy, "train")
    return load_checkpoint if path.parent.name == "model_checkpoints" else ledger._read


def _damages(path: Path) -> int:
    """The damages to a file are numbered: a flip for each bit, then a cut for each byte."""
    return path.stat().st_size * 9


def _unnoticed(case: Case) -> list[str]:
    return warm.call(_unnoticed_here, case)


def _unnoticed_here(case: Case) -> list[str]:
    path, places = case
    read, lines = _reader(path), []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        if description_path(path).exists():
            shutil.copy(description_path(path), folder)
        read(copy)  # whole, it is read
        for place in places:
            with _damaged(copy, place) as what:
                try:
                    read(copy)
                    lines.append(f"{path.name}: {what} was not noticed")
                except (UserError, training_state.NothingToResume):
                    pass
                except Exception as error:
                    lines.append(f"{path.name}: {what} gave {type(error).__name__}: {error}")
    return lines


@contextmanager
def _damaged(path: Path, place: int):
    content = path.read_bytes()
    bits = len(content) * 8
    if place < bits:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
    else:
        path.write_bytes(content[: place - bits])
    try:
        yield f"bit {place} flipped" if place < bits else f"a cut after {place - bits} bytes"
    finally:
        path.write_bytes(content)
