"""An archive writes nothing outside its own folder, and one that is refused leaves nothing behind.

Hostile archives of every kind in each format, honest ones cut at each length or with bits flipped, and
unpackings that are stopped at each step. The interpreter itself reports what is written, and where.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import constants
from pipeline.data_folder import file_state
from pipeline.problem import RawDatasetError
from pipeline.raw_data.archives import unpack
from prove import Result, some, tried
from testkit.archives import FORMATS, HONEST, HOSTILE, archive, hostile

FLIPS = 4000  # in each format
EXPECTED = {name: content for name, _, content in HONEST}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime")
_heard: list[str] | None = None  # what was written, made or renamed


class Case(NamedTuple):
    suffix: str
    name: str
    content: bytes
    reason: str = ""  # why it is refused, if it has to be
    stop_at: int = 0  # the call of `progress` that ends it


def prove(full: bool) -> Result:
    _listen()
    constants.SMALL_ARCHIVE_BYTES = 2**20  # so that a bomb needs not be larger
    cases: list[Case] = []
    for suffix in FORMATS:
        honest = archive(suffix, HONEST)
        cases += some(list(_hostile(suffix)), full, 200)
        cases += some(list(_cut(suffix, honest)), full, 40)
        cases += some(list(_flipped(suffix, honest)), full, 60)
        cases += [Case(suffix, f"stopped at {at}", honest, stop_at=at) for at in range(1, 9)]
    with tempfile.TemporaryDirectory(prefix="prove-") as name:
        root = Path(name).resolve()
        (root / "secret").write_bytes(b"kept")
        figure = "{tried} archives, {broken} wrote elsewhere, left something or were taken wrongly"
        return tried(lambda case: _violation(root, case), cases, figure)


def _hostile(suffix: str) -> Iterator[Case]:
    for name, content, reason in hostile(suffix):
        yield Case(suffix, name, content, reason)


def _cut(suffix: str, honest: bytes) -> Iterator[Case]:
    for length in range(len(honest)):
        whole = suffix == ".tar" and length >= _end(honest)
        yield Case(suffix, f"cut at {length}", honest[:length], "" if whole else "not whole or")


def _end(tar: bytes) -> int:
    """Behind it lie zeros that nothing needs."""
    return -(-len(tar.rstrip(b"\0")) // 512) * 512 + 1024


def _flipped(suffix: str, honest: bytes) -> Iterator[Case]:
    draw = random.Random(suffix)
    for _ in range(FLIPS):
        content = bytearray(honest)
        places = [draw.randrange(len(honest)) for _ in range(draw.choice((1, 1, 1, 2, 9)))]
        for place in places:
            content[place] ^= 1 << draw.randrange(8)
        yield Case(suffix, f"flipped at {places}", bytes(content))


def _violation(root: Path, case: Case) -> str | None:
    dropped, unpacked = root / f"dropped{case.suffix}", root / "unpacked"
    dropped.write_bytes(case.content)
    unpacked.mkdir()
    into, before = unpacked / "pets", _tree(root)
    try:
        said, heard = _written_while(lambda: _unpack(dropped, into, case.stop_at))
        heard = [path for path in heard if path != str(unpacked)]  # it is to be there
        found = _judged(case, said, into, heard)
        if outside := [path for path in heard if unpacked not in Path(path).parents]:
            found = f"wrote {', '.join(outside)}"
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    shutil.rmtree(into, ignore_errors=True)
    if changed := {name for name, _ in before.items() ^ _tree(root).items()}:
        found = f"left or changed {', '.join(sorted(changed))}"
    shutil.rmtree(unpacked)
    return f"{case.suffix}, {case.name}: {found}" if found else None


def _judged(case: Case, said: str, into: Path, heard: list[str]) -> str:
    """What is wrong about that it was taken, or about how it was refused; nothing if all is well."""
    if said:
        if into.exists():
            return f"unpacked all the same: {said}"
        if case.reason not in said:
            return f"expected {case.reason!r}: {said}"
        return f"wrote before it refused: {said}" if case.name in HOSTILE and heard else ""
    if case.reason:
        return "was taken"
    paths = [path for path in into.rglob("*") if path.is_symlink() or not path.is_dir()]
    if not all(path.is_file() and not path.is_symlink() for path in paths):
        return "made something else than files"
    if case.suffix == ".tar" and "flipped" in case.name:
        return ""  # it has no checksum of what is in it
    content = {str(path.relative_to(into)): path.read_bytes() for path in paths}
    return "" if content == EXPECTED else "gave something else"


def _unpack(dropped: Path, into: Path, stop_at: int) -> str:
    """What is said of it; nothing if it was unpacked."""
    calls = 0

    def progress(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt

    try:
        unpack(dropped, into, progress)
    except RawDatasetError as error:
        return str(error)
    except KeyboardInterrupt:
        return "stopped"
    return ""


def _written_while(action: Callable[[], str]) -> tuple[str, list[str]]:
    global _heard
    heard = _heard = []
    try:
        return action(), heard
    finally:
        _heard = None


@cache
def _listen() -> None:
    sys.addaudithook(_hear)  # it cannot be removed again, only told not to listen


def _hear(event: str, arguments: tuple) -> None:
    if _heard is None or not (event in CHANGES or event == "open"):
        return
    if event == "open" and (isinstance(arguments[0], int) or not arguments[2] & WRITING):
        return
    paths = arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]
    _heard.extend(os.path.realpath(os.fsdecode(path)) for path in paths)


def _tree(root: Path) -> dict[str, tuple[int, ...]]:
    """The state of each file, and the name of each folder."""
    return {
        str(path.relative_to(root)): () if path.is_dir() else file_state(path.lstat())
        for path in root.rglob("*")
    }
