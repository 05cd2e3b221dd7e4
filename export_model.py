"""Export the model of a run, for use without this project: in Keras's, TensorFlow's or another format.

Reads   data/model_checkpoints/<run>.pkl, and the dataset's test images, on which the export is tested
Writes  data/exports/<run>/<format>/: the model, model.json (classes, preprocessing, test), example.py

    python export_model.py --format keras         the best run by validation
    python export_model.py RUN --format onnx      that run, as run_queue.py names it
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import sys

from pipeline.export.exporting import export
from pipeline.export.model_formats import FORMATS
from pipeline.stage.options import add_data_folder
from pipeline.stage.terminal import run_script


def main(arguments: list[str] | None = None) -> int:
    return export(parse(arguments))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "run",
        nargs="?",
        default="",
        metavar="RUN",
        help="the run to export (default: the best by validation of the newest dataset that has one)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        required=True,
        help="keras and savedmodel need nothing else; for the others: requirements-export.txt",
    )
    add_data_folder(parser)
    options = parser.parse_args(arguments)
    options.run = options.run.removesuffix(".pkl")
    return options


if __name__ == "__main__":
    sys.exit(run_script(main))
