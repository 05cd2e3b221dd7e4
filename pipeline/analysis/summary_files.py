"""A table of many runs and its picture, kept in step with what they are to show."""

import logging
from collections.abc import Callable
from pathlib import Path

from helper import read_file, whole_file
from pipeline.stage.process import Stage
from pipeline.stage.text import cell

log = logging.getLogger(__name__)


class SummaryFiles:
    """The files `<name>.csv` and `<name>.png` in `folder`.

    The table is written last: where it says what it should, the picture does so, too, even if an
    earlier process died in between.
    """

    def __init__(self, folder: Path, name: str, stage: Stage):
        self.table, self.picture, self.stage = folder / f"{name}.csv", folder / f"{name}.png", stage
        self._content = object()  # equal to nothing: what an earlier process left is looked at once
        self._failed = False

    def sync(
        self, content: object, lines: Callable[[], list[dict]], draw: Callable[[], bytes]
    ) -> bool:
        """Make the files show `content`, or remove them where it is empty.

        Args:
            content: what the files are told from; as long as it stays equal, nothing is done.
            lines: returns the lines of the table, each a dict by column.
            draw: returns the picture.

        Returns:
            whether the files changed.
        """
        if content == self._content and (self._failed or self._are_there() == bool(content)):
            return False
        self._content, self._failed = content, False
        try:
            table = as_csv(lines()) if content else b""
            if content and self._is_written(table):
                return False
            files = {self.picture: draw() if content else b"", self.table: table}
        except Exception:
            self.stage.raise_if_stopping()
            # A fault of ours: all else goes on, and there is another try when there is more to show.
            log.exception("%s: failed", self.table.name)
            self._failed = True
            return False
        self.stage.retry(lambda: _write(files))
        return True

    def _are_there(self) -> bool:
        return self.table.exists() and self.picture.exists()

    def _is_written(self, table: bytes) -> bool:
        try:
            return self.picture.exists() and read_file(self.table, len(table)) == table
        except OSError:
            return False


def _write(files: dict[Path, bytes]) -> None:
    """Write each file, or remove it where there is nothing to write."""
    for path, content in files.items():
        if not content:
            path.unlink(missing_ok=True)
            continue
        with whole_file(path) as file:
            file.write(content)


def as_csv(lines: list[dict]) -> bytes:
    """A table of the lines, one row each; what a line does not say is empty."""
    import pandas

    table = pandas.DataFrame(lines, dtype=object).rename(columns=cell)
    return table.map(cell).to_csv(index=False, lineterminator="\n").encode()
