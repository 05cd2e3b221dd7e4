"""What became of a picture that was dropped to be classified."""

import csv
import io
from typing import Any

import constants
from helper import printable, read_file
from pipeline.artifacts.metadata import said_in
from pipeline.data_folder import DataFolder
from pipeline.json_values import file_name_in, text_in
from pipeline.prediction.new_images import Source
from pipeline.prediction.prediction_files import COLUMNS, Described, description_of, table_path

MOST_ROWS = 200


def predicted(data: DataFolder, name: str) -> dict[str, Any]:
    """For JSON: "waiting"; or "problem" with why; or "done" with a row for each picture."""
    if not (known := file_name_in({"": name}, "")):
        return {"state": "problem", "problem": "That is no name of a picture."}
    path = data.new_images / known
    try:
        fingerprint = Source(known, path).fingerprint()
    except OSError:
        return {"state": "problem", "problem": f"{printable(known)} is not there any more."}
    said = said_in(description_of(data.predictions, known))
    described = Described.of(said)
    if described.fingerprint != fingerprint:
        return {"state": "waiting"}
    if described.problem:
        return {"state": "problem", "problem": described.problem}
    try:
        table = read_file(table_path(data.predictions, known), constants.MOST_TABLE_BYTES)
    except OSError:
        return {"state": "waiting"}
    rows = list(csv.reader(io.StringIO(table.decode("utf-8", "replace"))))[1 : MOST_ROWS + 1]
    return {
        "state": "done",
        "run": text_in(said, "run") or "",
        "columns": COLUMNS,
        "rows": rows,
    }
