"""The few small tools that every stage uses. Knows no stage; needs only the standard library."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import constants


class UserError(Exception):
    """Something only the user can put right, as one sentence: what was found where, what was
    expected, what to do. It is shown without a traceback."""


class UnusableFile(OSError):
    """Not a regular file, or too large: so it stays until somebody changes it."""


def open_regular(path: Path | str, flags: int) -> int:
    """An opener for `open()`: a regular file, or the one that a link leads to. It makes none through a link.

    A pipe is not waited for. The open file is asked what it is, as after a look `path` may be another.
    """
    return _opened(path, flags)[0]


def _opened(path: Path | str, flags: int) -> tuple[int, os.stat_result]:
    flags |= os.O_NONBLOCK | os.O_NOCTTY | (os.O_NOFOLLOW if flags & os.O_CREAT else 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.ENOENT) and os.path.islink(path)  # noqa: PTH114
        if link or error.errno in (errno.EISDIR, errno.ENXIO, errno.EOPNOTSUPP):
            raise _no_file(path, os.lstat(path).st_mode) from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status
    os.close(descriptor)
    raise _no_file(path, status.st_mode)


def _no_file(path: Path | str, mode: int) -> UnusableFile:
    types = {"d": "a folder", "p": "a pipe", "s": "a socket", "l": "a link to no file"}
    what = f"it is {types.get(stat.filemode(mode)[0], 'a device')}, expected a file"
    return UnusableFile(errno.EINVAL, what, str(path))


def read_file(path: Path | str, most: int, flags: int = os.O_RDONLY) -> bytes:
    """The content of a regular file of `most` bytes at the most."""
    descriptor, status = _opened(path, flags)
    try:
        content, size = b"", status.st_size
        if size <= most and len(content := os.read(descriptor, size + 1)) != size:
            while len(content) <= most and (part := os.read(descriptor, 2**24)):
                content += part  # it grows, or comes in parts
    except OSError as error:
        error.filename = str(path)  # only open() says it by itself
        raise
    finally:
        os.close(descriptor)
    if (size := max(size, len(content))) > most:
        what = f"it has {size:,} bytes, at most {most:,} are allowed"
        raise UnusableFile(errno.EFBIG, what, str(path))
    return content


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Write `path` so that it appears whole or not at all; if `durable`, also if the power fails.

    Yields a binary file that lies beside `path` until the block ends. If the block or the disk
    fails, nothing is left behind and an older `path` stays as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb", opener=open_regular) as file:
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
        if partial.is_symlink() or not partial.is_dir():
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict, durable: bool = True) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path, durable) as file:
        # A lone surrogate (half a character, as a file name can hold) has no UTF-8 form.
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def sha256_of(path: Path) -> str:
    with open(path, "rb", opener=open_regular) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: object) -> str:
    """SHA-256 of plain content (dicts, lists, text, numbers), whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
