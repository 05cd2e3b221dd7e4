"""Unpack an archive that was dropped in, a zip or a tar, compressed or not; or refuse it by name.

All that an archive says of itself is checked before a byte is written, and what it holds is counted
again while it is written: always into new files, under paths made of names that were checked.
"""

import errno
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import constants
from helper import UnusableFile, open_regular, printable
from pipeline.archive_formats.member import FILE, FOLDER, Member, Refused
from pipeline.archive_formats.tar_reader import read_tar
from pipeline.archive_formats.zip_reader import BEGINNINGS, read_zip, zip_content
from pipeline.data_folder import archive_suffix
from pipeline.problem import Problem, RawDatasetError
from pipeline.raw_data.litter import is_litter

CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
DRIVE = re.compile(r"[A-Za-z]:")
MOST_SHOWN = 200  # characters of a member's name
CURES = {
    "damaged": "If it is still being copied, wait; else copy it again.",
    "no_room": "Make room, then drop it again.",
}
OTHER_CURE = "Unpack it yourself, and drop the folder with the images."

Contents = Iterable[tuple[Member, str, Iterator[bytes]]]  # of each member its path below the folder
Progress = Callable[[int], object]


def is_archive(name: str) -> bool:
    """Whether a file of this name is one; its content then says of which format."""
    return 0 < len(archive_suffix(name)) < len(name)


def unpack(archive: Path, into: Path, progress: Progress = lambda files: None) -> None:
    """Unpack `archive` into the folder `into`, which appears whole or not at all; litter stays packed.

    `progress` is called with the number of files that were written since its last call, often with 0.

    Nothing is flushed to the disk: what a power loss leaves is for remove_leftovers().

    Raises:
        RawDatasetError: the archive is damaged, or holds what is not to be unpacked.
        FileExistsError: `into` is there already.
    """
    if os.path.lexists(into):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(into))
    into.parent.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(into.parent).free - constants.SPARE_DISK_BYTES
    try:
        with _opened(archive) as descriptor:
            _write(_checked(descriptor, room, progress), into, progress)
    except Refused as refused:
        raise RawDatasetError([_problem(refused, archive)]) from None


def remove_leftovers(folder: Path) -> None:
    """Remove `folder`, where archives are unpacked, and all that is in it, as far as that is possible.

    Call it only while holding the stage's lock.
    """
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator[int]:
    try:
        descriptor = open_regular(archive, os.O_RDONLY | os.O_NOFOLLOW)
    except UnusableFile as error:
        reason = "it is a link, expected a file" if archive.is_symlink() else error.strerror
        raise Refused("not_a_file", f"cannot be opened: {reason}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _problem(refused: Refused, archive: Path) -> Problem:
    member = printable(refused.member[:MOST_SHOWN])
    of = f': "{member}"' if member else ""
    text = f"{printable(archive.name)}{of} {refused.reason}."
    return Problem(refused.kind, text, CURES.get(refused.kind, OTHER_CURE), file=member)


def _checked(descriptor: int, room: int, progress: Progress) -> Contents:
    """What to unpack, once all of it was checked."""
    packed = os.fstat(descriptor).st_size
    names = Names(packed, room)
    if os.pread(descriptor, 4, 0) in BEGINNINGS:
        members = [(member, names.check(member)) for member in read_zip(descriptor)]
        contents: Contents = (
            (member, path, zip_content(descriptor, member)) for member, path in members if path
        )
    else:
        for _ in _tar_contents(descriptor, names, progress):
            pass  # what a tar holds is known once it was read to its end
        contents = _tar_contents(descriptor, Names(packed, room), progress)
    if not names.files:
        raise Refused("empty", "holds no file to unpack")
    return contents


def _tar_contents(descriptor: int, names: "Names", progress: Progress) -> Contents:
    def limit(size: int) -> None:
        names.limit(size)
        progress(0)

    for member, content in read_tar(descriptor, limit):
        if path := names.check(member):
            yield member, path, content


def _write(contents: Contents, into: Path, progress: Progress) -> None:
    partial = tempfile.mkdtemp(prefix=".", suffix=".partial", dir=into.parent)
    try:
        os.chmod(partial, 0o755)  # noqa: PTH101
        folders = {""}
        for member, path, content in contents:
            folder = path if member.what == FOLDER else path.rpartition("/")[0]
            if folder not in folders:
                os.makedirs(f"{partial}/{folder}", 0o755, exist_ok=True)  # noqa: PTH103
                folders.add(folder)
            if member.what == FILE:
                _write_file(f"{partial}/{path}", content, progress)
                progress(1)
        os.rename(partial, into)  # noqa: PTH104
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_file(path: str, content: Iterator[bytes], progress: Progress) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o644)
    try:
        for piece in content:
            while (written := os.write(descriptor, piece)) < len(piece):
                piece = piece[written:]
            progress(0)
    except OSError as error:
        error.filename = error.filename or path  # only open() says it by itself
        raise
    finally:
        os.close(descriptor)


