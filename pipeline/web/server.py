"""Serve the page: the pages in one app, a guard in front of all of it, at one address."""

import argparse
import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from nicegui import ui

import constants
from helper import UserError
from pipeline.access.entry import Access, bracketed
from pipeline.access.guard import Guard
from pipeline.stage.log_lines import log, start_logging
from pipeline.stage.process import STOPS, watch_for_readers
from pipeline.web import frame, now_page, put_in_page, run_page, runs_page, uploads_api
from pipeline.web.web_site import Site

# Each hangs its pages and routes into the app.
PAGES = (frame, now_page, put_in_page, run_page, runs_page, uploads_api)
PORTS_TRIED = 20
# Seconds that a browser may be too busy to answer, as with thousands of files, before its page is drawn anew.
RECONNECT = 60.0
GRACE = 1  # seconds that requests get to end when the page is stopped


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal comes; returns the exit status."""
    start_logging("web", options.verbose)
    try:
        site = Site.of(
            options.data.expanduser().absolute(),
            options.models_folder,
            options.hyperparameters_folder,
            options.allow_model_upload,
        )
        access = Access.at(options.host, options.token_file)
        with listen(options.host, options.port) as opened:
            run(Guard(build(site), access), opened, options)
    except UserError as error:
        log.error("%s", error)
        return 1
    log.info("stopped")
    return 0


def run(guard: Guard, opened: socket.socket, options: argparse.Namespace) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            loop="asyncio",
            http="h11",
            ws="wsproto",
            ws_max_size=constants.MOST_WEBSOCKET_BYTES,
            log_config=None,
            access_log=options.verbose,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        )
    )

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    watch_for_readers()
    port = opened.getsockname()[1]
    log.info("the page is at %s", address_of(options.host, port))
    if guard.access.token and not options.token_file:
        log.info("it asks for this token: %s", guard.access.token)
    server.run(sockets=[opened])


def build(site: Site) -> FastAPI:
    """The app with all pages. NiceGUI knows one app in a process, so this is called once."""
    app = routes(site)
    ui.run_with(
        app,
        title="ML Ops Pipeline",
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT,
    )
    return app


def routes(site: Site) -> FastAPI:
    """The app with the pages of this project alone."""

    @asynccontextmanager
    async def looking(_: FastAPI) -> AsyncIterator[None]:
        work = (site.live.keep_looking(), uploads_api.keep_removing_stale(app.state.incoming))
        tasks = [asyncio.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(lifespan=looking, openapi_url=None, docs_url=None, redoc_url=None)
    for page in PAGES:
        page.register(app, site)
    return app


def listen(host: str, port: int | None) -> socket.socket:
    """A socket at this address; without a port, at the first one from the default on that is free.

    Raises:
        UserError: nobody can listen there.
    """
    first, count = (constants.WEB_PORT, PORTS_TRIED) if port is None else (port, 1)
    for number in range(first, first + count):
        try:
            return opened_at(host, number)
        except OSError as error:
            trouble = error
            if error.errno != errno.EADDRINUSE:
                break
    cure = "Stop what serves there, or choose another with --port." if port else "See --host."
    known = trouble.errno is not None and trouble.errno > 0
    reason = os.strerror(trouble.errno or 0) if known else trouble.strerror
    raise UserError(f"cannot serve at {host}, port {number}: {reason}. {cure}")


def opened_at(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, where = found[0]
    return socket.create_server(where[:2], family=family)


def address_of(host: str, port: int) -> str:
    return f"http://{bracketed(host)}:{port}/"
