"""One look at the tree of a raw dataset: which regular files are there, and in which state.

Nothing is opened. Two equal looks, or equal fingerprints, mean that nothing has changed between them.
"""

import os
import stat
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import constants
from helper import digest_of
from pipeline.data_folder import FileState, file_state
from pipeline.images.image_reader import TRANSIENT_ERRNOS
from pipeline.raw_data.litter import is_litter
from pipeline.tables.file_index import is_image


@dataclass
class ScannedFolder:
    """What one folder of a raw dataset holds, without litter.

    files: the state of each regular file by name, also of one that a link leads to.
    targets: for each of these links where its file is, as a path from the raw dataset's folder on.
    others: names of links that are not followed, and of devices and pipes.
    trouble: why the folder cannot be looked into.
    """

    files: dict[str, FileState] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    subfolders: list[str] = field(default_factory=list)
    trouble: str = ""

    def state(self) -> list:
        names = sorted(self.files)  # faster than sorting pairs
        states = [self.files[name] for name in names]
        return [
            self.trouble,
            self.others,
            self.subfolders,
            sorted(self.targets.items()),
            names,
            states,
        ]

    @cached_property
    def images(self) -> set[str]:
        """The names that end as an image's does."""
        return {name for name in self.files if is_image(name)}


@dataclass
class FolderScan:
    """All folders of a raw dataset by their path in it, such as "train/cats"; its own is "".

    litter: how many files and folders were passed over that systems and tools leave behind.
    """

    folders: dict[str, ScannedFolder]
    litter: int = 0

    def fingerprint(self) -> str:
        return digest_of({path: folder.state() for path, folder in self.folders.items()})

    def images_below(self, path: str) -> list[str]:
        """The paths of the images in the folder `path` and in those below it, sorted folder by folder."""
        below = [path, *sorted(name for name in self.folders if is_below(name, path))]
        return [
            joined(name, file)
            for name in below
            if name in self.folders
            for file in sorted(self.folders[name].images)
        ]

    def state_of(self, file: str) -> FileState:
        folder, _, name = file.rpartition("/")
        return self.folders[folder].files[name]

    def opened_as(self, file: str) -> str:
        """`file`, or what the link of this name leads to."""
        folder, _, name = file.rpartition("/")
        return self.folders[folder].targets.get(name, file)


def is_below(path: str, folder: str) -> bool:
    return path != folder and (not folder or path.startswith(f"{folder}/"))


def joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def scan(
    folder: Path, link_targets: Sequence[Path] = (), only: Set[str] | None = None
) -> FolderScan:
    """What is in the raw dataset `folder` now; of what lies in it directly only these names, if given.

    Links to files are followed where they end in `folder` or in one of `link_targets`, links to
    folders nowhere but for the splits of the project's own layout.
    """
    scanner = _Scanner(folder, link_targets, only)
    waiting = [""]
    while waiting:
        path = waiting.pop()
        scanned = scanner.look_into(path)
        if path.count("/") < constants.DEEPEST_FOLDER - 1:
            waiting += [joined(path, name) for name in scanned.subfolders]
        elif scanned.subfolders:
            scanned.trouble = f"it is nested deeper than {constants.DEEPEST_FOLDER} folders"
    found = scanner.folders
    return FolderScan({path: found[path] for path in sorted(found)}, scanner.litter)


class _Scanner:
    """Looks into the folders of one raw dataset."""

    def __init__(self, folder: Path, link_targets: Sequence[Path], only: Set[str] | None):
        self.root = folder.resolve()
        self.allowed = tuple(f"{path.resolve()}/" for path in (folder, *link_targets))
        self.only = only
        self.folders: dict[str, ScannedFolder] = {}
        self.litter = 0

    def look_into(self, path: str) -> ScannedFolder:
        scanned = self.folders[path] = ScannedFolder()
        try:
            with os.scandir(f"{self.root}/{path}") as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # copying tools rename their temporary files
                        self._take(entry, path, scanned)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            scanned.trouble = error.strerror or str(error)
        scanned.others.sort()
        scanned.subfolders.sort()
        return scanned

    def _take(self, entry: os.DirEntry, path: str, scanned: ScannedFolder) -> None:
        """Note one entry of the folder `path`."""
        status = entry.stat(follow_symlinks=False)
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_litter(entry.name, is_folder):
            self.litter += 1
        elif not path and self.only is not None and entry.name.lower() not in self.only:
            pass
        elif is_folder:
            scanned.subfolders.append(entry.name)
        elif stat.S_ISREG(status.st_mode):
            # The change time is in the state because a copy may set the modification time back.
            scanned.files[entry.name] = file_state(status)
        elif stat.S_ISLNK(status.st_mode):
            self._take_link(entry, path, scanned)
        else:
            scanned.others.append(entry.name)

    def _take_link(self, entry: os.DirEntry, path: str, scanned: ScannedFolder) -> None:
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            scanned.others.append(entry.name)  # it leads to nothing, or in a circle
            return
        target = os.path.realpath(entry.path)
        if stat.S_ISREG(status.st_mode) and target.startswith(self.allowed):
            scanned.files[entry.name] = file_state(status)
            scanned.targets[entry.name] = os.path.relpath(target, self.root)
        elif stat.S_ISDIR(status.st_mode) and not path and entry.name in constants.SPLITS:
            scanned.subfolders.append(entry.name)  # whole splits may lie elsewhere
        else:
            scanned.others.append(entry.name)
