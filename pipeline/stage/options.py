"""The options that several scripts share."""

import argparse
from pathlib import Path

import constants


def stage_parser(documentation: str) -> argparse.ArgumentParser:
    """A parser with the options that all stages share; the help text starts with the script's docstring."""
    parser = argparse.ArgumentParser(
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_data_folder(parser)
    parser.add_argument("--once", action="store_true", help="do what is waiting, then stop")
    parser.add_argument(
        "--poll",
        action="store_true",
        help=f"look every {constants.POLL:g} s instead of waiting for events"
        " (for network and container mounts)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="say also when there was nothing to do"
    )
    parser.add_argument("--version", action="version", version=constants.VERSION)
    return parser


def add_data_folder(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser, "--data", constants.DATA, "the data folder (default: data)")


def add_product_folders(parser: argparse.ArgumentParser) -> None:
    """Where the models and the hyperparameter sets are that every dataset is multiplied with."""
    models, sets = constants.MODELS, constants.HYPERPARAMETERS
    _add_folder(parser, "--models-folder", models, "where the models are (default: models)")
    meaning = "where the hyperparameter sets are (default: hyperparameters)"
    _add_folder(parser, "--hyperparameters-folder", sets, meaning)


def _add_folder(parser: argparse.ArgumentParser, name: str, default: Path, meaning: str) -> None:
    parser.add_argument(name, type=Path, default=default, metavar="DIR", help=meaning)


def add_settle(parser: argparse.ArgumentParser, meaning: str) -> None:
    """The option for how long what is dropped must not change; `check_settle` its value."""
    parser.add_argument(
        "--settle",
        type=float,
        default=constants.SETTLE,
        metavar="SECONDS",
        help=f"{meaning} (default: %(default)g)",
    )


def check_settle(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not 0 <= options.settle <= 86_400:
        parser.error(f"--settle is {options.settle:g}, expected seconds between 0 and 86400")
