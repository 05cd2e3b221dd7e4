"""Print what became of each dataset x model x hyperparameter set, and which stages live; or ask for a change.

Reads   data/, models/*.py, hyperparameters/*.toml
Writes  data/requests/*.json, where something is asked, for model_training.py

    python run_queue.py                 print the whole product as a table
    python run_queue.py --json          the same for programs
    python run_queue.py --health        say which stages live; of one, with --stage NAME
    python run_queue.py --cancel RUN    ask for that; or --stop, --retry, --hide, --priority N, --note TEXT
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import json
import sys
import time
from contextlib import suppress
from datetime import datetime

from helper import UserError, printable, shown
from pipeline.data_folder import DataFolder
from pipeline.requests.request import Action, write_request
from pipeline.requests.requested import why_refused
from pipeline.stage.lock import StageLock
from pipeline.stage.options import add_data_folder, add_product_folders
from pipeline.stage.process import Stage
from pipeline.stage.terminal import run_script
from pipeline.training import health, run_table
from pipeline.training.run_queue import RunQueue
from pipeline.training.run_table import RunTable
from pipeline.training.scheduler import RunRequests, TrainingRecord

PATIENCE = 3.0  # seconds, for a training stage to carry out what is asked


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.health:
        return health.print_health(options.data, options.json, options.stages)
    queue = RunQueue(options.data, options.models_folder, options.hyperparameters_folder)
    if options.action:
        return ask(options, queue)
    runs = queue.look()
    table = RunTable(options.data).refresh(runs)
    seeds = run_table.over_seeds(table, runs)
    if options.json:
        content = {"runs": table, "over_seeds": seeds}
        plain = {name: run_table.as_plain(records) for name, records in content.items()}
        print(json.dumps({**plain, "problems": queue.problems}, indent=2))
    else:
        print(run_table.as_text(table, options.all))
        is_live = run_table.is_locked(DataFolder(options.data).lock("training"))
        summary = run_table.summary(table, is_live, datetime.now())
        for line in filter(None, [*(group.as_line() for group in seeds), summary]):
            print(line)
        for problem in queue.problems:
            print(problem, file=sys.stderr)
    return 1 if queue.problems else 0


def ask(options: argparse.Namespace, queue: RunQueue) -> int:
    """Ask for a change of some runs. Where no training stage is there to carry it out, do so."""
    action, data = options.action, DataFolder(options.data)
    said = {key: getattr(options, key) for key in ("priority", "note") if key == action}
    request = write_request(options.data, Action(action), options.runs, **said)
    with suppress(UserError), StageLock("training", options.data):
        RunRequests(queue, TrainingRecord(data, Stage(once=True))).carry_out()
    until = time.monotonic() + PATIENCE
    while request.exists() and time.monotonic() < until:
        time.sleep(0.05)
    if request.exists():
        print(f"asked in {shown(request)}; the training stage has not carried it out yet")
        return 0
    refused = why_refused(data, request)
    print(refused or f"done: {action} {', '.join(map(printable, options.runs))}")
    return 1 if refused else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Print what became of each dataset x model x hyperparameter set, or ask for a change.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add_data_folder(parser)
    add_product_folders(parser)
    add(
        "--health",
        action="store_true",
        help="print which stages are live, stuck or down instead; exit status 1 if not all are live",
    )
    add(
        "--stage",
        dest="stages",
        nargs=1,
        choices=health.STAGES,
        default=health.STAGES,
        metavar="NAME",
        help=f"with --health: of this stage alone ({', '.join(health.STAGES)})",
    )
    add("--json", action="store_true", help="print JSON, for programs")
    add("--all", action="store_true", help="print hidden runs, too")
    add_requests(parser)
    options = parser.parse_args(arguments)
    for key in ("priority", "note"):
        if getattr(options, key) is not None:
            options.action = key
    if bool(options.action) != bool(options.runs):
        parser.error(
            "name the runs, by the names that --json says, and what is asked, such as --cancel"
        )
    if options.stages is not health.STAGES and not options.health:
        parser.error("--stage goes with --health: add it, or leave --stage out")
    return options


def add_requests(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="runs that something is asked for, by name or key"
    )
    add = parser.add_mutually_exclusive_group().add_argument
    actions = {
        Action.CANCEL: "do not train these runs; end them where they are being trained",
        Action.STOP: "end the training of these runs: the best epoch so far becomes the checkpoint",
        Action.RETRY: "train these runs that failed or were cancelled",
        Action.HIDE: "leave these runs out of the table",
        Action.UNHIDE: "show these runs again",
    }
    for action, what in actions.items():
        add(f"--{action}", dest="action", action="store_const", const=action.value, help=what)
    add(
        "--priority",
        type=int,
        metavar="N",
        help="train these runs before all that have a lower one (default of a run: 0)",
    )
    add("--note", metavar="TEXT", help="put down a line about these runs")


if __name__ == "__main__":
    sys.exit(run_script(main))
