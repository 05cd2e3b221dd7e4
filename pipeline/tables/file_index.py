"""Find the files that a table's cells name."""

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from functools import cached_property

import constants


def is_image(name: str) -> bool:
    return name.lower().endswith(constants.IMAGE_SUFFIXES)


@dataclass
class FileIndex:
    """Images by what a table may call them. No path but these ever comes out.

    paths: of files, with "/", from the raw dataset's folder; those that are no images do not count.
    folders: names of folders that are there beside those of `paths`.
    """

    paths: Set[str]
    folders: Iterable[str] = ()
    _nearest: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict, repr=False)

    def find(self, cell: str, beside: str = "") -> str | None:
        """The one file that `cell` names, or None; `beside` is the folder that the table is about."""
        found = self.candidates(cell, beside)
        return found[0] if len(found) == 1 else None

    def candidates(self, cell: str, beside: str = "") -> tuple[str, ...]:
        """All files that `cell` may name; of several, those beside the table.

        A cell is a path from the table's folder or the raw dataset's, or one of another machine, of
        which the longest end that fits counts; the extension may be left out.
        """
        parts = _parts(cell)
        if not parts:
            return ()
        joined = posixpath.normpath(posixpath.join(beside, *parts))
        if joined in self.paths and is_image(joined):
            return (joined,)
        if joined in self._whole:
            return tuple(self._whole[joined])
        for length in range(min(len(parts), self._deepest), 0, -1):
            if found := self._near("/".join(parts[-length:]), beside):
                return self._in_folder(found, parts[:-length], length)
        return ()

    def is_elsewhere(self, cell: str) -> bool:
        """Whether the last folder in `cell` is there, or is the one above: then no other file is meant."""
        *folders, _ = _parts(cell) or [""]
        return bool(folders) and (folders[-1] == ".." or folders[-1] in self._folder_names)

    def _in_folder(
        self, found: tuple[str, ...], folders: list[str], length: int
    ) -> tuple[str, ...]:
        """Those that may lie in the last of `folders`: where it is there, a file elsewhere is meant."""
        last = folders[-1] if folders else ""
        if last == ".." and length == 1:
            return ()
        if last not in self._folder_names:
            return found
        return tuple(path for path in found if last in _nfc(path).split("/")[:-1])

    def _near(self, tail: str, beside: str) -> tuple[str, ...]:
        """Of the files whose paths end so: those in the folder `beside`, else those below it, else all."""
        if (tail, beside) not in self._nearest:
            found = self._tails.get(tail) or self._stems.get(tail) or ()
            folder = posixpath.dirname(posixpath.join(beside, tail))
            nearest = (
                [path for path in found if posixpath.dirname(path) == folder]
                or [path for path in found if not beside or path.startswith(f"{beside}/")]
                or found
            )
            self._nearest[tail, beside] = tuple(sorted(nearest))
        return self._nearest[tail, beside]

    @cached_property
    def _whole(self) -> dict[str, list[str]]:
        whole = defaultdict(list)
        for path in filter(is_image, self.paths):
            whole[_nfc(path)].append(path)
        return dict(whole)

    @cached_property
    def _tails(self) -> dict[str, list[str]]:
        tails: dict[str, list[str]] = defaultdict(list)
        for name, paths in self._whole.items():
            for tail in _ends(name):
                tails[tail] += paths
        return dict(tails)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = defaultdict(list)
        for name, paths in self._whole.items():
            for tail in _ends(name[: name.rindex(".")]):
                stems[tail] += paths
        return dict(stems)

    @cached_property
    def _deepest(self) -> int:
        return max((path.count("/") + 1 for path in self.paths), default=0)

    @cached_property
    def _folder_names(self) -> set[str]:
        folders = {posixpath.dirname(path) for path in self._whole}
        return {*self.folders, *(part for path in folders for part in path.split("/"))} - {""}


def _parts(cell: str) -> list[str]:
    """The folders and the name that `cell` spells; none where it names no file."""
    *folders, name = _nfc(cell.strip()).replace("\\", "/").split("/")
    if name in ("", ".", ".."):
        return []
    return [part for part in folders if part not in ("", ".")] + [name]


def _ends(path: str) -> Iterator[str]:
    """The path itself, and without its first folders."""
    parts = path.split("/")
    return ("/".join(parts[first:]) for first in range(len(parts)))


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
