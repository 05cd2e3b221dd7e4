"""Which checkpoint classifies new images, and how an image becomes its input."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import constants
from helper import UserError, printable, shown
from pipeline.artifacts.catalog import Catalog, Checkpoint
from pipeline.artifacts.dataset import display_run
from pipeline.artifacts.metadata import DatasetDescription
from pipeline.images.image_decoder import Range
from pipeline.images.preparation import FITS, Preparation


class NoModel(UserError):
    """There is no checkpoint to classify with."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, and what its images and its classes are like.

    title: the run's name for people.
    ranges: what becomes black and white in an image of more than 8 bits, by its sort.
    accuracy: in validation; None where it is not known.
    """

    path: Path
    sha256: str
    dataset: str
    title: str
    class_names: tuple[str, ...]
    preparation: Preparation
    ranges: dict[str, Range]
    accuracy: float | None

    @property
    def run(self) -> str:
        return self.path.stem


def choose(
    catalog: Catalog, run: str = "", dataset: str = "", failed: Container[str] = ()
) -> Model:
    """The best checkpoint by validation, of the newest dataset that has one; or the one of `run`, or the
    best of `dataset`. Those whose SHA-256 is in `failed` do not count.

    Raises:
        NoModel: there is none.
    """
    found = [
        one
        for one in catalog.checkpoints
        if (not run or one.run == run) and (not dataset or one.dataset == dataset)
    ]
    models = []
    for checkpoint in found:
        try:
            if checkpoint.sha256 not in failed:
                models.append((checkpoint, model_of(catalog, checkpoint)))
        except OSError:
            continue  # it went while we looked, or the disk does not give it for now
        except UserError:
            if run:
                raise
    if not models:
        raise NoModel(_why_none(catalog, run, dataset, bool(found)))
    newest = models[0][0].dataset  # as the catalog orders them
    best = max((one for one in models if one[0].dataset == newest), key=_quality)
    return best[1]


def _quality(candidate: tuple[Checkpoint, Model]) -> tuple[bool, float]:
    described = candidate[0].description
    return described.validated, described.accuracy or 0.0


def _why_none(catalog: Catalog, run: str, dataset: str, found: bool) -> str:
    folder = shown(catalog.data.checkpoints)
    if found:
        return f"no checkpoint in {folder} can be used. Train another one with model_training.py."
    if run:
        return f"{printable(run)} is no checkpoint in {folder}. run_queue.py lists the runs."
    if dataset:
        which = f"{folder} has no checkpoint of dataset {printable(dataset)}"
        return f"{which}. Train one with model_training.py."
    return f"there is no checkpoint in {folder}. Train one with model_training.py."


def model_of(catalog: Catalog, checkpoint: Checkpoint) -> Model:
    """
    Raises:
        NoModel: how an image becomes its input cannot be told.
    """
    said, dataset = checkpoint.description, _dataset_of(catalog, checkpoint)
    names = said.class_names or (dataset.class_names if dataset else ())
    size = said.input_size or ((dataset.image_size,) * 2 if dataset and dataset.image_size else ())
    name = printable(checkpoint.run)
    if not names or not size:
        raise NoModel(
            f"{name}: neither its description nor that of its dataset says which classes it has and which"
            " images it takes. Put the .json files back, or train it again."
        )
    if len({*size}) > 1 or not 1 <= size[0] <= constants.MAX_IMAGE_SIZE:
        raise NoModel(
            f"{name} takes images of {' x '.join(map(str, size))} pixels, expected square ones."
        )
    prepared = said.preparation or (dataset.preparation if dataset else {})
    fit = prepared.get("fit")
    preparation = Preparation(
        size[0],
        fit if fit in FITS else constants.FIT,
        tuple(prepared.get("background", constants.BACKGROUND)),
    )
    ranges = {sort: (low, high) for sort, (low, high) in prepared.get("ranges", {}).items()}
    accuracy = said.accuracy if said.validated else None
    raw_name = dataset.raw_name if dataset else ""
    return Model(
        *(checkpoint.path, checkpoint.sha256, checkpoint.dataset),
        display_run(checkpoint.run, checkpoint.dataset, raw_name),
        *(names, preparation, ranges, accuracy),
    )


def _dataset_of(catalog: Catalog, checkpoint: Checkpoint) -> DatasetDescription | None:
    try:
        return catalog.dataset_of(checkpoint).description
    except UserError:
        return None
