"""The page in a real browser."""

import pytest

from pipeline.stage.lock import StageLock
from pipeline.stage.status import Status, Task
from testkit.browser import chromium, program
from testkit.processes import patience

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def browser():
    if not program():
        pytest.skip("no browser is here. Install one: sudo apt-get install chromium.")
    with chromium() as started:
        yield started


@pytest.fixture
def address(data, start, tmp_path):
    """Of the page on a data folder without models, and with the two folders for them its own."""
    for name in ("models", "hyperparameters"):
        (tmp_path / name).mkdir()
    web = start(
        "web_ui.py",
        *("--data", data, "--port", 0),
        *("--models-folder", tmp_path / "models"),
        *("--hyperparameters-folder", tmp_path / "hyperparameters"),
    )
    return web.wait_for("the page is at ").rpartition(" ")[2]


@pytest.fixture
def page(browser, address):
    """The first page, of which nothing may go wrong that its console would say."""
    context = browser.new_context()
    context.set_default_timeout(1000 * patience(8))
    page = context.new_page()
    wrong, asked = [], []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_role("heading", name="Now").wait_for()
    yield page
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "ws"))] == []


def test_with_nothing_there_it_says_what_to_do_next(page):
    page.get_by_text("Nothing is here yet. Put in a folder of pictures").wait_for()
    page.get_by_role("link", name="Put pictures in").wait_for()
    assert page.get_by_text("never started").count() == 4


def test_what_a_stage_does_is_seen_without_reloading(page, data):
    page.evaluate("window.same = true")
    status = Status()
    with StageLock("training", data), status.reporting("training", data):
        tasks = [
            Task(HOSTILE, "2026-11-27 09:00:00", 50, 200, 2, 8, 60.0),
            Task(":x", "2026-11-27 09:00:00", epoch=1, epochs=4),
        ]
        status.update(f"training {HOSTILE}", tasks=tasks)
        status.set_problems({f"models/{HOSTILE}.py": "has no build_model. Copy the example."})
        status.error("the disk is full")
        page.get_by_text("epoch 2 of 8, 60 s left").wait_for()
        page.get_by_text(":x", exact=True).wait_for()
        assert page.locator("progress").first.get_attribute("value") == "0.250"
        assert page.get_by_text(HOSTILE, exact=True).count() == 1
        page.get_by_text("has no build_model. Copy the example.").wait_for()
        page.get_by_text("the disk is full").wait_for()
        page.get_by_text("live", exact=True).wait_for()
        status.update("waiting")
        status.set_problems({})
        page.get_by_text("epoch 2 of 8").wait_for(state="detached")
        page.get_by_text("Nothing is wrong").wait_for()
    page.get_by_text("ended without a word").or_(page.get_by_text("stopped", exact=True)).wait_for()
    assert page.evaluate("[window.same, window.hit]") == [True, None]


def test_nothing_goes_away_under_the_pointer(page, data):
    status = Status()
    with StageLock("ingestion", data), status.reporting("ingestion", data):
        status.set_problems({"a": "is wrong.", "b": "is wrong, too."})
        note = page.get_by_text("is wrong, too.")
        note.hover()
        status.set_problems({"b": "is still wrong."})
        page.get_by_text("is still wrong.").wait_for()
        assert page.get_by_text("is wrong.", exact=True).count() == 1
        page.mouse.move(0, 0)
        page.get_by_text("is wrong.", exact=True).wait_for(state="detached")


def test_the_colours_are_remembered(page):
    page.get_by_label("Colours").select_option("dark")
    page.reload()
    page.locator("body.body--dark").wait_for()
