"""Print what became of each dataset x model x hyperparameter set, and which stages live.

Reads   data/, models/*.py, hyperparameters/*.toml; changes nothing

    python run_queue.py                 print the whole product as a table
    python run_queue.py --json          the same for programs
    python run_queue.py --health        say which stages live; of one, with --stage NAME
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path

import constants
from pipeline.data_folder import DataFolder
from pipeline.stage.terminal import run_script
from pipeline.training import health, run_table
from pipeline.training.run_queue import RunQueue
from pipeline.training.run_table import RunTable


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.health:
        return health.print_health(options.data, options.json, options.stages)
    queue = RunQueue(options.data, options.models_folder, options.hyperparameters_folder)
    runs = queue.look()
    table = RunTable(options.data).refresh(runs)
    seeds = run_table.over_seeds(table, runs)
    if options.json:
        content = {"runs": table, "over_seeds": seeds}
        plain = {name: run_table.as_plain(records) for name, records in content.items()}
        print(json.dumps({**plain, "problems": queue.problems}, indent=2))
    else:
        print(run_table.as_text(table))
        is_live = run_table.is_locked(DataFolder(options.data).lock("training"))
        summary = run_table.summary(table, is_live, datetime.now())
        for line in filter(None, [*(group.as_line() for group in seeds), summary]):
            print(line)
        for problem in queue.problems:
            print(problem, file=sys.stderr)
    return 1 if queue.problems else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Print what became of each dataset x model x hyperparameter set.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    folders = (
        ("--data", constants.DATA, "the data folder (default: data)"),
        ("--models-folder", constants.MODELS, "where the models are (default: models)"),
        (
            "--hyperparameters-folder",
            constants.HYPERPARAMETERS,
            "where the hyperparameter sets are (default: hyperparameters)",
        ),
    )
    for name, default, what in folders:
        add(name, type=Path, default=default, metavar="DIR", help=what)
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
    options = parser.parse_args(arguments)
    if options.stages is not health.STAGES and not options.health:
        parser.error("--stage goes with --health: add it, or leave --stage out")
    return options


if __name__ == "__main__":
    sys.exit(run_script(main))