class Names:
    """The names and sizes in an archive; it refuses the first that must not be unpacked beside the others."""

    def __init__(self, packed: int, room: int):
        """Of an archive of `packed` bytes, where the disk has `room` for so many."""
        compression = constants.MOST_COMPRESSION * packed + constants.SMALL_ARCHIVE_BYTES
        self.most_bytes = min(compression, constants.MOST_UNPACKED_BYTES)
        self.room = room
        self.entries = self.bytes = self.name_bytes = 0
        self.files = 0
        # By NFC and casefold of each part of a path: the part itself, and what is in the folder.
        self._tree: dict[str, Any] = {}

    def check(self, member: Member) -> str:
        """The path of `member` below the folder that it is unpacked into, "" for what is not unpacked."""
        parts = safe_parts(member.name)
        self._count(member)
        *folders, last = parts or ["."]  # as a tar of a whole folder begins
        if is_litter(last, member.what == FOLDER) or any(is_litter(one, True) for one in folders):
            return ""
        if member.what not in (FILE, FOLDER):
            raise Refused("unsafe", f"is {member.what}, expected files and folders", member.name)
        self._claim(member, parts)
        self.files += member.what == FILE
        return "/".join(parts)

    def _count(self, member: Member) -> None:
        self.entries += 1
        self.name_bytes += len(member.name)
        self.bytes += member.size
        self.room -= -(-member.size // constants.DISK_BLOCK_BYTES) * constants.DISK_BLOCK_BYTES
        many = self.entries > constants.MOST_UNPACKED_FILES
        if many or self.name_bytes > constants.MOST_DIRECTORY_BYTES:
            raise Refused("too_large", "holds more files and folders than are allowed")
        self.limit(self.bytes)
        if self.room < 0:
            reason = f"needs more than the {constants.SPARE_DISK_BYTES >> 20} MB"
            raise Refused("no_room", f"{reason} less than the disk has free")

    def limit(self, size: int) -> None:
        """Refuse more than so many bytes, unpacked."""
        if size > self.most_bytes:
            what = f"gives more than {self.most_bytes:,} bytes, the most for an archive of its size"
            raise Refused("too_large", what)

    def _claim(self, member: Member, parts: list[str]) -> None:
        level: dict[str, Any] = self._tree
        last = len(parts) - 1
        for number, part in enumerate(parts):
            is_folder = number < last or member.what == FOLDER
            key = part.lower() if part.isascii() else _folded(part)
            if (known := level.get(key)) is None:
                known = level[key] = (part, {} if is_folder else None)
                self.entries += number < last
            elif known[0] != part:
                reason = f'is, but for case or Unicode form, "{printable(known[0])}", which it holds, too'
                raise Refused("unsafe", reason, "/".join(parts[: number + 1]))
            elif known[1] is None or not is_folder:
                both = known[1] is not None or is_folder
                reason = "is a file and also a folder" if both else "is in it twice"
                raise Refused("unsafe", reason, "/".join(parts[: number + 1]))
            if known[1] is not None:
                level = known[1]


def _folded(part: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def safe_parts(name: str) -> list[str]:
    """The parts of the path that `name` is.

    Raises:
        Refused: it could lead elsewhere on this system or another, or is too long.
    """
    reason = ""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if CONTROL.search(name):
        reason = "has a control character in its name"
    elif "\\" in name:
        reason = "has a backslash in its name, expected / between folders"
    elif name.startswith("/") or DRIVE.match(name):
        reason = "has an absolute name"
    elif ".." in parts:
        reason = 'leads out of its folder by ".."'
    elif len(name.encode("utf-8", "surrogatepass")) > constants.MOST_MEMBER_NAME_BYTES or any(
        len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts
    ):
        reason = "has too long a name"
    elif len(parts) > constants.DEEPEST_MEMBER:
        reason = "lies too many folders deep"
    if reason:
        raise Refused("unsafe", reason, name)
    return parts
