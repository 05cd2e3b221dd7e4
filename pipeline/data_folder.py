"""The map of a data folder: where each file in it lies, and whether one has changed.

Every room needs it, so it lies below all of them. It knows no content.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import constants

FileState = tuple[int, int, int, int]
CLOCK_TICK = 0.1  # seconds; Linux dates files to 1/250 s or finer


@dataclass(frozen=True)
class DataFolder:
    """The data folder at `path`; nothing in it needs to be there."""

    path: Path

    @property
    def raw_datasets(self) -> Path:
        return self.path / constants.RAW_DATASETS

    @property
    def datasets(self) -> Path:
        return self.path / constants.DATASETS

    @property
    def checkpoints(self) -> Path:
        return self.path / constants.CHECKPOINTS

    @property
    def results(self) -> Path:
        return self.path / constants.RESULTS

    @property
    def results_on_other_datasets(self) -> Path:
        return self.results / constants.OTHER_DATASETS

    @property
    def new_images(self) -> Path:
        """Where people drop what is to be classified."""
        return self.path / constants.NEW_IMAGES

    @property
    def predictions(self) -> Path:
        return self.path / constants.PREDICTIONS

    @property
    def exports(self) -> Path:
        return self.path / constants.EXPORTS

    @property
    def requests(self) -> Path:
        """Where it is put down what a person asks of runs."""
        return self.path / constants.REQUESTS

    @property
    def requests_record(self) -> Path:
        return self.path / constants.REQUESTS_RECORD

    @property
    def ingestion_record(self) -> Path:
        return self.path / constants.INGESTION_RECORD

    @property
    def training_record(self) -> Path:
        return self.path / constants.TRAINING_RECORD

    @property
    def analysis_record(self) -> Path:
        return self.path / constants.ANALYSIS_RECORD

    @property
    def unpacked(self) -> Path:
        """Where the files of an archive are while it is ingested."""
        return self.path / constants.UNPACKED

    @property
    def unpacked_new(self) -> Path:
        """The same for what is classified."""
        return self.path / constants.UNPACKED_NEW

    @property
    def incoming(self) -> Path:
        """Where the page keeps what it is given until it is whole: on the same disk, to be renamed."""
        return self.path / constants.INCOMING

    def dataset(self, name: str) -> Path:
        return self.datasets / f"{name}.pkl"

    def checkpoint(self, run: str) -> Path:
        return self.checkpoints / f"{run}.pkl"

    def report(self, run: str) -> Path:
        return self.results / f"{run}.json"

    def report_on_other_datasets(self, run: str) -> Path:
        return self.results_on_other_datasets / f"{run}.json"

    def lock(self, stage: str) -> Path:
        """The file whose kernel lock the process of `stage` holds."""
        return self.path / f".{stage}.lock"

    def status(self, stage: str) -> Path:
        return self.path / constants.STATUS / f"{stage}.json"

    def make(self) -> None:
        """Make the folders that people drop files into and find results in, as far as they lack."""
        for folder in (
            *(self.raw_datasets, self.datasets, self.checkpoints, self.results),
            *(self.new_images, self.predictions, self.requests),
        ):
            folder.mkdir(parents=True, exist_ok=True)


def archive_suffix(name: str) -> str:
    """What the name of an archive ends in; "" for any other name."""
    endings = (
        len(suffix) for suffix in constants.ARCHIVE_SUFFIXES if name.lower().endswith(suffix)
    )
    return name[len(name) - max(endings, default=0) :]


def description_path(pickle_path: Path) -> Path:
    """Where the description beside a pickle is: `<name>.json` for `<name>.pkl`."""
    return pickle_path.with_suffix(".json")


def image_table_path(dataset: Path) -> Path:
    """Where it is said which file each image of a dataset was read from: `<time>.csv`."""
    return dataset.with_suffix(".csv")


def run_folder(checkpoint: Path) -> Path:
    """Where a run keeps its logs, and what it needs to go on from its last whole epoch."""
    return checkpoint.with_suffix("")


def training_log(checkpoint: Path) -> Path:
    """What the process that trains a run prints. While it works, it holds this file's kernel lock."""
    return run_folder(checkpoint) / "training.log"


def file_state(status: os.stat_result) -> FileState:
    """What is different when a file has changed or was replaced."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def state_of(path: Path) -> tuple[FileState | None, bool]:
    """The state of what is at `path`, None where nothing is; and whether it can be relied on: within
    one tick of the clock a file can change twice."""
    try:
        status = path.stat()
    except OSError:
        return None, False
    return file_state(status), status.st_ctime < time.time() - CLOCK_TICK
