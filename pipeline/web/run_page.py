"""A run: how good it is beside the best, why it is so, where it fails, and its files.

All of it is read from what training and analysis wrote. The browser (static/run.js) draws it.
"""

import asyncio
import csv
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse

import constants
from helper import UserError, open_regular, read_file
from pipeline.artifacts.dataset import display_name, load_split
from pipeline.artifacts.metadata import Report, said_in
from pipeline.artifacts.safe_pickle import PickleError
from pipeline.data_folder import (
    DataFolder,
    FileState,
    description_path,
    run_folder,
    state_of,
    training_log,
)
from pipeline.json_values import list_in, number_in, scalars_in, table_in, text_in
from pipeline.training.run_table import Row
from pipeline.web.frame import draw_by_script, frame, page_at
from pipeline.web.web_site import Site

MOST_PREDICTIONS = 20_000  # that a browser is sent; of more, the wrong ones first
MOST_PER_CURVE = 5_000
FIGURES = ("class", "precision", "recall", "f1", "support")
PROVENANCE = (
    *("dataset", "model", "hyperparameter_set", "images", "validation_images", "parameters"),
    *("epochs", "best_epoch", "seconds", "precision", "model_sha256", "dataset_sha256", "key"),
)
GONE = {"gone": "This run is not there: its dataset, model or set was taken away or has changed."}


def register(app: FastAPI, site: Site) -> None:
    @page_at(app, "/run")
    def run_page() -> None:
        with frame("Run", site):
            draw_by_script("run")

    @app.get("/api/run")
    async def run(key: str = "") -> Response:
        row = await row_of(site, key)
        if row is None:
            return JSONResponse(GONE, 404)
        return JSONResponse(await asyncio.to_thread(about, site, row))

    @app.get("/api/run/image")
    async def image(key: str = "", index: int = 0) -> Response:
        row = await row_of(site, key)
        png = await asyncio.to_thread(test_image, site.data, row, index) if row else None
        return Response(png, 200 if png else 404, {"Cache-Control": "max-age=600"}, "image/png")

    @app.get("/api/run/file")
    async def file(key: str = "", name: str = "") -> Response:
        row = await row_of(site, key)
        # A name is looked up among those of the run; no path is made of it.
        path = files_of(site.data, row.name).get(name) if row else None
        if path is None:
            return JSONResponse(GONE, 404)
        return FileResponse(path, filename=name, media_type="application/octet-stream")


async def row_of(site: Site, key: str) -> Row | None:
    for _ in range(50):
        if site.live.wanted().number:
            break
        await asyncio.sleep(0.1)  # the first look is on its way
    return next((row for row in site.live.snapshot.rows if row.key == key), None)


def about(site: Site, row: Row) -> dict:
    """All that the page shows of a run, as values."""
    data = site.data
    said = said_in(data.report(row.name))
    report = said if Report.of(row.name, said) else {}
    files = files_of(data, row.name)
    told = {
        **of_row(row),
        "best": best_on(row.dataset, site.live.snapshot.rows),
        **origin_of(data, row.name, report),
        "curves": curves(report),
        "classes": figures_by_class(report),
        "predictions": predictions(data, row.name) if report else [],
        "has_images": _test_split_of(data, row, report) is not None,
        "files": [{"name": name, "bytes": path.stat().st_size} for name, path in files.items()],
        "log": last_lines(training_log(data.checkpoint(row.name))),
    }
    return {name: _encodable(value) for name, value in told.items()}


def of_row(row: Row) -> dict:
    low, high = row.test_interval or (None, None)
    return {
        "name": row.name,
        "dataset": display_name(row.dataset, row.dataset_name),
        "model": row.model,
        "set": row.hyperparameter_set,
        "state": row.state.value,
        "reason": row.reason,
        "note": row.note,
        "test": row.test_accuracy,
        "validation": row.validation_accuracy,
        "low": low,
        "high": high,
        "images": row.test_images,
        "guessing": row.no_better_than_guessing,
    }


def best_on(dataset: str, rows: tuple[Row, ...]) -> dict | None:
    """The run with the best test accuracy on that dataset."""
    tested = [row for row in rows if row.dataset == dataset and row.test_accuracy is not None]
    if not tested:
        return None
    best = max(tested, key=lambda row: row.test_accuracy or 0)
    names = {"key": best.key, "model": best.model, "set": best.hyperparameter_set}
    return {**names, "test": best.test_accuracy}


