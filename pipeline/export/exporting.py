"""Export one checkpoint: its model in another format, tested there, with a description and an example."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import constants
from helper import UserError, flush_folder, printable, shown, write_json
from pipeline.analysis.evaluation import Evaluation, EvaluationError, Evaluator
from pipeline.artifacts.catalog import Catalog
from pipeline.artifacts.dataset import load_split
from pipeline.data_folder import DataFolder
from pipeline.export.example_file import example_file
from pipeline.export.model_formats import DESCRIPTION, FORMATS, check_modules
from pipeline.json_values import number_in
from pipeline.prediction.model_choice import Model, choose
from pipeline.stage.lock import Displaced, StageLock, stay_alone
from pipeline.stage.progress import counted
from pipeline.stage.status import Status
from pipeline.stage.text import count
from pipeline.statistics.calibration import COLDEST
from pipeline.statistics.intervals import with_interval

EXAMPLE = "example.py"


def export(options: argparse.Namespace) -> int:
    """Returns the exit status: 1 if there is no whole export, as was then said."""
    try:
        check_modules(options.format)
        catalog = Catalog(options.data.expanduser().absolute())
        model = choose(catalog, options.run)
        with StageLock("export", catalog.data.path):
            print(_export(catalog, model, options.format))
    except UserError as error:
        return _failed(error)
    except Displaced:
        return _failed("the data folder was deleted or replaced. Nothing is exported.")
    except OSError as error:
        return _failed(f"{error}. Nothing is exported.")
    return 0


def _failed(reason: object) -> int:
    print(f"{Path(sys.argv[0]).name}: {reason}", file=sys.stderr)
    return 1


def _export(catalog: Catalog, model: Model, form: str) -> str:
    """Write it, and return what there is to say of it."""
    with new_folder(catalog.data, model.run, form) as (folder, target):
        split = _test_images(catalog, model)
        pixels = split or _one_black_image(model)
        original = _evaluate(Evaluator(Status()), model, pixels)
        description = _description(model, original, form)
        convert = partial(_convert, form, folder, description)
        evaluator = Evaluator(Status(), convert, constants.EXPORT_SILENCE)
        exported = _evaluate(evaluator, model, pixels)
        tested = _compared(original, exported, split) if split else None
        write_json(folder / DESCRIPTION, {**description, "tested": tested})
        example = example_file(form, model.preparation.fit)
        (folder / EXAMPLE).write_text(example, encoding="utf-8")
    return f"{model.title} is in {shown(target)}: {_in_words(tested, model)}"


def _convert(
    form: str,
    folder: Path,
    description: dict,
    checkpoint: Path,
    log_file: Path,
    memory: int,
    connection: Connection,
) -> None:
    """In a process apart, in place of what tests a checkpoint: the same, by the exported model."""
    from pipeline.analysis import evaluation_worker
    from pipeline.export import model_formats

    made_of = partial(model_formats.converted, form, folder, description)
    sys.exit(evaluation_worker.main(checkpoint, log_file, memory, connection, made_of))


def _evaluate(evaluator: Evaluator, model: Model, split: dict[str, np.ndarray]) -> Evaluation:
    total = len(split["img"])
    with evaluator, counted(total, "testing", "images", evaluator.status) as progress:
        try:
            return evaluator.evaluate(model.path, model.sha256, split, progress)
        except EvaluationError as error:
            raise UserError(f"{model.title}: {error}") from error


def _test_images(catalog: Catalog, model: Model) -> dict[str, np.ndarray] | None:
    """Of the dataset that the checkpoint was trained on; None where that is not there."""
    [checkpoint] = [one for one in catalog.checkpoints if one.run == model.run]
    try:
        dataset = catalog.dataset_of(checkpoint)
    except UserError:
        return None
    return load_split(dataset.path, "test")


def _one_black_image(model: Model) -> dict[str, np.ndarray]:
    """For a model without test images: that it runs at all can be tried."""
    size = model.preparation.size
    images = np.zeros((1, size, size, 3), np.uint8)
    return {"img": images, "class": np.zeros((1, len(model.class_names)), np.float32)}


def _description(model: Model, evaluation: Evaluation, form: str) -> dict:
    """What it takes to use the exported model, and where that is from."""
    prepared = model.preparation
    temperature = number_in(evaluation.run, "temperature") or 1.0
    return {
        "file": FORMATS[form].file,
        "class_names": list(model.class_names),
        "input": {
            "image_size": [prepared.size, prepared.size],
            "channels": "RGB",  # a grey image has three equal ones
            "dtype": "float32",
            "range": [0, 255],
            "fit": prepared.fit,
            "resize": constants.RESIZE,
            "background": list(prepared.background),
            "ranges": model.ranges,
        },
        "temperature": max(COLDEST, temperature),
        "run": model.run,
        "title": model.title,
        "checkpoint_sha256": model.sha256,
        "versions": {"pipeline": constants.VERSION},
    }


def _compared(
    original: Evaluation, exported: Evaluation, split: dict[str, np.ndarray]
) -> dict[str, int | float]:
    ours, theirs = original.probabilities, exported.probabilities
    classes = theirs.argmax(1)
    return {
        "images": len(theirs),
        "different_classes": int(np.count_nonzero(classes != ours.argmax(1))),
        "largest_difference": float(np.abs(theirs - ours).max()),
        "accuracy": float(np.mean(classes == split["label"])),
    }


def _in_words(tested: dict[str, int | float] | None, model: Model) -> str:
    if tested is None:
        return f"it runs; on no test images, as its dataset {printable(model.dataset)} is not there"
    images, different = int(tested["images"]), int(tested["different_classes"])
    accuracy = f"test accuracy {with_interval(tested['accuracy'], images)}"
    if not different:
        return f"the same classes as the checkpoint for {count(images, 'test image')}, {accuracy}"
    return f"another class than the checkpoint for {different:,} of {count(images, 'test image')}, {accuracy}"


@contextmanager
def new_folder(data: DataFolder, run: str, form: str) -> Iterator[tuple[Path, Path]]:
    """A folder to write to, and what it is called once the block ends: whole, or not at all.

    Raises:
        UserError: there is something of that name already, or the name leads out of the data folder.
    """
    parent = data.exports / run
    target, partial_folder = parent / form, parent / f".{form}.partial"
    if not parent.resolve().is_relative_to(data.path.resolve()):
        raise UserError(f"{shown(parent)} is a link out of the data folder. Remove that link.")
    parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise UserError(
            f"{shown(target)} is there already. Delete it, or move it away, and export again."
        )
    _remove(partial_folder)  # of a process that was killed; no other one is at work
    partial_folder.mkdir()
    try:
        yield partial_folder, target
        _flush(partial_folder)
        stay_alone()
        try:
            partial_folder.rename(target)
        except OSError as error:
            if os.path.lexists(target):
                raise UserError(
                    f"{shown(target)} came meanwhile. Delete it, and export again."
                ) from error
            raise
        flush_folder(parent)
    finally:
        _remove(partial_folder)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _flush(folder: Path) -> None:
    """Make all that is in `folder` survive a power loss."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(Path(root, name), "rb") as file:
                os.fsync(file.fileno())
        flush_folder(Path(root))
