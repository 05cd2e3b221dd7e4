"""The few small tools that every stage uses. Knows no stage; needs only the standard library."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import constants


class UserError(Exception):
    """Something only the user can put right, as one sentence: what was found where, what was
    expected, what to do. It is shown without a traceback."""


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Write `path` so that it appears whole or not at all; if `durable`, also if the power fails.

    Yields a binary file that lies beside `path` until the block ends. If the block or the disk
    fails, nothing is left behind and an older `path` stays as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())  # without it a power loss leaves the name with 0 bytes
        os.replace(partial, path)
        if durable:
            flush_folder(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)  # a write that failed does not say where
        raise


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power loss, as fsync does for a file's content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(folder: Path) -> None:
    """Remove what a killed process left half-written. Call it only while holding the stage's lock."""
    for partial in folder.glob(".*.partial"):
        if partial.is_file():
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict, durable: bool = True) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path, durable) as file:
        # A lone surrogate (half a character, as a file name can hold) has no UTF-8 form.
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def read_json(path: Path) -> dict:
    """The object in `path`, or {} where there is none.

    Raises:
        OSError: the disk does not give it for now, which is not to say that there is none.
    """
    try:
        with reading(path):
            return json_object(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """An OSError in the block says that it is about `path`; only open() does so by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def json_object(text: bytes) -> dict:
    """The object that `text` spells, or {} where it spells none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def description_path(pickle_path: Path) -> Path:
    """Where the description beside a pickle is: `<name>.json` for `<name>.pkl`."""
    return pickle_path.with_suffix(".json")


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: object) -> str:
    """SHA-256 of plain content (dicts, lists, text, numbers), whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def time_name(taken: Iterable[str]) -> str:
    """A name made of the local time that comes after every name in `taken`.

    Two drops in one clock tick, or a clock that was set back, still give increasing names.
    """
    now = datetime.now()
    for name in taken:
        try:
            used = datetime.strptime(name, constants.TIME_NAME)
            now = max(now, used + timedelta(microseconds=1))
        except (ValueError, OverflowError):
            continue  # a file that somebody named by hand
    return now.strftime(constants.TIME_NAME)


def printable(text: object) -> str:
    """`text` on one line, with control characters (newlines, ANSI escapes, direction marks) spelled out."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in str(text)
    )


def shown(path: Path) -> str:
    """`path` as a person in the project's folder would type it."""
    try:
        path = path.relative_to(constants.ROOT)
    except ValueError:
        pass
    return printable(path)
