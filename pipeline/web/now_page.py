"""Now: which stages live, what each does, what waits, what is wrong."""

from fastapi import FastAPI
from nicegui import ui

from pipeline.web.frame import frame, page_at
from pipeline.web.web_site import Site


def register(app: FastAPI, site: Site) -> None:
    @page_at(app, "/")
    def now_page() -> None:
        with frame("Now", site):
            ui.label("Nothing is known yet.")
