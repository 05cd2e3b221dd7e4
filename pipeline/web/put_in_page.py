"""Put in: a raw dataset, a picture to classify, a hyperparameter set, a model."""

import asyncio
from typing import Any

from fastapi import FastAPI
from nicegui import ui

from helper import UserError, shown
from pipeline.artifacts.hyperparameters import MEANINGS, SETTINGS, Setting
from pipeline.uploads.new_files import as_toml, put_set
from pipeline.web.frame import frame, page_at
from pipeline.web.parts import heading
from pipeline.web.web_site import Site

# A zone is drawn here and worked by static/put_in.js. No name of anybody's stands in these.
ZONE = """
<div class="zone" data-sort="{sort}">
  <div class="zone-name">{says}</div>
  <div class="row">{buttons}</div>
</div>
<div class="out" aria-live="polite"></div>"""
FOLDER = """<label class="button">Choose a folder
<input type="file" webkitdirectory class="unseen"></label>"""
FILE = """<label class="button plain">{name}
<input type="file" accept="{accept}" class="unseen"></label>"""
ARCHIVES = ".zip,.tar,.gz,.tgz,.xz,.zst,.bz2"


def register(app: FastAPI, site: Site) -> None:
    @page_at(app, "/put-in")
    def put_in_page() -> None:
        with frame("Put in", site):
            ui.add_body_html('<script type="module" src="/static/put_in.js"></script>')
            ui.label(
                "A folder of pictures, with a folder in it for each class, is all it takes."
            ).classes("lead")
            heading("Pictures to learn from")
            zone(
                "dataset",
                "Drop a folder or an archive here",
                FOLDER + FILE.format(name="Choose an archive", accept=ARCHIVES),
            )
            heading("A picture to classify")
            accept = f"image/*,{ARCHIVES}"
            zone(
                "images", "Drop a picture here", FILE.format(name="Choose a picture", accept=accept)
            )
            heading("A hyperparameter set")
            SetForm(site)
            heading("A model")
            model(site)


def zone(sort: str, says: str, buttons: str) -> None:
    ui.html(ZONE.format(sort=sort, says=says, buttons=buttons), sanitize=False)


def model(site: Site) -> None:
    if not site.allow_model_upload:
        ui.label(
            "A model is code, which training runs with all rights of this account. So the page takes none,"
            " unless it is started with --allow-model-upload. Or copy the file into models/ yourself."
        ).classes("quiet")
        return
    ui.label(
        "A model is code. Training runs it with all rights of this account: put in only what you trust."
    ).classes("note")
    zone("model", "A file of Python", FILE.format(name="Choose a model", accept=".py"))


class SetForm:
    """A field for each setting; shows the file that it writes."""

    def __init__(self, site: Site):
        self.site = site
        self.values = {key: setting.default for key, setting in SETTINGS.items()}
        with ui.element("div").classes("card form"):
            with ui.element("div").classes("fields"):
                self.name = ui.input("name").props('outlined dense maxlength="64"')
                for key, setting in SETTINGS.items():
                    self._field(key, setting)
            ui.label("The file that this writes").classes("quiet")
            self.file = ui.label(as_toml({})).classes("file")
            with ui.element("div").classes("row"):
                ui.button("Write it", on_click=self.write, color=None).props(
                    "no-caps flat"
                ).classes("button")
                self.said = ui.label().props('role="status"')

    def _field(self, key: str, setting: Setting) -> None:
        def changed(value: Any) -> None:
            given = whole(value) if isinstance(setting.default, int) else value
            self.values[key] = setting.default if given is None else given
            self.file.text = as_toml(self.values)

        default: Any = setting.default
        field: Any
        if setting.choices:
            field = ui.select(list(setting.choices), label=key, value=default)
            hint = f"Default: {setting.default}."
        else:
            field = ui.number(key, value=default)
            hint = f"{setting.allowed().capitalize()}. Default: {setting.default}."
        field.props("outlined dense bottom-slots").props["hint"] = (
            f"{sentence(MEANINGS[key])} {hint}"
        )
        field.on_value_change(lambda event: changed(event.value))

    async def write(self) -> None:
        try:
            path = await asyncio.to_thread(
                put_set, self.site.hyperparameters, self.name.value.strip(), dict(self.values)
            )
        except (UserError, OSError) as error:
            self.said.text = str(error)
            self.said.classes(add="wrong-text")
            return
        self.said.classes(remove="wrong-text")
        self.said.text = f"{shown(path)} is written."


def sentence(text: str) -> str:
    """A meaning as README's table has it, on its own."""
    plain = text.replace("`", "")
    return f"{plain[0].upper()}{plain[1:]}."


def whole(value: Any) -> Any:
    """A number as a whole one, where it is; a field of a browser gives 3.0 for 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
