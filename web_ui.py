"""The page: put pictures in and see what comes out, in a browser.

Reads   data/, models/*.py, hyperparameters/*.toml
Writes  data/raw_dataset and data/new_images, by way of data/.incoming; hyperparameters/*.toml

    python web_ui.py                    serve it to this machine
    python web_ui.py --host 0.0.0.0     serve it to others, too, who have the token
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import sys
from pathlib import Path

import constants
from pipeline.stage.options import add_data_folder, add_product_folders
from pipeline.stage.terminal import run_script


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    from pipeline.web.server import serve  # takes seconds, for which --help need not wait

    return serve(options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add_data_folder(parser)
    add_product_folders(parser)
    add(
        "--host",
        default=constants.WEB_HOST,
        metavar="ADDRESS",
        help="the address to serve at; any but this machine's own asks for a token (default: %(default)s)",
    )
    add(
        "--port",
        type=int,
        metavar="NUMBER",
        help=f"the port to serve at; 0 takes any (default: {constants.WEB_PORT}, or the next that is free)",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="ask for the token in this file; without one, with --host, a new one is made and printed",
    )
    add(
        "--allow-model-upload",
        action="store_true",
        help="let the page put files into models/, which is to let it run code on this machine",
    )
    add("--verbose", action="store_true", help="print each request")
    add("--version", action="version", version=constants.VERSION)
    options = parser.parse_args(arguments)
    if options.port is not None and not 0 <= options.port < 2**16:
        parser.error(f"--port is {options.port}, expected a number from 0 to 65535")
    return options


if __name__ == "__main__":
    sys.exit(run_script(main))
