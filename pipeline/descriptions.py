"""The descriptions (.json) in a folder, each read again only when it changed.

So a look stays cheap with thousands of them. They may be anybody's: what is damaged or of another
type than expected counts as not there.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from helper import json_object

Told = TypeVar("Told")


class Descriptions(Generic[Told]):
    """What `tell` makes of each `<name>.json` in a folder; it returns None for what is to be left out."""

    def __init__(self, folder: Path, tell: Callable[[str, dict], Told | None]):
        self.folder, self.tell = folder, tell
        self._known: dict[str, tuple[tuple[int, ...], Told | None]] = {}
        self._told: dict[str, Told] = {}

    def look(self) -> dict[str, Told]:
        """By name, what there is now; the same object as before if nothing changed."""
        try:
            known = dict(self._read())
        except FileNotFoundError:
            known = {}
        except OSError:
            return (
                self._told
            )  # the disk does not say for now; what it said is likelier than nothing
        if known != self._known:
            self._known = known
            self._told = {name: told for name, (_, told) in known.items() if told is not None}
        return self._told

    def _read(self) -> Iterator[tuple[str, tuple[tuple[int, ...], Told | None]]]:
        for file in _json_files(self.folder):
            name = file.name.removesuffix(".json")
            known = self._known.get(name)
            try:
                status = file.stat()
                state = status.st_size, status.st_mtime_ns, status.st_ino
                if known is None or known[0] != state:
                    content = json_object(Path(file.path).read_bytes())
                    known = state, self.tell(name, content)
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError:
                pass  # as above
            if known:
                yield name, known


def _json_files(folder: Path) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.name.endswith(".json") and _is_file(entry))


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def table_in(content: dict, key: str) -> dict:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def text_in(content: dict, key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def number_in(content: dict, key: str) -> float | None:
    """A number that can be computed with: no true, no nan, no 1 with a thousand zeros."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None


def share_in(content: dict, key: str) -> float | None:
    number = number_in(content, key)
    return number if number is not None and 0 <= number <= 1 else None


def list_in(content: dict, key: str) -> list:
    value = content.get(key)
    return value if isinstance(value, list) else []
