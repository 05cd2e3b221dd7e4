"""Which raw datasets are whole, and writing a dataset of each of them."""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import constants
from helper import UserError, digest_of, shown
from pipeline.data_folder import DataFolder, file_state
from pipeline.problem import Problem, RawDatasetError, first_few
from pipeline.raw_data.archives import is_archive, remove_leftovers, unpack
from pipeline.raw_data.dataset_writer import DatasetWriter
from pipeline.raw_data.folder_scan import FolderScan, scan
from pipeline.raw_data.ingestion_settings import FILE, IngestionSettings
from pipeline.raw_data.layouts import Layout, recognize
from pipeline.raw_data.litter import is_litter
from pipeline.raw_data.raw_dataset import find_raw_datasets, read
from pipeline.stage.lock import stay_alone
from pipeline.stage.process import Stage
from pipeline.stage.progress import counted
from pipeline.stage.text import cannot_read, count

log = logging.getLogger(__name__)

# While files still come, nothing tells a half from a whole but a table that lists them all.
SETTLES_UNLISTED = 3  # times the settle time, where no table does
SETTLES_DAMAGED = 10  # times, before an image that is damaged counts as one that stays so


@dataclass
class RawDatasetState:
    """A raw dataset as it was seen last."""

    fingerprint: str = ""
    since: float = 0.0  # when it was first seen like this
    layout: Layout | None = None
    problems: list[Problem] = field(default_factory=list)
    damaged: bool = False  # images are, and they may still be on their way
    settled: bool = False  # ingested, or nothing to be done until it changes
    _last_logged: str = ""
    _last_logged_at: float = float("-inf")

    def begin(self, fingerprint: str) -> None:
        """It is another one than at the last look."""
        now = time.monotonic()
        if self.settled or not self.fingerprint:
            self._last_logged_at = now  # a copy that ends soon is not remarked on
        self.fingerprint, self.since = fingerprint, now
        self.layout, self.problems, self.damaged, self.settled = None, [], False, False

    def settles_at(self, settle: float) -> float:
        """When it will have been the same for long enough."""
        if self.damaged:
            return self.since + settle * SETTLES_DAMAGED
        listed = self.layout.listed if self.layout else self.is_missing_something()
        return self.since + settle * (1 if listed else SETTLES_UNLISTED)

    def is_missing_something(self) -> bool:
        """Whether a table lists what is not there yet."""
        return any(problem.kind == "missing" for problem in self.problems)

    def log_problems(self, folder: Path, stable: bool) -> None:
        """Log them once per change; while a copy goes on, every few seconds at the most, and only what
        is still missing."""
        text = " ".join(first_few(self.problems))
        missing = self.is_missing_something()
        soon = time.monotonic() - self._last_logged_at < constants.SAY_AGAIN
        if text == self._last_logged or (not stable and (soon or not missing)):
            return
        self._last_logged, self._last_logged_at = text, time.monotonic()
        if missing:
            log.info("%s: not whole: %s", shown(folder), text)
        else:
            log.error("%s: cannot be used: %s", shown(folder), text)


class Changed(Exception):
    """The raw dataset is no longer as it was when its reading began."""


