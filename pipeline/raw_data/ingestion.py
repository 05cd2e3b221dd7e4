"""Which raw datasets are whole, and writing a dataset of each of them."""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import constants
from helper import UserError, shown
from pipeline.data_folder import DataFolder
from pipeline.problem import RawDatasetError, first_few
from pipeline.raw_data.dataset_writer import DatasetWriter
from pipeline.raw_data.raw_dataset import (
    FolderScan,
    find_raw_datasets,
    problems,
    read,
    scan,
)
from pipeline.stage.lock import stay_alone
from pipeline.stage.log_lines import log
from pipeline.stage.progress import counted
from pipeline.stage.status import status
from pipeline.stage.text import cannot_read


@dataclass
class RawDatasetState:
    """A raw dataset as it was seen last."""

    fingerprint: str = ""
    since: float = 0.0  # when it was first seen like this
    problems: list[str] = field(default_factory=list)
    settled: bool = False  # ingested, or nothing to be done until it changes
    _last_logged: str = ""
    _last_logged_at: float = float("-inf")

    def log_problems(self, folder: Path, stable: bool) -> None:
        """Log them once per change; while a copy goes on, every few seconds at the most."""
        text = " ".join(first_few(self.problems))
        soon = time.monotonic() - self._last_logged_at < constants.SAY_AGAIN
        if text == self._last_logged or (soon and not stable):
            return
        self._last_logged, self._last_logged_at = text, time.monotonic()
        log.info("%s: not whole: %s", shown(folder), text)


class Changed(Exception):
    """The raw dataset is no longer as it was when its reading began."""


class StrayFiles:
    """The files in `folder`, where only folders are looked at, such as an archive."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: set[Path] = set()

    def report(self) -> None:
        """Log each of them once."""
        stray = {path for path in self.folder.glob("[!.]*") if path.is_file()}
        for path in sorted(stray - self._known):
            log.warning(
                "%s is a file. Drop a folder with train/ and test/; unpack archives.", shown(path)
            )
        self._known = stray


class Ingestion:
    """Looks at the raw datasets in `folder` and ingests those that are whole."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.folder, self.options = folder, options
        self.writer = DatasetWriter(DataFolder(options.data), options.image_size, options.once)
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
        self.states = {folder: self.states.get(folder, RawDatasetState()) for folder in found}
        for folder, state in self.states.items():
            known = state.settled and state.fingerprint and folder != self.folder
            if known and changed is not None and folder.name not in changed:
                continue  # there is nothing more to see than at the last look
            status.heartbeat()
            try:
                self._look_at(folder, state)
            except OSError as error:  # for now: looked at again even if nothing changes
                self._set_aside(folder, state, cannot_read(error))
                state.fingerprint = ""
            except UserError:
                raise
            except Exception as error:  # a fault of ours: say all, and go on with the others
                log.exception("%s: not ingested", shown(folder))
                self._set_aside(folder, state, f"{type(error).__name__}: {error}")
        self.writer.save()
        if changed is None:  # which comes so rarely that no pause is needed after it
            self.seconds_for_all, self.seconds = self.seconds, 0.0
        self.stray_files.report()
        status.set_problems(_problems_of(self.states))
        waiting = [
            self.options.settle - (time.monotonic() - state.since) for state in self.unsettled()
        ]
        return max(0.0, min(waiting)) if waiting else None

    def unsettled(self) -> list[RawDatasetState]:
        return [state for state in self.states.values() if not state.settled]

    def all_well(self) -> bool:
        return not any(state.problems for state in self.states.values())

    def _look_at(self, folder: Path, state: RawDatasetState) -> None:
        """Ingest a raw dataset that is complete, and take down what is missing from one that is not.

        A raw dataset is complete when everything that it lists is there, when no file in it has
        changed for `settle` seconds, and when it is the same after the reading as before. No single
        sign would do: a copy may pause for longer, may go on in files whose names are all there, and
        may begin anew while the images are read.
        """
        began = time.monotonic()
        scanned = scan(folder)
        self.seconds += time.monotonic() - began
        fingerprint = scanned.fingerprint()
        if fingerprint != state.fingerprint:
            state.fingerprint, state.since = fingerprint, time.monotonic()
            state.settled = self._is_recorded(folder, state)
            if not state.settled:
                state.problems = problems(folder, scanned)
        if state.settled:
            return
        stable = time.monotonic() - state.since >= self.options.settle
        if state.problems:
            state.log_problems(folder, stable)
            state.settled = stable
        elif stable:
            try:
                self._ingest(folder, scanned, state)
            except Changed:
                log.info("%s: changed while it was read; reading it again", shown(folder))

    def _set_aside(self, folder: Path, state: RawDatasetState, problem: str) -> None:
        """Leave a raw dataset alone until it changes."""
        state.problems, state.settled = [problem], True
        state.log_problems(folder, stable=True)

    def _is_recorded(self, folder: Path, state: RawDatasetState) -> bool:
        """Whether this very state of the folder was dealt with before, perhaps by an earlier process."""
        entry = self.writer.outcome(folder, state.fingerprint)
        if entry is None:
            return False
        state.problems = entry.problems
        if state.problems:
            text = " ".join(first_few(state.problems))
            log.error("%s: not ingested before, and unchanged since: %s", shown(folder), text)
        return True

    def _ingest(self, folder: Path, scanned: FolderScan, state: RawDatasetState) -> None:
        began = time.monotonic()
        total = sum(len(split.images) for split in scanned.splits.values())
        log.debug("%s: reading %s images", shown(folder), f"{total:,}")
        status.update(f"ingesting {folder.name}")

        def check() -> None:
            stay_alone()
            if scan(folder) != scanned:
                raise Changed

        try:
            with counted(total, "ingestion | reading", "images") as progress:
                raw = read(folder, scanned, self.options.image_size, progress)
        except RawDatasetError as error:
            check()
            state.problems = list(map(str, error.problems))
            log.error("%s: not ingested: %s", shown(folder), " ".join(first_few(state.problems)))
            self.writer.note(folder, state.fingerprint, problems=state.problems)
        else:
            self.writer.publish(folder, raw, began, check)
            self.writer.note(folder, state.fingerprint, content=raw.digest)
        state.settled = True


def _problems_of(states: dict[Path, RawDatasetState]) -> dict[str, str]:
    return {
        shown(folder): " ".join(first_few(state.problems))
        for folder, state in states.items()
        if state.problems
    }
