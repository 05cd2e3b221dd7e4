"""Stage 4: predict. Classifies new images with the best checkpoint.

Reads   each folder, archive and image in data/new_images, and the checkpoints in data/model_checkpoints
Writes  data/predictions/<name>.csv, and <name>.png and <name>.json beside it

    python model_prediction.py                      keep watching
    python model_prediction.py --once               classify what is there, then stop
    python model_prediction.py photo.jpg folder/    print the class of each of these images
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import constants
from helper import shown
from pipeline.analysis.evaluation import Evaluator
from pipeline.data_folder import DataFolder
from pipeline.prediction.prediction import Prediction
from pipeline.prediction.printed_table import print_predictions
from pipeline.stage.folder_watch import FolderWatch
from pipeline.stage.log_lines import log
from pipeline.stage.options import add_settle, check_settle, stage_parser
from pipeline.stage.process import Stage, run_stage
from pipeline.stage.terminal import run_script
from pipeline.stage.text import count


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.images:
        return print_predictions(options)
    return run_stage(
        "prediction", options, constants.PREDICTIONS, partial(predict_what_comes, options)
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGE",
        help="images, folders or archives to print a table of, at once; without any, keep watching",
    )
    parser.add_argument(
        "--run",
        default="",
        metavar="NAME",
        help="classify with the checkpoint of this run (default: the best by validation)",
    )
    parser.add_argument(
        "--dataset",
        default="",
        metavar="TIME",
        help="classify with the best checkpoint of this dataset (default: the newest that has one)",
    )
    add_settle(parser, "what is dropped must not change for three times as long before it is read")
    options = parser.parse_args(arguments)
    check_settle(parser, options)
    options.run, options.dataset = (
        name.removesuffix(".pkl") for name in (options.run, options.dataset)
    )
    return options


def predict_what_comes(options: argparse.Namespace, stage: Stage) -> bool:
    """Classify each input once it is whole. Returns, with --once, whether each one could be."""
    data = DataFolder(options.data)
    folders = [data.new_images, data.checkpoints, data.datasets]
    with (
        FolderWatch(folders, recursive=data.new_images, poll=options.poll) as watch,
        Evaluator(stage.status) as evaluator,
    ):
        prediction = Prediction(options, evaluator, stage)
        log.info("watching %s", shown(data.new_images))
        while True:
            began = time.thread_time()
            pause = stage.retry(prediction.look)
            look = time.thread_time() - began
            waiting = len(prediction.unsettled())
            if stage.once and not waiting:
                return prediction.all_well()
            if not waiting:
                evaluator.forget()  # and with it a model's memory
            stage.status.update(
                "waiting", f"{count(waiting, 'input')} to settle" if waiting else ""
            )
            watch.wait(pause, look)
            # A copy in progress sends thousands of events: do not look more often than is of use.
            time.sleep(min(look * 2, constants.LOOK_AGAIN))


if __name__ == "__main__":
    sys.exit(run_script(main))
