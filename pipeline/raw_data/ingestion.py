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
        self.datasets = options.data / constants.DATASETS
        self.published = Published(self.datasets)
        self.record = Ledger(
            options.data / constants.INGESTION_RECORD, self._ingested_on_disk, IngestionEntry.of
        )
        self.published.come_after(
            entry.dataset for entry in self.record.entries.values() if entry.dataset
        )
        self.sights: dict[Path, RawDatasetState] = {}
        self.strays: set[Path] = set()
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
        self.sights = {place: self.sights.get(place, RawDatasetState()) for place in found}
        for place, sight in self.sights.items():
            if not self._may_differ(place, sight, changed):
                continue
            status.beat()
            try:
                self._look_at(place, sight)
            except OSError as error:  # for now: looked at again even if nothing changes
                self._set_aside(place, sight, cannot_read(error))
                sight.fingerprint = ""
            except UserError:
                raise
            except Exception as error:  # a fault of ours: say all, and go on with the others
                log.exception("%s: not ingested", shown(place))
                self._set_aside(place, sight, f"{type(error).__name__}: {error}")
        self._save_record()
        if changed is None:  # which comes so rarely that no pause is needed after it
            self.seconds_for_all, self.seconds = self.seconds, 0.0
        self._say_strays()
        waiting = [
            self.options.settle - (time.monotonic() - sight.since) for sight in self.unsettled()
        ]
        return max(0.0, min(waiting)) if waiting else None

    def _may_differ(self, place: Path, sight: RawDatasetState, changed: set[str] | None) -> bool:
        """Whether there may be more to see than at the last look."""
        known = sight.settled and sight.fingerprint and place != self.folder
        return changed is None or not known or place.name in changed

    def unsettled(self) -> list[RawDatasetState]:
        return [sight for sight in self.sights.values() if not sight.settled]

    def all_well(self) -> bool:
        return not any(sight.problems for sight in self.sights.values())

    def _say_strays(self) -> None:
        """Name, once, each file that was dropped where only folders are looked at, such as an archive."""
        strays = {path for path in self.folder.glob("[!.]*") if path.is_file()}
        for path in sorted(strays - self.strays):
            log.warning(
                "%s is a file. Drop a folder with train/ and test/; unpack archives.", shown(path)
            )
        self.strays = strays

    def _look_at(self, place: Path, sight: RawDatasetState) -> None:
        began = time.monotonic()
        stock = scan(place)
        self.seconds += time.monotonic() - began
        fingerprint = stock.fingerprint()
        if fingerprint != sight.fingerprint:
            sight.fingerprint, sight.since = fingerprint, time.monotonic()
            sight.settled = self._is_recorded(place, sight)
            if not sight.settled:
                sight.problems = problems(place, stock)
        if sight.settled:
            return
        stable = time.monotonic() - sight.since >= self.options.settle
        if sight.problems:
            self._say_problems(place, sight, stable)
            sight.settled = stable
        elif stable:
            try:
                self._ingest(place, stock, sight)
            except Changed:
                log.info("%s: changed while it was read; reading it again", shown(place))

    def _set_aside(self, place: Path, sight: RawDatasetState, problem: str) -> None:
        """Leave a raw dataset alone until it changes."""
        sight.problems, sight.settled = [problem], True
        self._say_problems(place, sight, stable=True)

    def _is_recorded(self, place: Path, sight: RawDatasetState) -> bool:
        """Whether this very state of the folder was dealt with before, perhaps by an earlier process."""
        entry = self.record.entries.get(self._folder_key(place))
        state = sight.fingerprint, self.options.image_size
        if entry is None or (entry.fingerprint, entry.image_size) != state:
            return False
        sight.problems = entry.problems
        if sight.problems:
            text = _joined(sight.problems)
            log.error("%s: not ingested before, and unchanged since: %s", shown(place), text)
        return True

    def _say_problems(self, place: Path, sight: RawDatasetState, stable: bool) -> None:
        """Once per change; while a copy goes on, every few seconds at the most."""
        text = _joined(sight.problems)
        if text == sight.said or (
            not stable and time.monotonic() - sight.said_at < constants.SAY_AGAIN
        ):
            return
        sight.said, sight.said_at = text, time.monotonic()
        log.info("%s: not whole: %s", shown(place), text)

    def _ingest(self, place: Path, stock: FolderScan, sight: RawDatasetState) -> None:
        began = time.monotonic()
        total = sum(len(split.images) for split in stock.splits.values())
        log.debug("%s: reading %s images", shown(place), f"{total:,}")
        status.say(f"ingesting {place.name}")

        def check() -> None:
            stay_alone()
            if scan(place) != stock:
                raise Changed

        try:
            with counted(total, "ingestion | reading", "images") as progress:
                raw = read(place, stock, self.options.image_size, progress)
        except RawDatasetError as error:
            check()
            sight.problems = error.problems
            log.error("%s: not ingested: %s", shown(place), _joined(sight.problems))
            self._enter(place, sight, problems=sight.problems)
        else:
            self._publish(place, raw, began, check)
            self._enter(place, sight, content=raw.digest)
        sight.settled = True

    def _publish(
        self, place: Path, raw: RawDataset, began: float, check: Callable[[], None]
    ) -> None:
        """Write the dataset, unless there is one with the same content or `check` raises."""
        for warning in raw.warnings.values():
            log.warning("%s: warning: %s", shown(place), warning["text"])
        name = self.published.name_of(raw.digest) or self._recorded(raw.digest)
        if name:
            check()
            log.info("%s: same content as dataset %s, nothing new", shown(place), name)
        else:
            name = self._write(place, raw, began, check)
        if raw.digest not in self.record.entries:
            self.record.note(raw.digest, dataset=name)

    def _write(self, place: Path, raw: RawDataset, began: float, check: Callable[[], None]) -> str:
        """Write the dataset and its description; returns its name."""
        name = self.published.name_for(raw.digest)
        # The order of the splits is the format's.
        content = {split: raw.splits[split] for split in ("test", "train")}
        path, description = self.datasets / f"{name}.pkl", self._description(place, raw)
        self._keep_writing(lambda: safe_pickle.publish(path, content, description, check))
        self.published.add(raw.digest, name)
        counts = self._counts(raw)
        log.info(
            "%s: ingested as dataset %s in %.1f s (%s training and %s test images of %s classes)",
            shown(place),
            name,
            time.monotonic() - began,
            f"{counts['train']:,}",
            f"{counts['test']:,}",
            f"{len(raw.class_names):,}",
        )
        return name

    def _counts(self, raw: RawDataset) -> dict[str, int]:
        return {name: len(split["label"]) for name, split in raw.splits.items()}

    def _description(self, place: Path, raw: RawDataset) -> dict:
        return {
            "raw_dataset": shown(place),
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
        there = entry and entry.dataset and (self.datasets / f"{entry.dataset}.pkl").exists()
        return entry.dataset if there else None

    def _folder_key(self, place: Path) -> str:
        return f"folder {place}"

    def _enter(self, place: Path, sight: RawDatasetState, **outcome: object) -> None:
        entry = {"fingerprint": sight.fingerprint, "image_size": self.options.image_size, **outcome}
        self.record.note(self._folder_key(place), **entry)
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
