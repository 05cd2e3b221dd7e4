"""A row of a groundtruth.csv cannot reach outside its split's folder.

Paths of all kinds, absolute, upwards, encoded, are written into a row, and where they lead lies a
file, a link, a pipe or a device. The interpreter itself reports what is opened.
"""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from helper import printable
from pipeline.problem import RawDatasetError
from pipeline.raw_data.folder_scan import scan
from pipeline.raw_data.ingestion_settings import IngestionSettings
from pipeline.raw_data.layouts import recognize
from pipeline.raw_data.raw_dataset import read
from prove import Result
from testkit.processes import patience
from testkit.raw_datasets import make_raw_dataset

LONGEST = 20.0  # seconds; what takes longer waits for a pipe, or reads a device without an end
NAME = "secret.png"
UP = ("..", "../..", "../../..", ".", "./..", "../test", "../train/..", "../train/../..", "link")
SPELT = (
    "{up}/{name}",
    "{up}//{name}",
    "{up}\\{name}",
    "{up}/train/{name}",
    "{up}\\train\\{name}",
    "train/{up}/{name}",
    "train/{up}/train/{name}",
    "train\\{up}\\{name}",
    "/{up}/{name}",
    "~/{up}/{name}",
    "{up}%2f{name}",
    "{up}\u2215{name}",
    "{up}\uff0f{name}",
    " {up}/{name} ",
    "{up}/{name}/.",
    "{up}/{name}\n",
    "a.png/{up}/{name}",
    "file://{up}/{name}",
    "{root}/{up}/{name}",
    "{root}/raw/{up}/{name}",
    "{root}/raw/train/{up}/{name}",
    "C:{up}\\{name}",
    "\\\\?\\{up}\\{name}",
)
ALONE = (
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "..",
    ".",
    "/",
    "~",
    ".png",
    "..png",
    "../.png",
    "$HOME/secret.png",
    "x" * 5000 + ".png",
    "../" * 2000 + "secret.png",
    NAME,
    f"train/{NAME}",
    f"TRAIN/{NAME}",
    f"test/{NAME}",
)
PATHS = (*dict.fromkeys(spelt.replace("{up}", up) for spelt in SPELT for up in UP), *ALONE)
# Where a path may lead: beside the raw dataset, in it, in the other split, in the split itself.
PLACES = ("", "raw", "raw/test", "raw/train")
_heard: list[tuple[str, bool]] | None = None  # what was opened, and whether links are followed


def prove(full: bool) -> Result:
    _listen()
    paths = PATHS if full else PATHS[::11]
    violations = []
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        root = Path(folder).resolve()
        for kind, put in KINDS.items():
            for found in _violations(root / kind, put, paths):
                violations.append(f"{kind}: {found}")
    tried = len(paths) * len(KINDS)
    figure = f"{len(paths)} paths x {len(KINDS)} kinds, {len(violations)} opens outside or hangs"
    return Result(tried, tried - len(violations), figure, violations)


def _violations(root: Path, put: Callable[[Path], None], paths: tuple[str, ...]) -> Iterator[str]:
    """A line for each path that reaches outside, or is waited for."""
    raw = make_raw_dataset(root / "raw", train=6, test=3)
    _read(raw)  # what it imports counts as little as what it is to read,
    printable("\t")  # and so does what spells a character out
    shutil.copy(raw / "train" / "000000.png", root / "kept")
    (raw / "train" / "link").symlink_to(root)
    for place in PLACES:
        put(root / place / NAME)
    table = raw / "train" / "groundtruth.csv"
    honest = table.read_text()
    with open(raw / "test" / "groundtruth.csv", "a") as file:
        file.write(f"{NAME},0\n")  # an image without a row would keep all from being read
    for path in paths:
        quoted = path.format(root=root, name=NAME).replace('"', '""')
        table.write_text(f'{honest}"{quoted}",0\n')
        heard, ended = _opened_while(lambda: _read(raw))
        outside = [name for name, follows in heard if not _is_inside(name, follows, raw)]
        if outside or not ended:
            yield f"{path[:80]!r}: " + ("opened " + ", ".join(outside) if outside else "it hangs")


def _read(raw: Path) -> None:
    """As a stage does; and as if all had changed after it looked."""
    look = scan(raw)
    for _ in range(2):
        with suppress(RawDatasetError):
            read(raw, look, recognize(raw, look), IngestionSettings(8), lambda _: None)
        for path, folder in look.folders.items():
            files = {**folder.files, **dict.fromkeys(folder.others, (1, 1, 1, 1))}
            look.folders[path] = replace(folder, files=files, others=[])


def _opened_while(action: Callable[[], None]) -> tuple[list[tuple[str, bool]], bool]:
    """What `action` opens, and whether it comes to an end."""
    global _heard
    heard = _heard = []
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(patience(LONGEST))
    _heard = None
    return heard, not thread.is_alive()


def _is_inside(name: str, follows: bool, raw: Path) -> bool:
    """Whether `name` is spelt as a file in a split's own folder, and is no link that is followed."""
    path = Path(name)
    return path.parent in (raw / "train", raw / "test") and not (follows and path.is_symlink())


@cache
def _listen() -> None:
    sys.addaudithook(_hear)  # it cannot be removed again, only told not to listen


def _hear(event: str, arguments: tuple) -> None:
    if _heard is None or event != "open" or isinstance(arguments[0], int):
        return
    name, follows = os.fsdecode(arguments[0]), not arguments[2] & os.O_NOFOLLOW
    if not follows and _heard and _heard[-1] == (name, True):
        _heard.pop()  # open() is heard before the opener that it was given
    _heard.append((name, follows))


def _file(path: Path) -> None:
    shutil.copy(
        next(parent for parent in path.parents if (parent / "kept").exists()) / "kept", path
    )


def _link(path: Path) -> None:
    path.symlink_to(next(parent for parent in path.parents if (parent / "kept").exists()) / "kept")


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o20644, Path("/dev/zero").stat().st_rdev)
    except PermissionError:  # only root makes devices
        path.symlink_to("/dev/zero")


KINDS: dict[str, Callable[[Path], None]] = {
    "file": _file,
    "link": _link,
    "pipe": os.mkfifo,
    "device": _device,
}