class StrayFiles:
    """The files in `folder` that are neither folders nor archives."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: set[Path] = set()

    def report(self) -> None:
        """Log each of them once."""
        stray = {
            path
            for path in self.folder.glob("[!.]*")
            if path.is_file() and not is_archive(path.name) and not is_litter(path.name)
        }
        for path in sorted(stray - self._known):
            log.warning(
                "%s is a file. Drop a folder of labelled images, or an archive of one (.zip, .tar).",
                shown(path),
            )
        self._known = stray


class DatasetMaker:
    """Makes a dataset of a raw dataset that is whole, or notes why that cannot be done."""

    def __init__(self, data: DataFolder, settings: IngestionSettings, stage: Stage):
        self.settings, self.stage = settings, stage
        self.writer = DatasetWriter(data, settings, stage)
        self.unpacked = data.unpacked
        remove_leftovers(self.unpacked)

    def of_folder(
        self,
        folder: Path,
        look: FolderScan,
        state: RawDatasetState,
        scan_again: Callable[[Path], FolderScan],
    ) -> None:
        def check() -> None:
            stay_alone()
            if scan_again(folder).folders != look.folders:
                raise Changed

        self._ingest(folder, folder, look, state, check)

    def of_archive(self, archive: Path, state: RawDatasetState) -> None:
        """Ingest what is in it. The archive stays, and what was unpacked goes."""
        before = file_state(archive.stat())

        def check() -> None:
            stay_alone()
            if file_state(archive.stat()) != before:
                raise Changed

        folder = self.unpacked / archive.name
        self.stage.status.update(f"unpacking {archive.name}")
        try:
            self.stage.retry(lambda: unpack(archive, folder, self._unpacking))
            look = scan(folder)
            state.layout, state.damaged = recognize(folder, look), True
            self._ingest(archive, folder, look, state, check)
        except RawDatasetError as error:
            state.problems = error.problems
        finally:
            remove_leftovers(self.unpacked)
        if state.problems and not state.settled:
            self._refuse(archive, state, check)

    def _unpacking(self, files: int) -> None:
        self.stage.status.heartbeat()

    def _refuse(self, path: Path, state: RawDatasetState, check: Callable[[], None]) -> None:
        check()
        log.error("%s: not ingested: %s", shown(path), " ".join(first_few(state.problems)))
        if any(problem.kind == "no_room" for problem in state.problems):
            state.fingerprint = ""  # looked at again, as room may be made
        else:
            texts = [str(problem) for problem in state.problems]
            self.writer.note(path, state.fingerprint, problems=texts)
        state.settled = True

    def _ingest(
        self,
        path: Path,
        folder: Path,
        look: FolderScan,
        state: RawDatasetState,
        check: Callable[[], None],
    ) -> None:
        """Read the raw dataset `path`, whose files are in `folder`, and write it as a dataset."""
        assert state.layout is not None
        began = time.monotonic()
        log.debug("%s: reading %s", shown(path), count(state.layout.images, "image"))
        self.stage.status.update(f"ingesting {path.name}")
        try:
            settings = self.settings.with_file(folder)
            leave_out = state.damaged and not settings.strict
            with counted(
                state.layout.images, "ingestion | reading", "images", self.stage.status, path.name
            ) as progress:
                raw = read(folder, look, state.layout, settings, progress, leave_out)
        except RawDatasetError as error:
            if self._may_still_come(state, error):
                state.damaged = True  # once more, when nothing has changed for longer
                return
            state.problems = error.problems
            self._refuse(path, state, check)
            return
        self.writer.publish(path, state.layout, raw, began, check)
        self.writer.note(path, state.fingerprint, content=raw.digest)
        state.layout, state.settled = None, True

    def _may_still_come(self, state: RawDatasetState, error: RawDatasetError) -> bool:
        """Whether only images are damaged, that no table lists: they may still be copied."""
        assert state.layout is not None
        return (
            not state.layout.listed
            and not state.damaged
            and all(problem.kind == "damaged" for problem in error.problems)
        )


class Ingestion:
    """Looks at the raw datasets in `folder` and ingests those that are whole."""

    def __init__(self, folder: Path, options: argparse.Namespace, stage: Stage):
        self.folder, self.options, self.stage = folder, options, stage
        self.maker = DatasetMaker(DataFolder(options.data), options.settings, stage)
        self.writer = self.maker.writer
        self.states: dict[Path, RawDatasetState] = {}
        self.stray_files = StrayFiles(folder)
        # Duration of the last partial scan and of the last full scan, in seconds.
        self.seconds = self.seconds_for_all = 0.0

    def look(self, changed: set[str] | None = None) -> float | None:
        """Look at everything, or at what has not settled and the names in `changed`, and ingest what
        is ready; returns when to look again without an event."""
        self.seconds = 0.0
        self.writer.published.look_again()
        try:
            found = find_raw_datasets(self.folder)
        except OSError:
            return constants.POLL  # the folder went; the watch makes it again
        self.states = {path: self.states.get(path, RawDatasetState()) for path in found}
        for path, state in self.states.items():
            known = state.settled and state.fingerprint and path != self.folder
            if known and changed is not None and path.name not in changed:
                continue  # there is nothing more to see than at the last look
            self.stage.status.heartbeat()
            try:
                self._look_at(path, state)
            except OSError as error:  # for now: looked at again even if nothing changes
                self._set_aside(path, state, Problem("unreadable", cannot_read(error)))
                state.fingerprint = ""
            except UserError:
                raise
            except Exception as error:  # a fault of ours: say all, and go on with the others
                log.exception("%s: not ingested", shown(path))
                self._set_aside(path, state, Problem("fault", f"{type(error).__name__}: {error}"))
        self.writer.save()
        if changed is None:  # which comes so rarely that no pause is needed after it
            self.seconds_for_all, self.seconds = self.seconds, 0.0
        self.stray_files.report()
        self.stage.status.set_problems(_problems_of(self.states))
        waiting = [
            state.settles_at(self.options.settle) - time.monotonic() for state in self.unsettled()
        ]
        return max(0.0, min(waiting)) if waiting else None

    def unsettled(self) -> list[RawDatasetState]:
        return [state for state in self.states.values() if not state.settled]

    def all_well(self) -> bool:
        return not any(state.problems for state in self.states.values())

    def _look_at(self, path: Path, state: RawDatasetState) -> None:
        """Ingest a raw dataset that is complete, and take down what is missing from one that is not.

        A raw dataset is complete when everything that it lists is there, when no file in it has
        changed for some time, and when it is the same after the reading as before. No single sign
        would do: a copy may pause for longer, may go on in files whose names are all there, and may
        begin anew while the images are read.
        """
        began = time.monotonic()
        look = None if path.is_file() else self._scan(path)
        self.seconds += time.monotonic() - began
        fingerprint = look.fingerprint() if look else digest_of(file_state(path.stat()))
        if fingerprint != state.fingerprint:
            state.begin(fingerprint)
            state.settled = self._is_recorded(path, state)
            if look and not state.settled:
                self._recognize(path, look, state)
        if state.settled:
            return
        stable = time.monotonic() >= state.settles_at(self.options.settle)
        if state.problems:
            state.log_problems(path, stable)
            state.settled = stable
        elif stable:
            try:
                if look:
                    self.maker.of_folder(path, look, state, self._scan)
                else:
                    self.maker.of_archive(path, state)
            except Changed:
                log.info("%s: changed while it was read; reading it again", shown(path))

    def _scan(self, folder: Path) -> FolderScan:
        only = {*constants.PARTS, FILE} if folder == self.folder else None
        return scan(folder, self.options.follow_links, only)

    def _recognize(self, folder: Path, look: FolderScan, state: RawDatasetState) -> None:
        try:
            state.layout = recognize(folder, look)
        except RawDatasetError as error:
            state.problems = error.problems

    def _set_aside(self, path: Path, state: RawDatasetState, problem: Problem) -> None:
        """Leave a raw dataset alone until it changes."""
        state.problems, state.settled = [problem], True
        state.log_problems(path, stable=True)

    def _is_recorded(self, path: Path, state: RawDatasetState) -> bool:
        """Whether this very state of it was dealt with before, perhaps by an earlier process."""
        entry = self.writer.outcome(path, state.fingerprint)
        if entry is None:
            return False
        state.problems = [Problem("recorded", text) for text in entry.problems]
        if state.problems:
            text = " ".join(first_few(entry.problems))
            log.error("%s: not ingested before, and unchanged since: %s", shown(path), text)
        return True


def _problems_of(states: dict[Path, RawDatasetState]) -> dict[str, str]:
    return {
        shown(path): " ".join(first_few(state.problems))
        for path, state in states.items()
        if state.problems
    }
