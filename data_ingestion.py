"""Stage 1: ingest. Checks each raw dataset that is dropped in and writes it as one dataset pickle.

Reads   each folder or archive of labelled images in data/raw_dataset
Writes  data/dataset/<time>.pkl, and <time>.json and <time>.csv beside it

    python data_ingestion.py            keep watching
    python data_ingestion.py --once     ingest what is there, then stop
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import gc
import re
import sys
import time
from functools import partial
from pathlib import Path

import constants
from helper import UserError, printable, shown
from pipeline.data_folder import DataFolder
from pipeline.raw_data.ingestion import Ingestion, RawDatasetState
from pipeline.raw_data.ingestion_settings import IngestionSettings, wrong_value
from pipeline.stage.folder_watch import FolderWatch
from pipeline.stage.log_lines import log
from pipeline.stage.options import add_settle, check_settle, stage_parser
from pipeline.stage.process import Stage, run_stage
from pipeline.stage.terminal import run_script
from pipeline.stage.text import count


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
    add_settle(parser, "a raw dataset must not change for this long before it is read")
    _add_image_options(parser)
    options = parser.parse_args(arguments)
    check_settle(parser, options)
    if not 1 <= options.largest_image <= constants.MOST_IMAGE_PIXELS:
        parser.error(
            f"--largest-image is {options.largest_image}, expected 1 to {constants.MOST_IMAGE_PIXELS}"
        )
    for folder in options.follow_links:
        if not folder.is_dir():
            parser.error(f"--follow-links {shown(folder)} is no folder")
    options.settings = _settings(options, parser)
    return options


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image-size",
        default="auto",
        metavar="N",
        help="width and height of the images in the dataset, in pixels, or auto: by the images that come"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--fit",
        default=constants.FIT,
        metavar="HOW",
        help="what is done about images that are not square: crop to the middle, pad with the background"
        " or squeeze (default: %(default)s)",
    )
    parser.add_argument(
        "--background",
        default=f"#{bytes(constants.BACKGROUND).hex()}",
        metavar="COLOUR",
        help="what lies under transparent parts and around padded images, as #rrggbb (default: %(default)s)",
    )
    parser.add_argument(
        "--test-share",
        type=float,
        default=constants.TEST_SHARE,
        metavar="SHARE",
        help="of the images, that is held out for testing where there is no test part (default:"
        " %(default)g)",
    )
    parser.add_argument(
        "--largest-image",
        type=int,
        default=constants.MAX_IMAGE_PIXELS,
        metavar="PIXELS",
        help="an image with more pixels is refused before it is decoded (default: %(default)s)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a raw dataset with a damaged image also where no table lists it",
    )
    parser.add_argument(
        "--follow-links",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="links to files in this folder are followed, too, such as a cache; may be given several times",
    )


def _settings(options: argparse.Namespace, parser: argparse.ArgumentParser) -> IngestionSettings:
    size, background = options.image_size, options.background
    values = {
        "image_size": int(size) if size.isascii() and size.isdecimal() else size,
        "fit": options.fit,
        "background": _colour(background),
        "test_share": options.test_share,
    }
    for name, value in values.items():
        if wrong_value(name, value):
            said = wrong_value(name, value).partition(", expected ")[2]
            option = name.replace("_", "-")
            parser.error(f"--{option} is {printable(getattr(options, name))}, expected {said}")
    return IngestionSettings.of(values, options.largest_image, options.strict)


def _colour(text: str) -> tuple[int, ...]:
    """Red, green and blue of "#rrggbb"; empty where it is no such text."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return ()
    return tuple(bytes.fromhex(text[1:]))


def ingest_what_comes(options: argparse.Namespace, stage: Stage) -> bool:
    """Ingest each raw dataset once it is whole. Returns, with --once, whether each one was."""
    folder = (options.input_data or DataFolder(options.data).raw_datasets).expanduser().absolute()
    if options.input_data and not folder.is_dir():
        raise UserError(f"--input-data {shown(folder)} is no folder. Make it, or name another one.")
    with FolderWatch([folder], recursive=True, poll=options.poll) as watch:
        ingestion = Ingestion(folder, options, stage)
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
    return f"{count(number, 'raw dataset')} to settle" if number else ""


if __name__ == "__main__":
    sys.exit(run_script(main))
