"""What the page is given: kept in data/.incoming until it is whole, then renamed to where it belongs.

An upload is known by what it is of, so a second try finds what came the first time. Each file is a
part, `parts/<number>`, until its last byte is there; then it has its name below `files/`.
"""

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import constants
from helper import UserError, digest_of, flush_folder, printable, read_file, shown, write_json
from pipeline.archive_formats.member import FILE, Member, Refused
from pipeline.data_folder import DataFolder
from pipeline.json_values import json_object, list_in, text_in
from pipeline.raw_data.archives import Names, is_archive, safe_parts
from pipeline.raw_data.litter import is_litter
from pipeline.stage.text import count
from pipeline.tables.file_index import is_image

DATASET, IMAGES = "dataset", "images"
KEY = re.compile(r"[0-9a-f]{32}")
MANIFEST = "manifest.json"
Chunks = AsyncIterator[bytes]
InThread = Callable[..., Awaitable[object]]


class Conflict(UserError):
    """What is asked for does not go with what is there."""


class Unknown(UserError):
    """There is no such upload."""


class TooMuch(UserError):
    """More came than was announced, or than is allowed."""


@dataclass
class Upload:
    """What is to come: a folder called `name` with `files`, or one file of that name.

    files: path below the folder and size of each; litter, which is not sent, has the path "".
    """

    key: str
    sort: str
    name: str
    is_folder: bool
    folder: Path  # in .incoming
    files: list[tuple[str, int]]
    busy: set[int] = field(default_factory=set)  # numbers of the files that are being received

    def part(self, number: int) -> Path:
        return self.folder / "parts" / str(number)

    @property
    def content(self) -> Path:
        """Where the whole files are; the folder or the file that gets the name in the end."""
        return self.folder / "files" / (self.name if not self.is_folder else "")

    def whole(self, number: int) -> Path:
        return self.content / self.files[number][0] if self.is_folder else self.content

    def received(self, number: int) -> int:
        """How many bytes of a file are there."""
        for path in (self.whole(number), self.part(number)):
            try:
                return path.lstat().st_size
            except OSError:
                continue
        return 0

    def is_whole(self, number: int) -> bool:
        return not self.files[number][0] or os.path.lexists(self.whole(number))

    def needed(self) -> list[tuple[int, int]]:
        """The number of each file that is not whole yet, with how much of it is there."""
        return [
            (number, self.received(number))
            for number in range(len(self.files))
            if not self.is_whole(number)
        ]


