"""The routes by which a browser puts something in: what is to come, each file, and then all of it.

POST   /api/uploads                      what is to come; answers which files are needed
GET    /api/uploads/KEY                  which files are still needed
PUT    /api/uploads/KEY/NUMBER?start=N   one file, from byte N on
POST   /api/uploads/KEY/check            what ingestion will say of it
POST   /api/uploads/KEY/finish           give it its name
DELETE /api/uploads/KEY                  cancel
POST   /api/models?name=NAME             a file for models/, with --allow-model-upload
GET    /api/predictions?name=NAME        what became of a picture
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

import constants
from helper import UserError, shown
from pipeline.json_values import json_object, list_in, text_in
from pipeline.stage.retry import disk_trouble, is_disk_trouble
from pipeline.stage.text import count
from pipeline.uploads.incoming import Conflict, Incoming, TooMuch, Unknown, Upload
from pipeline.uploads.new_files import put_model
from pipeline.uploads.predictions import predicted
from pipeline.uploads.upload_check import checked
from pipeline.web.web_site import Site

log = logging.getLogger(__name__)

STATUS: dict[type[Exception], int] = {Conflict: 409, Unknown: 404, TooMuch: 413}
LOOK_FOR_STALE = 3600.0  # seconds


def register(app: FastAPI, site: Site) -> None:
    routes = Uploads(site)
    app.add_exception_handler(UserError, said)
    app.add_exception_handler(OSError, said)
    add = app.add_api_route
    add("/api/uploads", routes.begin, methods=["POST"])
    add("/api/uploads/{key}", routes.state, methods=["GET"])
    add("/api/uploads/{key}", routes.cancel, methods=["DELETE"])
    add("/api/uploads/{key}/check", routes.check, methods=["POST"])
    add("/api/uploads/{key}/finish", routes.finish, methods=["POST"])
    add("/api/uploads/{key}/{number}", routes.receive, methods=["PUT"])
    add("/api/predictions", routes.prediction, methods=["GET"])
    if site.allow_model_upload:
        add("/api/models", routes.model, methods=["POST"])
    app.state.incoming = routes.incoming


async def said(request: Request, error: Exception) -> JSONResponse:
    """A user's mistake, or trouble with the disk, as one sentence."""
    if isinstance(error, OSError):
        if not is_disk_trouble(error):
            raise error
        return JSONResponse({"error": f"{disk_trouble(error)}."}, 507)
    return JSONResponse({"error": str(error)}, STATUS.get(type(error), 400))


class Uploads:
    """What the routes do. The event loop only waits for it: threads use the disk."""

    def __init__(self, site: Site):
        self.site, self.incoming = site, Incoming(site.data)

    async def begin(self, request: Request) -> JSONResponse:
        asked = json_object(await request.body())
        files = files_in(asked)
        name, sort = text_in(asked, "name") or "", text_in(asked, "sort") or ""
        is_folder = asked.get("is_folder") is True
        upload = await asyncio.to_thread(self.incoming.begin, sort, name, is_folder, files)
        return await self._needed(upload)

    async def state(self, key: str) -> JSONResponse:
        return await self._needed(await asyncio.to_thread(self.incoming.get, key))

    async def cancel(self, key: str) -> JSONResponse:
        upload = await asyncio.to_thread(self.incoming.get, key)
        await asyncio.to_thread(self.incoming.cancel, upload)
        return JSONResponse({})

    async def receive(
        self, key: str, number: int, request: Request, start: int = 0
    ) -> JSONResponse:
        upload = self.incoming.known(key)
        if upload is None:
            upload = await asyncio.to_thread(self.incoming.get, key)
        there = await self.incoming.receive(
            upload, number, start, pieces_of(request), asyncio.to_thread
        )
        return JSONResponse({"received": there})

    async def check(self, key: str) -> JSONResponse:
        upload = await asyncio.to_thread(self.incoming.get, key)
        return JSONResponse(await asyncio.to_thread(checked, upload))

    async def finish(self, key: str) -> JSONResponse:
        upload = await asyncio.to_thread(self.incoming.get, key)
        path = await asyncio.to_thread(self.incoming.finish, upload)
        log.info("%s: put in by the page (%s)", shown(path), count(len(upload.files), "file"))
        return JSONResponse({"name": path.name, "path": shown(path)})

    async def prediction(self, name: str) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(predicted, self.site.data, name))

    async def model(self, name: str, request: Request) -> JSONResponse:
        content = b""
        async for chunk in request.stream():
            content += chunk
            if len(content) > constants.MOST_MODEL_BYTES:
                raise TooMuch(f"A model may have {constants.MOST_MODEL_BYTES:,} bytes at the most.")
        path = await asyncio.to_thread(put_model, self.site.models, name, content)
        log.warning("%s: put in by the page; training runs what it says", shown(path))
        return JSONResponse({"path": shown(path)})

    async def _needed(self, upload: Upload) -> JSONResponse:
        needed = await asyncio.to_thread(upload.needed)
        return JSONResponse({"key": upload.key, "needed": needed})


def files_in(asked: dict[str, Any]) -> list[tuple[str, int]]:
    """
    Raises:
        UserError: it is no list of paths and sizes.
    """
    files = list_in(asked, "files")
    for pair in files:
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and isinstance(pair[0], str)
            and type(pair[1]) is int
            and 0 <= pair[1] <= constants.MOST_UNPACKED_BYTES
        ):
            raise UserError("Expected a list of files, each as its path and its size.")
    if not files:
        raise UserError("There is no file in it. Drop a folder with pictures.")
    return [(path, size) for path, size in files]


async def pieces_of(request: Request) -> AsyncIterator[bytes]:
    """What comes of a request until its end, or until it is cut: what came until then counts."""
    with suppress(ClientDisconnect):
        async for chunk in request.stream():
            if chunk:
                yield chunk


async def keep_removing_stale(incoming: Incoming) -> None:
    while True:
        await asyncio.to_thread(incoming.remove_stale)
        await asyncio.sleep(LOOK_FOR_STALE)
