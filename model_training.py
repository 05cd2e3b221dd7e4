"""Stage 2: train. Takes the next waiting run, trains it, writes its checkpoint.

Reads   data/dataset/*.pkl, models/*.py, hyperparameters/*.toml, data/requests/*.json
Writes  data/model_checkpoints/<run>.pkl and <run>.json, <run>/logs for TensorBoard, <run>/training.log

    python model_training.py            keep watching
    python model_training.py --once     train what is waiting, then stop
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import sys
from functools import partial

import constants
from helper import shown
from pipeline.data_folder import DataFolder
from pipeline.stage.folder_watch import FolderWatch
from pipeline.stage.log_lines import log
from pipeline.stage.options import add_product_folders, stage_parser
from pipeline.stage.process import Stage, run_stage
from pipeline.stage.terminal import run_script
from pipeline.training.local_workers import LocalWorkers
from pipeline.training.run_queue import RunQueue
from pipeline.training.scheduler import Scheduler


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return run_stage("training", options, constants.CHECKPOINTS, partial(train_what_waits, options))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    add_product_folders(parser)
    for name, what in (("--models", "models"), ("--hyperparameters", "hyperparameter sets")):
        parser.add_argument(
            name, type=names, metavar="A,B", help=f"train only these {what} (default: all)"
        )
    parser.add_argument(
        "--workers",
        type=workers,
        default=1,
        metavar="N",
        help="train N runs side by side; auto: as many as give the most images per second"
        " (default: 1)",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try again the runs that failed before, and go on with those that ended early",
    )
    parser.add_argument(
        "--run-timeout",
        type=float,
        metavar="SECONDS",
        help="a run that takes longer, in one go, is ended: its best epoch so far is kept"
        " (default: no limit)",
    )
    parser.add_argument(
        "--preempt",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let a newer dataset go first: pause the running run after its epoch (default: yes)",
    )
    options = parser.parse_args(arguments)
    if options.run_timeout is not None and not options.run_timeout > 0:
        parser.error(f"--run-timeout is {options.run_timeout:g}, expected more than 0 seconds")
    for folder in (options.models_folder, options.hyperparameters_folder):
        if not folder.is_dir():
            parser.error(f"{shown(folder)} is no folder; make it, or name another one")
    return options


def workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f'"{text}" is neither auto nor a number from 1 to 1000')
    return int(text)


def names(text: str) -> set[str]:
    found = {name.strip() for name in text.split(",")}
    if "" in found:
        raise argparse.ArgumentTypeError(f'"{text}" is no list of names with commas between')
    return found


def train_what_waits(options: argparse.Namespace, stage: Stage) -> bool:
    """Train run after run. Returns, with --once, whether every run is trained."""
    folders = options.models_folder.absolute(), options.hyperparameters_folder.absolute()
    chosen = zip(folders, (options.models, options.hyperparameters), strict=True)
    queue = RunQueue(options.data, *folders, only={folder: some for folder, some in chosen if some})
    watched = [*queue.folders(), DataFolder(options.data).requests]
    with (
        FolderWatch(watched, poll=options.poll) as watch,
        LocalWorkers(watch.wake, stage.status, options.run_timeout) as processes,
    ):
        scheduler = Scheduler(queue, processes, options, stage)
        log.info("watching %s", ", ".join(shown(folder) for folder in queue.folders()))
        try:
            stage.retry(scheduler.start_what_fits)
            while processes.running or not stage.once:
                changed = watch.wait(look=scheduler.seconds_per_look)
                if scheduler.take_reports() or changed:
                    stage.retry(scheduler.start_what_fits)
                if not processes.running:
                    stage.status.update("waiting")
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*processes.interrupted()) from None
        return scheduler.all_well


if __name__ == "__main__":
    sys.exit(run_script(main))
