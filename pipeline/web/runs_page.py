"""Runs: the whole product as a table, and what a person asks of the runs in it.

The table lies in the browser (static/runs.js), which fetches what has changed. What is asked becomes a file
in data/requests, as anybody's.
"""

import asyncio
import csv
import io
import secrets
import time
from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

import constants
from helper import read_file
from pipeline.artifacts.dataset import display_names
from pipeline.data_folder import DataFolder, FileState, state_of
from pipeline.json_values import json_object, list_in, text_in, texts_in
from pipeline.requests.request import Action, BadRequest, write_request
from pipeline.requests.requested import why_refused
from pipeline.training.run_table import Row
from pipeline.web.frame import draw_by_script, frame, page_at
from pipeline.web.web_site import Site

ANSWER_WITHIN = 2.5  # seconds; a training stage that runs carries out what is asked within one
NOT_YET = "Asked. It is done as soon as the training stage runs."
FIELDS = (
    *(
        "key",
        "name",
        "dataset",
        "model",
        "set",
        "state",
        "priority",
        "first",
        "epochs_done",
        "epochs",
    ),
    *("eta", "validation", "test", "low", "high", "images", "guessing", "mark", "reason", "note"),
    *("hidden", "time"),
)


def register(app: FastAPI, site: Site) -> None:
    feed = RowFeed(site)

    @page_at(app, "/runs")
    def runs_page() -> None:
        with frame("Runs", site):
            draw_by_script("runs")

    @app.get("/api/runs")
    async def rows(since: int = 0, feed_id: str = "") -> Response:
        return JSONResponse(await asyncio.to_thread(feed.since, since, feed_id))

    @app.post("/api/ask")
    async def ask(request: Request) -> Response:
        return await asked(site.data, json_object(await request.body()))


async def asked(data: DataFolder, said: dict) -> Response:
    """Write the request down, and wait for a moment for what becomes of it."""
    action = text_in(said, "request")
    more = {key: said[key] for key in ("priority", "note") if key in said}
    try:
        if action is None or action not in [*Action]:
            raise BadRequest("There is nothing of that name to ask for. Reload the page.")
        if not list_in(said, "runs"):
            raise BadRequest("No run is chosen. Choose one.")
        runs = texts_in(said, "runs")
        path = await asyncio.to_thread(write_request, data.path, Action(action), runs, **more)
    except BadRequest as error:
        return JSONResponse({"refused": str(error)}, 400)
    until = time.monotonic() + ANSWER_WITHIN
    while path.exists():
        if time.monotonic() > until:
            return JSONResponse({"said": NOT_YET})
        await asyncio.sleep(0.05)
    return JSONResponse({"refused": await asyncio.to_thread(why_refused, data, path)})


class RowFeed:
    """The rows as browsers show them, and when each was last another one."""

    def __init__(self, site: Site):
        self.site, self.id = site, secrets.token_hex(8)
        self.marks = Marks(site.data)
        self.number = 0
        self.rows: dict[str, list] = {}  # by key, in the order in which the runs are trained
        self._changed: dict[str, int] = {}
        self._reordered = 0
        self._seen: tuple = ()

    def since(self, number: int, feed_id: str) -> dict:
        """What is another than when a browser was given that number, by this feed."""
        self._update()
        if feed_id != self.id:
            number = 0
        rows = self.rows
        return {
            "feed": self.id,
            "number": self.number,
            "loading": not self.site.live.snapshot.number,
            "fields": FIELDS,
            "order": [*rows] if self._reordered > number or not number else None,
            "rows": [rows[key] for key, changed in self._changed.items() if changed > number],
        }

    def _update(self) -> None:
        snapshot, marks = self.site.live.wanted(), self.marks.look()
        if (snapshot.number, marks) == self._seen:
            return
        self._seen = snapshot.number, marks
        names = display_names({row.dataset: row.dataset_name for row in snapshot.rows})
        rows = {row.key: _cells(row, names, marks) for row in snapshot.rows}
        number = self.number + 1
        for key, cells in rows.items():
            if self.rows.get(key) != cells:
                self._changed[key] = self.number = number
        if [*rows] != [*self.rows]:
            self._reordered = self.number = number
            self._changed = {key: self._changed[key] for key in rows}
        self.rows = rows


def _cells(row: Row, names: dict[str, str], marks: dict[str, str]) -> list:
    """One row as in FIELDS: values alone, whatever their text is."""
    low, high = row.test_interval or (None, None)
    values = (
        *(
            row.key,
            row.name,
            names[row.dataset],
            row.model,
            row.hyperparameter_set,
            row.state.value,
        ),
        *(f"{row.model_priority}/{row.set_priority}", row.requested_priority),
        *(row.epochs_done, row.epochs, _coarse(row.eta), row.validation_accuracy),
        *(row.test_accuracy, low, high, row.test_images, row.no_better_than_guessing),
        *(marks.get(row.name, ""), row.reason, row.note, row.hidden, row.dataset_time),
    )
    return [_text(value) if isinstance(value, str) else value for value in values]


def _text(value: str) -> str:
    """Half a character, as a file name can hold, has no UTF-8 form."""
    return value.encode("utf-8", "backslashreplace").decode()


def _coarse(eta: float | None) -> float | None:
    """No finer than people are told: it changes for all that wait, with each epoch of one that runs."""
    if eta is None:
        return None
    step = 1 if eta < 90 else 60 if eta < 5400 else 360
    return step * round(eta / step)


class Marks:
    """By run, "best" or "as good as the best" on its dataset, as the analysis wrote it in leaderboard.csv."""

    def __init__(self, data: DataFolder):
        self.path = data.results / "leaderboard.csv"
        self._state: FileState | None = None
        self._marks: dict[str, str] = {}

    def look(self) -> dict[str, str]:
        state, settled = state_of(self.path)
        if state is None or state != self._state:
            self._state = state if settled else None
            self._marks = _or({}, self._read)
        return self._marks

    def _read(self) -> dict[str, str]:
        text = read_file(self.path, constants.MOST_TABLE_BYTES).decode("utf-8", "replace")
        return {
            line["run"]: "best" if line["place"] == "1" else "as good as the best"
            for line in csv.DictReader(io.StringIO(text))
            if line.get("run")
            and (line.get("place") == "1" or line.get("as_good_as_the_first") == "True")
        }


def _or(otherwise: dict[str, str], read: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What can be read, or else that: a table that is not there, or that somebody edited."""
    try:
        return read()
    except (OSError, csv.Error):
        return otherwise
