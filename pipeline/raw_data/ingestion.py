"""Which raw datasets are whole, and writing a dataset of each of them."""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import PIL

import constants
from helper import UserError, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import IngestionEntry
from pipeline.data_folder import DataFolder
from pipeline.raw_data.groundtruth import RawDatasetError, first_few
from pipeline.raw_data.published import Published
from pipeline.raw_data.raw_dataset import (
    FolderScan,
    RawDataset,
    find_raw_datasets,
    problems,
    read,
    scan,
)
from pipeline.stage.lock import stay_alone
from pipeline.stage.log_lines import log
from pipeline.stage.progress import counted
from pipeline.stage.retry import retry_until_disk_works
from pipeline.stage.status import status
from pipeline.stage.text import cannot_read


@dataclass
class RawDatasetState:
    """A raw dataset as it was seen last."""

    fingerprint: str = ""
    since: float = 0.0  # when it was first seen like this
    problems: list[str] = field(default_factory=list)
    said: str = ""
    said_at: float = float("-inf")
    settled: bool = False  # ingested, or nothing to be done until it changes


class Changed(Exception):
    """The raw dataset is no longer as it was when its reading began."""


class Ingestion:
    """Looks at the raw datasets in `folder` and ingests those that are whole."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.folder, self.options = folder, options
        self.data = DataFolder(options.data)
        self.published = Published(self.data.datasets)
        self.record = Ledger(self.data.ingestion_record, self._ingested_on_disk, IngestionEntry.of)
        self.published.come_after(
            entry.dataset for entry in self.record.entries.values() if entry.dataset
        )
        self.states: dict[Path, RawDatasetState] = {}
        self.stray_files: set[Path] = set()
        self.recorded_at = float("-inf")
        # The last look at a part of it took so long, and the last one at everything.
        self.seconds = self.seconds_for_all = 0.0

    def look(self, changed: set[str] | None = None) -> float | None:
        """Look at everything, or at what has not settled and the names in `changed`, and ingest what
        is ready; returns when to look again without an event."""
        self.seconds = 0.0
        self.published.look_again()
        try:
            found = find_raw_datasets(self.folder)
        except OSError:
            return constants.POLL  # the folder went; the watch makes it again
        self.states = {folder: self.states.get(folder, RawDatasetState()) for folder in found}
        for folder, state in self.states.items():
            if not self._may_differ(folder, state, changed):
                continue
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
        self._save_record()
        if changed is None:  # which comes so rarely that no pause is needed after it
            self.seconds_for_all, self.seconds = self.seconds, 0.0
        self._report_stray_files()
        waiting = [
            self.options.settle - (time.monotonic() - state.since) for state in self.unsettled()
        ]
        return max(0.0, min(waiting)) if waiting else None

    def _may_differ(self, folder: Path, state: RawDatasetState, changed: set[str] | None) -> bool:
        """Whether there may be more to see than at the last look."""
        known = state.settled and state.fingerprint and folder != self.folder
        return changed is None or not known or folder.name in changed

    def unsettled(self) -> list[RawDatasetState]:
        return [state for state in self.states.values() if not state.settled]

    def all_well(self) -> bool:
        return not any(state.problems for state in self.states.values())

    def _report_stray_files(self) -> None:
        """Name, once, each file that was dropped where only folders are looked at, such as an archive."""
        stray_files = {path for path in self.folder.glob("[!.]*") if path.is_file()}
        for path in sorted(stray_files - self.stray_files):
            log.warning(
                "%s is a file. Drop a folder with train/ and test/; unpack archives.", shown(path)
            )
        self.stray_files = stray_files

    def _look_at(self, folder: Path, state: RawDatasetState) -> None:
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
            self._say_problems(folder, state, stable)
            state.settled = stable
        elif stable:
            try:
                self._ingest(folder, scanned, state)
            except Changed:
                log.info("%s: changed while it was read; reading it again", shown(folder))

    def _set_aside(self, folder: Path, state: RawDatasetState, problem: str) -> None:
        """Leave a raw dataset alone until it changes."""
        state.problems, state.settled = [problem], True
        self._say_problems(folder, state, stable=True)

    def _is_recorded(self, folder: Path, state: RawDatasetState) -> bool:
        """Whether this very state of the folder was dealt with before, perhaps by an earlier process."""
        entry = self.record.entries.get(self._folder_key(folder))
        identity = state.fingerprint, self.options.image_size
        if entry is None or (entry.fingerprint, entry.image_size) != identity:
            return False
        state.problems = entry.problems
        if state.problems:
            text = _joined(state.problems)
            log.error("%s: not ingested before, and unchanged since: %s", shown(folder), text)
        return True

    def _say_problems(self, folder: Path, state: RawDatasetState, stable: bool) -> None:
        """Once per change; while a copy goes on, every few seconds at the most."""
        text = _joined(state.problems)
        if text == state.said or (
            not stable and time.monotonic() - state.said_at < constants.SAY_AGAIN
        ):
            return
        state.said, state.said_at = text, time.monotonic()
        log.info("%s: not whole: %s", shown(folder), text)

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
            state.problems = error.problems
            log.error("%s: not ingested: %s", shown(folder), _joined(state.problems))
            self._enter(folder, state, problems=state.problems)
        else:
            self._publish(folder, raw, began, check)
            self._enter(folder, state, content=raw.digest)
        state.settled = True

    def _publish(
        self, folder: Path, raw: RawDataset, began: float, check: Callable[[], None]
    ) -> None:
        """Write the dataset, unless there is one with the same content or `check` raises."""
        for warning in raw.warnings.values():
            log.warning("%s: warning: %s", shown(folder), warning["text"])
        name = self.published.name_of(raw.digest) or self._recorded(raw.digest)
        if name:
            check()
            log.info("%s: same content as dataset %s, nothing new", shown(folder), name)
        else:
            name = self._write(folder, raw, began, check)
        if raw.digest not in self.record.entries:
            self.record.note(raw.digest, dataset=name)

    def _write(self, folder: Path, raw: RawDataset, began: float, check: Callable[[], None]) -> str:
        """Write the dataset and its description; returns its name."""
        name = self.published.name_for(raw.digest)
        # The order of the splits is the format's.
        content = {split: raw.splits[split] for split in ("test", "train")}
        path, description = self.data.dataset(name), self._description(folder, raw)
        self._keep_writing(lambda: safe_pickle.publish(path, content, description, check))
        self.published.add(raw.digest, name)
        counts = self._counts(raw)
        log.info(
            "%s: ingested as dataset %s in %.1f s (%s training and %s test images of %s classes)",
            shown(folder),
            name,
            time.monotonic() - began,
            f"{counts['train']:,}",
            f"{counts['test']:,}",
            f"{len(raw.class_names):,}",
        )
        return name

    def _counts(self, raw: RawDataset) -> dict[str, int]:
        return {name: len(split["label"]) for name, split in raw.splits.items()}

    def _description(self, folder: Path, raw: RawDataset) -> dict:
        return {
            "raw_dataset": shown(folder),
            "content": raw.digest,
            "counts": self._counts(raw),
            "image_size": self.options.image_size,
            "class_names": raw.class_names,
            "images_per_class": {
                name: images_per_class(split["label"].tolist(), raw.class_names)
                for name, split in raw.splits.items()
            },
            "warnings": raw.warnings,
            "versions": {
                "pipeline": constants.VERSION,
                "numpy": numpy.__version__,
                "pillow": PIL.__version__,
            },
        }

    def _ingested_on_disk(self) -> dict[str, dict]:
        """The datasets there are, by the digest of their content."""
        names = self.published.by_content().items()
        return {content: {"dataset": name} for content, name in names}

    def _recorded(self, content: str) -> str | None:
        """The dataset of that content, where its description cannot be read."""
        entry = self.record.entries.get(content)
        there = entry and entry.dataset and self.data.dataset(entry.dataset).exists()
        return entry.dataset if there else None

    def _folder_key(self, folder: Path) -> str:
        return f"folder {folder}"

    def _enter(self, folder: Path, state: RawDatasetState, **outcome: object) -> None:
        entry = {"fingerprint": state.fingerprint, "image_size": self.options.image_size, **outcome}
        self.record.note(self._folder_key(folder), **entry)
        # Of many small ones that come at once, some are recorded together: to die before costs a
        # second look at these.
        if time.monotonic() >= self.recorded_at + constants.RECORD:
            self._save_record()

    def _save_record(self) -> None:
        self._keep_writing(self.record.save)
        self.recorded_at = time.monotonic()

    def _keep_writing(self, action: Callable[[], object]) -> None:
        retry_until_disk_works(action, log.error, self.options.once)


def images_per_class(labels: list[int], class_names: list[str]) -> dict[str, int]:
    counts = Counter(labels)
    return {name: counts[number] for number, name in enumerate(class_names)}


def _joined(sentences: list[str]) -> str:
    return " ".join(first_few(sentences))
