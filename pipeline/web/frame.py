"""What all pages have in common: their head, the way to the other pages, their look."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import cast

from fastapi import FastAPI
from fastapi.responses import FileResponse
from nicegui import APIRouter, ui
from nicegui.page import page

from pipeline.web.web_site import Site

STATIC = Path(__file__).parent / "static"
# By address; a page that is not registered is not listed.
PAGES = {"/": "Now", "/put-in": "Put in", "/runs": "Runs"}


def register(app: FastAPI, site: Site) -> None:
    for path in sorted(STATIC.iterdir()):
        app.get(f"/static/{path.name}")(_sender_of(path))


def page_at(app: FastAPI, address: str) -> page:
    """Decorates the function that draws the page at `address` of `app`."""
    return ui.page(address, api_router=cast(APIRouter, app.router))


def _sender_of(path: Path) -> Callable[[], FileResponse]:
    def send() -> FileResponse:
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    return send


@contextmanager
def frame(title: str, site: Site) -> Iterator[None]:
    """Draw the page called `title`; what the block makes lies in its main part."""
    ui.page_title(f"{title} · ML Ops Pipeline")
    ui.add_head_html('<link rel="stylesheet" href="/static/page.css">')
    dark = ui.dark_mode(None)
    with ui.element("header").classes("top"):
        ui.link("ML Ops Pipeline", "/").classes("brand")
        with ui.element("nav").props('aria-label="Pages"'):
            for address, name in PAGES.items():
                link = ui.link(name, address)
                if name == title:
                    link.props('aria-current="page"')
        ui.select({None: "as the system", False: "light", True: "dark"}, value=None).bind_value_to(
            dark, "value"
        ).props('dense borderless aria-label="Colours"')
    with ui.element("main"):
        ui.html(escape(title), sanitize=False, tag="h1")
        yield
