"""Images of any size in, the class of each out: read as ingestion reads them.

The model works in a process apart.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import constants
from pipeline.analysis.evaluation import Evaluator
from pipeline.images.image_reader import ReadResult
from pipeline.images.reader_processes import readers_for
from pipeline.json_values import number_in
from pipeline.prediction.model_choice import Model
from pipeline.statistics.calibration import COLDEST, tempered


@dataclass(frozen=True)
class ImageFiles:
    """Images in `folder`.

    names: as people know them; opened: the file of each, from `folder` on; sizes: bytes of each.
    """

    folder: Path
    names: Sequence[str]
    opened: Sequence[str]
    sizes: Sequence[int]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image, or why it cannot be read.

    unlike: whether it is unlike all images that the model was trained on; None where that is not known.
    """

    file: str
    class_name: str = ""
    confidence: float | None = None
    second_class: str = ""
    second_confidence: float | None = None
    problem: str = ""
    unlike: bool | None = None


@dataclass
class Predictions:
    """All of some images, in their order.

    content: digest of names and files: what they are known by.
    least_sure: pixels of those images that the model is least sure of, by their number.
    """

    rows: list[Prediction]
    content: str
    least_sure: dict[int, np.ndarray]

    @property
    def damaged(self) -> list[Prediction]:
        return [row for row in self.rows if row.problem]

    @property
    def unlike(self) -> int:
        return sum(row.unlike is True for row in self.rows)


def classify(
    images: ImageFiles, model: Model, evaluator: Evaluator, progress: Callable[[int], object]
) -> Predictions:
    """`progress` is called with the number of images that are done since its last call.

    Raises:
        FileNotFoundError: the checkpoint went, or was replaced.
        OSError: something cannot be read for now.
        UserError: the checkpoint is refused, or failed.
    """
    evaluator.prepare(model.path, model.sha256)  # meanwhile, images are read
    predictions = Predictions([], "", {})
    content = hashlib.sha256()
    for some in _parts(images, model):
        pixels, result = _read(some, model)
        whole = np.ones(len(some), bool)
        whole[list(result.damaged)] = False
        probabilities = np.zeros((len(some), len(model.class_names)), np.float32)
        unlike: list[bool | None] = [None] * len(some)
        if whole.any():
            given = pixels if whole.all() else pixels[whole]
            probabilities[whole], told = _probabilities(given, model, evaluator)
            for number, value in zip(np.flatnonzero(whole), told, strict=False):
                unlike[number] = value
        for name, digest in zip(some.names, result.file_digests, strict=True):
            content.update(f"{name}\0{digest.hex()}\n".encode("utf-8", "surrogatepass"))
        before = len(predictions.rows)
        found = _rows(some.names, probabilities, result.damaged, model.class_names)
        predictions.rows += [
            replace(row, unlike=value) for row, value in zip(found, unlike, strict=True)
        ]
        _keep_least_sure(predictions, before, pixels)
        progress(len(some))
    predictions.content = content.hexdigest()
    return predictions


def _parts(images: ImageFiles, model: Model) -> Iterator[ImageFiles]:
    """As many images at once as their pixels have room."""
    at_once = max(1, constants.PREDICTED_BYTES // (model.preparation.size**2 * 3))
    for first in range(0, len(images), at_once):
        part = slice(first, first + at_once)
        yield ImageFiles(images.folder, images.names[part], images.opened[part], images.sizes[part])


def _read(images: ImageFiles, model: Model) -> tuple[np.ndarray, ReadResult]:
    with readers_for(list(images.sizes), model.preparation) as readers:
        reading = readers.read(images.folder, list(images.opened), images.sizes)
        readers.finish(given=model.ranges)
    return reading.pixels, reading.result


def _probabilities(
    pixels: np.ndarray, model: Model, evaluator: Evaluator
) -> tuple[np.ndarray, Sequence[bool]]:
    """Of each image those of its classes, and whether it is unlike all that were trained on, if known."""
    classes = np.broadcast_to(np.float32(0), (len(pixels), len(model.class_names)))
    split = {"img": pixels, "class": classes}
    evaluation = evaluator.evaluate(
        model.path, model.sha256, split, lambda _: evaluator.status.heartbeat(), unlike=True
    )
    temperature = number_in(evaluation.run, "temperature") or 1.0
    return tempered(evaluation.probabilities, max(COLDEST, temperature)), evaluation.unlike


def _rows(
    names: Sequence[str],
    probabilities: np.ndarray,
    damaged: dict[int, str],
    class_names: Sequence[str],
) -> Iterator[Prediction]:
    for number, (name, row) in enumerate(zip(names, probabilities, strict=True)):
        if number in damaged:
            yield Prediction(name, problem=damaged[number])
            continue
        first, *others = np.argsort(-row, kind="stable")[:2]
        second = (class_names[others[0]], float(row[others[0]])) if others else ("", None)
        yield Prediction(name, class_names[first], float(row[first]), *second)


def _keep_least_sure(predictions: Predictions, begin: int, pixels: np.ndarray) -> None:
    """Of the images from number `begin` on, whose pixels these are, and of those that were kept before.

    Those that are unlike what was trained on come before all others.
    """
    kept, rows = predictions.least_sure, predictions.rows
    new = [number for number in range(begin, len(rows)) if not rows[number].problem]
    least = sorted(
        [*kept, *new], key=lambda number: (not rows[number].unlike, rows[number].confidence or 0.0)
    )
    predictions.least_sure = {
        number: kept[number] if number in kept else pixels[number - begin].copy()
        for number in least[: constants.MOST_ON_SHEET]
    }