def origin_of(data: DataFolder, run: str, report: dict) -> dict:
    """What a run was made of, as its checkpoint's description says, or its report."""
    trained = table_in(said_in(description_path(data.checkpoint(run))), "run")
    origin = trained or table_in(report, "trained")
    plain, warnings = scalars_in({"": origin}, ""), table_in(origin, "warnings")
    texts = [text_in(table_in(warnings, kind), "text") for kind in warnings]
    return {
        "settings": [*scalars_in(origin, "settings").items()],
        "provenance": [(name, plain[name]) for name in PROVENANCE if name in plain],
        "warnings": [text for text in texts if text],
        "best_epoch": number_in(origin, "best_epoch"),
    }


def figures_by_class(report: dict) -> list[dict]:
    said = [scalars_in({"": one}, "") for one in list_in(report, "classes")]
    return [{name: one.get(name) for name in FIGURES} for one in said]


def curves(report: dict) -> list[dict]:
    """A list of values for each metric; None where one is no number."""
    history = table_in(report, "history")
    names = ("accuracy", "val_accuracy", "loss", "val_loss")
    values = {name: list_in(history, name)[:MOST_PER_CURVE] for name in names}
    return [
        {"name": name, "values": [number_in({"": one}, "") for one in values[name]]}
        for name in names
        if values[name]
    ]


def predictions(data: DataFolder, run: str) -> list[tuple]:
    """For each test image its number, file, true class, predicted class and confidence; wrong ones first."""
    rows = list(_predicted(data.results / f"predictions_{run}.csv"))
    rows.sort(key=lambda row: (row[2] == row[3], -row[4]))
    return rows[:MOST_PREDICTIONS]


def _predicted(path: Path) -> Iterator[tuple]:
    try:
        text = read_file(path, constants.MOST_TABLE_BYTES).decode("utf-8", "replace")
        for index, row in enumerate(csv.DictReader(io.StringIO(text))):
            confidence = float(row["confidence"])
            yield index, row["file"], row["true"], row["predicted"], confidence
    except (OSError, csv.Error, KeyError, TypeError, ValueError):
        return  # it is not there, or somebody's own


def files_of(data: DataFolder, run: str) -> dict[str, Path]:
    """The files of a run that can be taken away, by name."""
    checkpoint = data.checkpoint(run)
    named = [checkpoint, description_path(checkpoint), data.report(run)]
    files = {path.name: path for path in named[:1]}
    files |= {f"{run}.training.json": named[1], f"{run}.analysis.json": named[2]}
    for name in ("plot_model_{}.pkl.png", "visualize_errors_{}.pkl.png", "confusion_matrix_{}.pkl.png",
                 "predictions_{}.csv", "predictions_{}.npz"):  # fmt: skip
        files[name.format(run)] = data.results / name.format(run)
    files["training.log"] = run_folder(checkpoint) / "training.log"
    return {name: path for name, path in files.items() if path.is_file() and not path.is_symlink()}


def last_lines(path: Path) -> str:
    try:
        with open(path, "rb", opener=open_regular) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - constants.LAST_WORDS_BYTES))
            return file.read(constants.LAST_WORDS_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def test_image(data: DataFolder, row: Row, index: int) -> bytes | None:
    """A PNG of a test image, where the dataset is still the one that the run was tested on."""
    images = _test_split_of(data, row, said_in(data.report(row.name)))
    if images is None:
        return None
    pixels = _test_images(*images)
    if pixels is None or not 0 <= index < len(pixels):
        return None
    from PIL import Image  # not while the page starts

    buffer = io.BytesIO()
    Image.fromarray(pixels[index]).save(buffer, "PNG")
    return buffer.getvalue()


def _test_split_of(data: DataFolder, row: Row, report: dict) -> tuple[Path, FileState] | None:
    path = data.dataset(row.dataset)
    state, _ = state_of(path)
    described = text_in(said_in(description_path(path)), "sha256")
    same = described is not None and described == text_in(report, "dataset_sha256")
    return (path, state) if state and same else None


@lru_cache(maxsize=1)
def _test_images(path: Path, _: FileState) -> np.ndarray | None:
    try:
        return load_split(path, "test")["img"]
    except (PickleError, UserError, OSError):
        return None


def _encodable(value: object) -> object:
    """As UTF-8 can hold it: half a character in a file's name has no form there."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(one) for one in value]
    # What JSON of anybody's can hold and a browser's cannot.
    return value if not isinstance(value, float) or abs(value) < float("inf") else None
