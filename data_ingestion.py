"""Stage 1: ingest. Checks each raw dataset that is dropped in and writes it as one dataset pickle.

Reads   data/raw_dataset and each folder in it, where it has train/ and test/
Writes  data/dataset/<time>.pkl, and <time>.json and <time>.csv beside it

    python data_ingestion.py            keep watching
    python data_ingestion.py --once     ingest what is there, then stop
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import gc
import sys
import time
from functools import partial
from pathlib import Path

import constants
from helper import UserError, shown
from pipeline.data_folder import DataFolder
from pipeline.raw_data.ingestion import Ingestion, RawDatasetState
from pipeline.stage.folder_watch import FolderWatch
from pipeline.stage.log_lines import log
from pipeline.stage.options import stage_parser
from pipeline.stage.process import Stage, run_stage
from pipeline.stage.terminal import run_script


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    # What is known of a large raw dataset is a million objects, none of them garbage: to look
    # through them for some as often as Python likes to takes a tenth of the time.
    gc.set_threshold(10_000, 10, 10)
    return run_stage("ingestion", options, constants.DATASETS, partial(ingest_what_comes, options))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--input-data",
        type=Path,
        metavar="DIR",
        help="the folder to watch (default: raw_dataset in the data folder)",
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=constants.SETTLE,
        metavar="SECONDS",
        help="a raw dataset must not change for this long before it is read (default: %(default)g)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=constants.IMAGE_SIZE,
        metavar="N",
        help="width and height of the images in the dataset, in pixels (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.settle <= 86_400:
        parser.error(f"--settle is {options.settle:g}, expected seconds between 0 and 86400")
    if not 1 <= options.image_size <= constants.MAX_IMAGE_SIZE:
        parser.error(
            f"--image-size is {options.image_size}, expected 1 to {constants.MAX_IMAGE_SIZE}"
        )
    return options


def ingest_what_comes(options: argparse.Namespace, stage: Stage) -> bool:
    """Ingest each raw dataset once it is whole. Returns, with --once, whether each one was."""
    folder = (options.input_data or DataFolder(options.data).raw_datasets).expanduser().absolute()
    if options.input_data and not folder.is_dir():
        raise UserError(f"--input-data {shown(folder)} is no folder. Make it, or name another one.")
    with FolderWatch([folder], recursive=True, poll=options.poll) as watch:
        ingestion = Ingestion(folder, options)
        log.info("watching %s", shown(folder))
        while True:
            pause = stage.retry(lambda: ingestion.look(watch.changed))
            if stage.once and not ingestion.unsettled():
                return ingestion.all_well()
            stage.status.update("waiting", _to_settle(ingestion.unsettled()))
            watch.wait(pause, ingestion.seconds_for_all)
            # A copy in progress sends thousands of events: do not look more often than is of use.
            time.sleep(min(ingestion.seconds * 2, constants.LOOK_AGAIN))


def _to_settle(unsettled: list[RawDatasetState]) -> str:
    number = len(unsettled)
    return f"{number} raw dataset{'s' * (number > 1)} to settle" if number else ""


if __name__ == "__main__":
    sys.exit(run_script(main))
