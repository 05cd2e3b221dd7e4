"""The datasets in data/dataset by the digest of their content: what a new one is compared with.

With thousands of them, the folder is not listed anew for each new one.
"""

import os
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import constants
from pipeline.artifacts.dataset import time_name
from pipeline.artifacts.metadata import DatasetDescription
from pipeline.data_folder import FileState, file_state


class Published:
    """What is in `folder`, where nobody but the owner of this object makes datasets.

    It is listed when first asked for after `look_again`, and every few seconds where one look takes
    longer than that: people may delete or add something.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._listed_at = float("-inf")
        self._contents: dict[str, tuple[FileState, str | None]] = {}  # and files' states
        self._datasets: dict[str, str] = {}  # their names, by content
        self._begun: dict[str, str] = {}  # the same for those whose description alone is there
        self._dated: set[str] = set()
        self._last, self._last_name = datetime.min, ""

    def look_again(self) -> None:
        self._listed_at = float("-inf")

    def by_content(self) -> dict[str, str]:
        """The names of the datasets."""
        self._list()
        return self._datasets

    def name_of(self, content: str) -> str | None:
        """The dataset that has this content."""
        name = self.by_content().get(content)
        if name and not self._pickle(name).exists():
            self.look_again()  # there may be another one
            name = self.by_content().get(content)
        return name

    def name_for(self, content: str) -> str:
        """The name for a new dataset: the one for which an earlier process, before it died, wrote the
        description, or the next one."""
        self._list()
        name = self._begun.get(content)
        if name and not self._pickle(name).exists():
            return name
        return time_name([self._last_name])

    def add(self, content: str, name: str) -> None:
        """The dataset `name` is there now."""
        self._datasets.setdefault(content, name)
        self.come_after([name])

    def come_after(self, names: Iterable[str]) -> None:
        """New names come after these, as far as they are times."""
        for name in set(names) - self._dated:
            self._dated.add(name)
            try:
                when = datetime.strptime(name, constants.TIME_NAME)
                when + timedelta(microseconds=1)
            except (ValueError, OverflowError):
                continue  # a file that somebody named by hand
            if when > self._last:
                self._last, self._last_name = when, name

    def _pickle(self, name: str) -> Path:
        return self.folder / f"{name}.pkl"

    def _list(self) -> None:
        if time.monotonic() < self._listed_at + constants.LOOK_AGAIN:
            return
        try:
            with os.scandir(self.folder) as entries:
                files = {entry.name: entry for entry in entries}
        except FileNotFoundError:
            files = {}
        self.come_after(Path(name).stem for name in files)
        self._contents = dict(self._described(files))
        self._datasets, self._begun = {}, {}
        for name in sorted(self._contents):
            _, content = self._contents[name]
            if content is not None:
                some = self._datasets if f"{name}.pkl" in files else self._begun
                some.setdefault(content, name)
        self._listed_at = time.monotonic()

    def _described(self, files: dict[str, os.DirEntry]) -> Iterable[tuple]:
        """Of each description its name, state and content, read only where it has changed."""
        for file, entry in files.items():
            if not file.endswith(".json"):
                continue
            name = file.removesuffix(".json")
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # it went while we looked
            state = file_state(status)
            known = self._contents.get(name)
            if known is None or known[0] != state:
                path = Path(entry.path)
                known = state, DatasetDescription.beside(path).content
            yield name, known
