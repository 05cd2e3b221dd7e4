"""The classes of images that a person names in the command line, as a table in the terminal."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from helper import UserError, printable
from pipeline.analysis.evaluation import Evaluator
from pipeline.artifacts.catalog import Catalog
from pipeline.prediction.classification import Prediction, classify
from pipeline.prediction.model_choice import Model, choose
from pipeline.prediction.new_images import Source, named_by_hand, opened
from pipeline.stage.progress import counted
from pipeline.stage.status import Status
from pipeline.stage.text import percent
from pipeline.training.run_table import aligned

HEAD = ("file", "class", "confidence", "second class", "confidence", "")
UNLIKE = "unlike all training images: perhaps none of these classes"
NOTHING_TO_DO_WITH = 2  # the exit status where an image or the checkpoint is missing


def print_predictions(options: argparse.Namespace) -> int:
    """Returns the exit status: 1 if one of the images is damaged."""
    try:
        sources = [named_by_hand(path) for path in options.images]
        model = choose(Catalog(options.data.expanduser().absolute()), options.run, options.dataset)
        with Evaluator(Status()) as evaluator:
            rows = [row for one in sources for row in _rows_of(one, model, evaluator)]
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return NOTHING_TO_DO_WITH
    except OSError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    print(aligned([HEAD, *(_cells(row) for row in rows if not row.problem)]))
    for row in rows:
        if row.problem:
            print(f"{printable(row.file)} {row.problem}")
    print(f"by {model.title}", file=sys.stderr)
    return 1 if any(row.problem for row in rows) else 0


def _rows_of(source: Source, model: Model, evaluator: Evaluator) -> list[Prediction]:
    with (
        tempfile.TemporaryDirectory(prefix="prediction-") as folder,
        opened(source, Path(folder) / "unpacked") as images,
        counted(len(images), "classifying", "images", evaluator.status) as progress,
    ):
        rows = classify(images, model, evaluator, progress).rows
    if source.path.is_dir() or len(rows) > 1:
        return [replace(row, file=f"{source.name}/{row.file}") for row in rows]
    return [replace(row, file=source.name) for row in rows]


def _cells(row: Prediction) -> tuple[str, ...]:
    sure = (
        percent(one) if one is not None else "" for one in (row.confidence, row.second_confidence)
    )
    first, second = sure
    hint = UNLIKE if row.unlike else ""
    return tuple(map(printable, (row.file, row.class_name, first, row.second_class, second, hint)))