class Incoming:
    """All uploads into one data folder. Its methods wait for the disk: call them in a thread."""

    def __init__(self, data: DataFolder):
        self.data, self.folder = data, data.incoming
        self._known: dict[str, Upload] = {}

    def begin(self, sort: str, name: str, is_folder: bool, files: list[tuple[str, int]]) -> Upload:
        """The upload of these files; the same as before, if it was begun before.

        Raises:
            UserError: the name or a path is not allowed, or is taken, or there is no room.
        """
        check_name(sort, name, is_folder)
        if sort == DATASET and os.path.lexists(target := self._target(sort, name)):
            raise Conflict(f"{shown(target)} is there already. Give it another name.")
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = checked_files(self.folder, files) if is_folder else [(name, files[0][1])]
        key = digest_of([sort, name, is_folder, files])[:32]
        upload = Upload(key, sort, name, is_folder, self.folder / key, paths)
        for folder in (upload.folder / "parts", upload.folder / "files"):
            folder.mkdir(parents=True, exist_ok=True)
        said = {"sort": sort, "name": name, "is_folder": is_folder, "files": upload.files}
        write_json(upload.folder / MANIFEST, said, durable=False)
        return self._known.setdefault(key, upload)

    def known(self, key: str) -> Upload | None:
        """An upload that this process knows already: that takes no look at the disk."""
        return self._known.get(key)

    def get(self, key: str) -> Upload:
        """
        Raises:
            Unknown: there is none, or it was cancelled.
        """
        if KEY.fullmatch(key) and (known := self._known.get(key) or read_upload(self.folder / key)):
            return self._known.setdefault(key, known)
        raise Unknown("This upload is not known any more. Begin it again.")

    async def receive(
        self, upload: Upload, number: int, start: int, chunks: Chunks, in_thread: InThread
    ) -> int:
        """Write what comes of one file from byte `start` on; returns how much of it is there then.

        Raises:
            Conflict: it goes on elsewhere, or begins where the part does not end.
            TooMuch: it has more bytes than were announced. The part goes.
        """
        if not 0 <= number < len(upload.files) or upload.is_whole(number):
            raise Conflict("This file is there already, or was not announced.")
        if number in upload.busy:
            raise Conflict("This file is being sent already, perhaps in another window.")
        upload.busy.add(number)
        try:
            size = upload.files[number][1]
            with opened_part(upload.part(number), start) as descriptor:
                async for chunk in chunks:
                    start += len(chunk)
                    if start > size:
                        upload.part(number).unlink(missing_ok=True)
                        raise TooMuch(f"More came than was announced ({count(size, 'byte')}).")
                    await in_thread(self._take, upload, number, descriptor, chunk, start == size)
            if not size:
                await in_thread(self._complete, upload, number)
            return start
        except FileNotFoundError:
            raise Unknown("This upload was cancelled.") from None
        finally:
            upload.busy.discard(number)

    def finish(self, upload: Upload) -> Path:
        """Rename what came to where it belongs, never over anything; returns where it is then.

        Raises:
            Conflict: it is not whole yet, or the name is taken.
        """
        if needed := upload.needed():
            raise Conflict(f"Not whole yet: {len(needed):,} of {count(len(upload.files), 'file')}.")
        target = self._target(upload.sort, upload.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if upload.sort == IMAGES:
            target = free_name(target)
        os.sync()  # before it has its name: a power loss must not leave the name with holes in it
        move_to_new(upload.content, target)
        flush_folder(target.parent)
        self.cancel(upload)
        return target

    def cancel(self, upload: Upload) -> None:
        self._known.pop(upload.key, None)
        shutil.rmtree(upload.folder, ignore_errors=True)

    def remove_stale(self) -> None:
        """Remove what nobody went on with for days."""
        oldest = time.time() - constants.INCOMING_KEPT
        for path in self.folder.glob("*"):
            if KEY.fullmatch(path.name) and path.lstat().st_mtime < oldest:
                self._known.pop(path.name, None)
                shutil.rmtree(path, ignore_errors=True)

    def _take(
        self, upload: Upload, number: int, descriptor: int, chunk: bytes, is_last: bool
    ) -> None:
        write_all(descriptor, chunk)
        if is_last:
            self._complete(upload, number)

    def _complete(self, upload: Upload, number: int) -> None:
        path = upload.whole(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        upload.part(number).rename(path)
        os.utime(upload.folder)  # by which remove_stale() sees that it goes on

    def _target(self, sort: str, name: str) -> Path:
        return (self.data.raw_datasets if sort == DATASET else self.data.new_images) / name


def read_upload(folder: Path) -> Upload | None:
    """An upload that was begun before this process was."""
    try:
        said = json_object(read_file(folder / MANIFEST, constants.MOST_JSON_BYTES))
    except OSError:
        return None
    name, sort = text_in(said, "name") or "", text_in(said, "sort") or ""
    files = [(str(path), int(size)) for path, size in list_in(said, "files")]
    return Upload(folder.name, sort, name, said.get("is_folder") is True, folder, files)


def checked_files(folder: Path, files: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same files by paths that were checked like those in an archive; "" for litter.

    Raises:
        UserError: a path could lead elsewhere or clashes, or the disk of `folder` has no room.
    """
    room = shutil.disk_usage(folder).free - constants.SPARE_DISK_BYTES
    names = Names(constants.MOST_UNPACKED_BYTES, room)
    try:
        checked = [(names.check(Member(path, FILE, size)), size) for path, size in files]
    except Refused as refused:
        member = printable(refused.member[:200])
        raise UserError(
            f"{f'{member} ' if member else 'What you dropped '}{refused.reason}."
        ) from None
    if not names.files:
        raise UserError("There is no file in it. Drop a folder with pictures.")
    return checked


def check_name(sort: str, name: str, is_folder: bool) -> None:
    """
    Raises:
        UserError: `name` is none that a file or folder for this may have.
    """
    try:
        parts = safe_parts(name)
    except Refused as refused:
        raise UserError(f"{printable(name[:200]) or 'The name'} {refused.reason}.") from None
    if parts != [name] or len(name.encode("utf-8", "surrogatepass")) > constants.MOST_IN_NAME:
        raise UserError(f'"{printable(name[:200])}" is no name for it. Give it another one.')
    if is_litter(name, is_folder):
        raise UserError(f"{printable(name)} is a name that is passed over. Give it another one.")
    if sort not in (DATASET, IMAGES):
        raise UserError("Expected a dataset or images.")
    if not is_folder and not (is_archive(name) or (sort == IMAGES and is_image(name))):
        expected = ", ".join(constants.ARCHIVE_SUFFIXES[:4])
        if sort == DATASET:
            raise UserError(
                f"{printable(name)} is no archive. Drop a folder, or one of {expected}."
            )
        raise UserError(
            f"{printable(name)} is no picture. Drop a .jpg, a .png, or one of {expected}."
        )


@contextmanager
def opened_part(path: Path, start: int) -> Iterator[int]:
    """A descriptor of the part, at its end.

    Raises:
        Conflict: it does not end at byte `start`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o666)
    try:
        if (size := os.fstat(descriptor).st_size) != start:
            raise Conflict(f"This file has {count(size, 'byte')} so far. Go on from there.")
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def free_name(path: Path) -> Path:
    """`path`, or where that is taken, the same with a number in its name."""
    number, stem, suffix = 1, path.stem, path.suffix
    while os.path.lexists(path):
        number += 1
        path = path.with_name(f"{stem}-{number}{suffix}")
    return path


def move_to_new(source: Path, target: Path) -> None:
    """Rename a file or a folder, atomically and never over anything.

    Raises:
        Conflict: something has that name, or it lies on another disk.
    """
    try:
        if source.is_dir():
            target.mkdir()  # the name is ours now, or there was one
            source.rename(target)
        else:
            os.link(source, target, follow_symlinks=False)
            source.unlink()
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise Conflict(f"{shown(target)} is there already. Give it another name.") from None
        if error.errno == errno.EXDEV:
            target.rmdir() if target.is_dir() else None
            raise Conflict(
                f"{shown(target.parent)} is on another disk than {shown(source.parent)}, expected the"
                " same one."
            ) from None
        raise


def put_new_file(path: Path, content: bytes, check: Callable[[Path], object]) -> None:
    """Write a small file whole and under a new name, once `check` has accepted it beside that name.

    Raises:
        Conflict: something has that name.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")  # two may put in the same
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        check(partial)
        move_to_new(partial, path)
        flush_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
