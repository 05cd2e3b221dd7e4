"""The descriptions (.json) in a folder, each read again only when it changed.

So a look stays cheap with thousands of them. They may be anybody's: what is damaged or of another
type than expected counts as not there.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from helper import shown
from pipeline.artifacts.metadata import said_in
from pipeline.data_folder import FileState, file_state
from pipeline.stage.log_lines import warn_once

Parsed = TypeVar("Parsed")


class Descriptions(Generic[Parsed]):
    """What `parse` makes of each `<name>.json` in a folder; it returns None for what is to be left out."""

    def __init__(self, folder: Path, parse: Callable[[str, dict], Parsed | None]):
        self.folder, self.parse = folder, parse
        self._known: dict[str, tuple[FileState, Parsed | None]] = {}
        self._parsed: dict[str, Parsed] = {}

    def look(self) -> dict[str, Parsed]:
        """By name, what there is now; the same object as before if nothing changed."""
        try:
            known = dict(self._read())
        except FileNotFoundError:
            known = {}
        except OSError:
            return (
                self._parsed
            )  # the disk does not say for now; what it said is likelier than nothing
        if known != self._known:
            self._known = known
            self._parsed = {
                name: parsed for name, (_, parsed) in known.items() if parsed is not None
            }
        return self._parsed

    def _read(self) -> Iterator[tuple[str, tuple[FileState, Parsed | None]]]:
        for file in files_in(self.folder, ".json"):
            name = file.name.removesuffix(".json")
            known = self._known.get(name)
            try:
                status = file.stat()
                state = file_state(status)
                if known is None or known[0] != state:
                    known = state, self.parse(name, said_in(Path(file.path)))
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError:
                pass  # as above
            if known:
                yield name, known


def files_in(folder: Path, ending: str) -> Iterator[os.DirEntry]:
    """The files in `folder` whose names end so; what else has such a name is named once."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(ending):
                continue
            if _is_file(entry):
                yield entry
            else:
                warn_once(f"{shown(Path(entry.path))} is no file. Put a file there or remove it.")


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
