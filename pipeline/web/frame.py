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

TITLE = "ML Ops Pipeline"
STATIC = Path(__file__).parent / "static"
PAGES = {"/": "Now", "/put-in": "Put in", "/runs": "Runs"}
COLOURS = """
<select id="colours" aria-label="Colours">
<option value="auto">as the system</option><option value="light">light</option>
<option value="dark">dark</option></select>"""


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


def draw_by_script(name: str) -> None:
    """Leave what is in this part of the page to `static/<name>.js`, with `static/<name>.css`."""
    ui.add_head_html(f'<link rel="stylesheet" href="/static/{name}.css">')
    ui.add_body_html(f'<script type="module" src="/static/{name}.js"></script>')
    ui.html(f'<div id="{name}"></div>', sanitize=False)


@contextmanager
def frame(title: str, site: Site) -> Iterator[None]:
    """Draw the page called `title`; what the block makes lies in its main part."""
    ui.page_title(f"{title} · {TITLE}")
    ui.add_head_html('<link rel="stylesheet" href="/static/page.css">')
    ui.add_body_html('<script type="module" src="/static/page.js"></script>')
    with ui.element("header").classes("top"):
        ui.link(TITLE, "/").classes("brand")
        with ui.element("nav").props('aria-label="Pages"'):
            for address, name in PAGES.items():
                link = ui.link(name, address)
                if name == title:
                    link.props('aria-current="page"')
        ui.html(COLOURS, sanitize=False)
    with ui.element("div").classes("page"):
        ui.html(escape(title), sanitize=False, tag="h1")
        yield
