"""The system calls of a stage on its data folder: recorded, and made to kill or to fail, by strace."""

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import constants
from prove import Missing

# By what they do; "?" is for those that not every kind of processor has.
CHANGING = """
    ?open ?creat openat write pwrite64 writev ftruncate fallocate fsync fdatasync fchmod
    ?rename renameat ?renameat2 ?unlink unlinkat ?mkdir mkdirat ?rmdir ?link linkat ?symlink
    symlinkat ?mknod mknodat truncate ?chmod fchmodat utimensat
"""
READING = "read pread64 getdents64 ?stat ?lstat ?newfstatat ?statx ?readlink readlinkat"
OPENING = ("open", "openat")
TO_WRITE = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")
WITH_CONTENT = ("write", "pwrite64", "writev", "read", "pread64")  # their text is no path

LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(.*)")
END = re.compile(r"\) += (-?\d+|\?)")
TEXT = r"((?:\\x..)*)"
# 5<path>, AT_FDCWD<path> or "text", each character as \x..
ARGUMENT = re.compile(rf'(?:\d+|AT_FDCWD)<{TEXT}>|"{TEXT}"')


def need_strace() -> None:
    if shutil.which("strace") is None:
        raise Missing("strace is not here. Install it: sudo apt-get install strace.")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode:
        raise Missing("strace may follow no process here. Allow it, or run it as root.")


@dataclass(frozen=True)
class Call:
    """One system call and what came of it."""

    process: int
    name: str
    paths: tuple[str, ...]  # what it is about; for a rename the old name and the new one
    known_as: tuple[str, ...]  # the paths by which strace finds it
    content: bytes  # what a write wrote
    arguments: str
    result: int

    @property
    def changes(self) -> bool:
        if self.name in OPENING:
            return any(flag in self.arguments for flag in TO_WRITE)
        return self.name in CHANGING.replace("?", "").split()


@dataclass(frozen=True)
class Point:
    """The `number`th call of `name` on `path` (in the work folder) that one process makes."""

    process: int  # 0 is the stage, 1 its process apart, 2 a thread of the stage that reads its last words
    name: str
    path: str
    number: int

    def inject(self, folder: Path, what: str) -> list[str]:
        """Options for strace: `what` happens to this call and to no other."""
        return [
            *("-e", f"trace={self.name}", "-P", str(folder / self.path)),
            *("-e", f"inject={self.name}:{what}:when={self.number}"),
        ]

    def __str__(self) -> str:
        who = ("stage", "process apart", "stage's thread")[self.process]
        return f"{self.name} no. {self.number} of the {who} on {self.path}"


def record(log: Path, reading: bool = False) -> list[str]:
    """Options for strace: the calls that change something go to `log`, with all that they write.

    With `reading`, those that read as well; then without what is read and written.
    """
    names = ",".join(f"{CHANGING} {READING if reading else ''}".split())
    shown = "0" if reading else "100000000"
    return ["-y", "-xx", "-s", shown, "-e", f"trace={names}", "-o", str(log)]


def calls_in(log: Path, folder: Path) -> list[Call]:
    """The calls in what `record` recorded that are about something in `folder`.

    But for the status: a thread writes it when it comes to it, never at the same place twice.
    """
    begun: dict[str, str] = {}
    found = []
    for line in log.read_text().splitlines():
        parts = LINE.match(line)
        if not parts:
            continue  # a signal or the end of a process
        process, name, rest = parts.groups()
        if rest.endswith("<unfinished ...>"):
            begun[process] = rest
            continue
        call = _call(int(process), name, begun.pop(process, "") + rest)
        if call and any(_is_about(Path(path), folder) for path in call.paths):
            found.append(call)
    return found


def _is_about(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) and constants.STATUS not in path.parts


def _call(process: int, name: str, text: str) -> Call | None:
    end = END.search(text)
    if not end or end[1] == "?":
        return None
    arguments = text[: end.start()]
    paths, known_as, content, place = [], [], b"", ""
    for placed, given in ARGUMENT.findall(arguments):
        if placed:
            place = _bytes(placed).decode()
            known_as.append(place)
        elif name in WITH_CONTENT:
            content += _bytes(given)
        else:
            paths.append(str(Path(place) / _bytes(given).decode()))
            known_as.append(_bytes(given).decode())
    return Call(
        process, name, tuple(paths) or (place,), tuple(known_as), content, arguments, int(end[1])
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def points(calls: list[Call], folder: Path) -> list[Point]:
    """Where each of `calls` is found by strace again."""
    processes = list(dict.fromkeys(call.process for call in calls))
    seen: Counter[tuple] = Counter()
    found = []
    for call in calls:
        process = processes.index(call.process)
        known = [Path(path) for path in call.known_as if Path(path).is_relative_to(folder)]
        seen.update((process, call.name, path) for path in set(known))
        path = known[0].relative_to(folder)
        found.append(Point(process, call.name, str(path), seen[process, call.name, known[0]]))
    return found
