"""A dataset for each new content, and a record of what became of each raw dataset."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy
import PIL

import constants
from helper import digest_of, shown
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.image_table import image_table, validation_sha256
from pipeline.artifacts.ledger import Ledger
from pipeline.artifacts.metadata import IngestionEntry
from pipeline.data_folder import DataFolder, image_table_path
from pipeline.raw_data.data_warnings import as_described
from pipeline.raw_data.ingestion_settings import IngestionSettings
from pipeline.raw_data.layouts import Layout
from pipeline.raw_data.published import Published
from pipeline.raw_data.raw_dataset import RawDataset
from pipeline.stage.process import Stage
from pipeline.stage.text import count

log = logging.getLogger(__name__)


class DatasetWriter:
    """The datasets of `data` and the ledger of ingestion, which nobody else writes."""

    def __init__(self, data: DataFolder, settings: IngestionSettings, stage: Stage):
        self.data, self.stage = data, stage
        self.settings = digest_of(settings.as_plain())
        self.published = Published(data.datasets)
        self.record = Ledger(data.ingestion_record, self._ingested_on_disk, IngestionEntry.of)
        self.published.come_after(
            entry.dataset for entry in self.record.entries.values() if entry.dataset
        )
        self._saved_at = float("-inf")

    def outcome(self, folder: Path, fingerprint: str) -> IngestionEntry | None:
        """What became of this very state of a raw dataset, perhaps in an earlier process."""
        entry = self.record.entries.get(_key(folder))
        if entry is None or (entry.fingerprint, entry.settings) != (fingerprint, self.settings):
            return None
        return entry

    def note(self, folder: Path, fingerprint: str, **outcome: object) -> None:
        """Record what became of a raw dataset."""
        entry = {"fingerprint": fingerprint, "settings": self.settings, **outcome}
        self.record.note(_key(folder), **entry)
        # Of many small ones that come at once, some are recorded together: to die before costs a
        # second look at these.
        if time.monotonic() >= self._saved_at + constants.RECORD:
            self.save()

    def save(self) -> None:
        self.stage.retry(self.record.save)
        self._saved_at = time.monotonic()

    def publish(
        self, folder: Path, layout: Layout, raw: RawDataset, began: float, check: Callable[[], None]
    ) -> None:
        """Write the dataset, unless there is one with the same content or `check` raises."""
        log.info("%s: %s", shown(folder), understood(layout, raw))
        for warning in raw.warnings:
            log.warning("%s: warning: %s", shown(folder), warning)
        name = self.published.name_of(raw.digest) or self._recorded(raw.digest)
        if name:
            check()
            log.info("%s: same content as dataset %s, nothing new", shown(folder), name)
        else:
            name = self._write(folder, layout, raw, began, check)
        if raw.digest not in self.record.entries:
            self.record.note(raw.digest, dataset=name)

    def _write(
        self, folder: Path, layout: Layout, raw: RawDataset, began: float, check: Callable[[], None]
    ) -> str:
        """Write the dataset, its description and its table of images; returns its name."""
        name = self.published.name_for(raw.digest)
        # The order of the splits is the format's.
        content = {split: raw.splits[split] for split in ("test", "train")}
        path, description = self.data.dataset(name), describe(folder, layout, raw)
        beside = {image_table_path(path): table_of_images(raw)}
        self.stage.retry(lambda: safe_pickle.publish(path, content, description, check, beside))
        self.published.add(raw.digest, name)
        log.info(
            "%s: ingested as dataset %s in %.1f s (%s training and %s of %s)",
            shown(folder),
            name,
            time.monotonic() - began,
            f"{len(raw.splits['train']['label']):,}",
            count(len(raw.splits["test"]["label"]), "test image"),
            count(len(raw.class_names), "class", "classes"),
        )
        return name

    def _ingested_on_disk(self) -> dict[str, dict]:
        """The datasets there are, by the digest of their content."""
        names = self.published.by_content().items()
        return {content: {"dataset": name} for content, name in names}

    def _recorded(self, content: str) -> str | None:
        """The dataset of that content, where its description cannot be read."""
        entry = self.record.entries.get(content)
        name = entry.dataset if entry else None
        return name if name and self.data.dataset(name).exists() else None


def _key(folder: Path) -> str:
    return f"folder {folder}"


def understood(layout: Layout, raw: RawDataset) -> str:
    """How a raw dataset was understood, as one line for people."""
    train, test = (len(raw.splits[split]["label"]) for split in ("train", "test"))
    validation = raw.validation_images
    size, fit = raw.preparation.size, raw.preparation.fit
    parts = [layout.name, count(len(raw.class_names), "class", "classes")]
    parts.append(count(train + test, "image"))
    if raw.held_out:
        parts.append(f"{raw.held_out:,} of them held out as test")
    if validation:
        parts.append(f"{validation:,} of them for validation")
    return ", ".join(parts) + f"; to {size} x {size} pixels ({fit})"


def describe(folder: Path, layout: Layout, raw: RawDataset) -> dict:
    """The description of the dataset that was read from `folder`."""
    given = raw.validation
    validation = {} if given is None else {"validation_sha256": validation_sha256(given)}
    return {
        "raw_dataset": shown(folder),
        "content": raw.digest,
        "counts": {name: len(split["label"]) for name, split in raw.splits.items()},
        "layout": layout.name,
        "held_out": raw.held_out,
        "validation": raw.validation_images,
        "left_out": raw.left_out,
        "set_aside": len(layout.set_aside),
        "image_size": raw.preparation.size,
        "preparation": {**raw.preparation.as_plain(), "ranges": raw.ranges},
        "class_names": raw.class_names,
        "images_per_class": {
            name: images_per_class(split["label"].tolist(), raw.class_names)
            for name, split in raw.splits.items()
        },
        **validation,
        "warnings": as_described(raw.warnings),
        "versions": {
            "pipeline": constants.VERSION,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
        },
    }


def table_of_images(raw: RawDataset) -> bytes:
    """Which file each image of the dataset is, in the order of the pickle."""
    return image_table(
        {
            split: zip(
                raw.files[split],
                (raw.class_names[label] for label in raw.splits[split]["label"]),
                raw.digests[split],
                strict=True,
            )
            for split in ("test", "train")
        },
        raw.validation,
    )


def images_per_class(labels: list[int], class_names: list[str]) -> dict[str, int]:
    counts = Counter(labels)
    return {name: counts[number] for number, name in enumerate(class_names)}
