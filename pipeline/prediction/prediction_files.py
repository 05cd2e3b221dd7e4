"""What is written for each input: a table, a contact sheet, and last a description of both."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import constants
from helper import shown, whole_file, write_json
from pipeline.json_values import list_in, text_in
from pipeline.prediction.classification import Prediction, Predictions
from pipeline.prediction.model_choice import Model
from pipeline.prediction.new_images import Source
from pipeline.stage.text import csv_of

COLUMNS = (
    "file",
    "class",
    "confidence",
    "second_class",
    "second_confidence",
    "problem",
    "unlike_training",
)
MOST_IN_NAME = 255 - len("..json.partial")  # bytes, of an input's name


@dataclass(frozen=True)
class Described:
    """The .json of an input: what its predictions were made of, or why there are none.

    fingerprint: the state of its files then; content: a digest of what was in them.
    """

    fingerprint: str | None
    content: str | None
    checkpoint_sha256: str | None
    problem: str
    damaged: int

    @classmethod
    def of(cls, said: dict) -> "Described":
        return cls(
            *(text_in(said, key) for key in ("fingerprint", "content", "checkpoint_sha256")),
            text_in(said, "problem") or "",
            len(list_in(said, "damaged")),
        )


def table_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.csv"


def sheet_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def description_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def are_there(folder: Path, name: str) -> bool:
    return table_path(folder, name).is_file() and sheet_path(folder, name).is_file()


def write_predictions(
    folder: Path, source: Source, fingerprint: str, model: Model, found: Predictions, sheet: bytes
) -> None:
    """It may fail half-way and be called again; the description comes last."""
    files = {table_path(folder, source.name): as_table(found.rows)}
    files[sheet_path(folder, source.name)] = sheet
    for path, content in files.items():
        with whole_file(path) as file:
            file.write(content)
    write_json(
        description_of(folder, source.name),
        {
            "input": shown(source.path),
            "fingerprint": fingerprint,
            "content": found.content,
            "images": len(found.rows),
            "classes": dict(Counter(row.class_name for row in found.rows if not row.problem)),
            "unlike_training": found.unlike,
            "damaged": [row.file for row in found.damaged][: constants.MOST_EXAMPLES],
            "run": model.run,
            "dataset": model.dataset,
            "checkpoint_sha256": model.sha256,
            "val_accuracy": model.accuracy,
            "preparation": {**model.preparation.as_plain(), "ranges": model.ranges},
            "files": [path.name for path in files],
            "versions": {"pipeline": constants.VERSION},
        },
    )


def write_problem(folder: Path, source: Source, fingerprint: str, problem: str) -> None:
    """Why nothing could be predicted; what was predicted before, of other content, goes."""
    for path in (table_path(folder, source.name), sheet_path(folder, source.name)):
        path.unlink(missing_ok=True)
    said = {"input": shown(source.path), "fingerprint": fingerprint, "problem": problem}
    write_json(description_of(folder, source.name), said)


def as_table(rows: list[Prediction]) -> bytes:
    return csv_of(COLUMNS, (cells(row) for row in rows))


def cells(row: Prediction) -> tuple[object, ...]:
    first = "" if row.confidence is None else row.confidence
    second = "" if row.second_confidence is None else row.second_confidence
    unlike = {None: "", True: "yes", False: "no"}[row.unlike]
    return row.file, row.class_name, first, row.second_class, second, row.problem, unlike
