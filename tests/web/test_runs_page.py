"""The table of runs: what a browser is sent, what becomes of what is asked, and how it looks."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from pipeline.stage.process import Stage
from pipeline.training.scheduler import RunRequests, TrainingRecord
from pipeline.web import runs_page
from pipeline.web.runs_page import FIELDS, RowFeed
from pipeline.web.web_site import Site
from testkit.processes import patience
from testkit.products import make_product

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>"


@pytest.fixture
def product(tmp_path):
    """2 x 2 x 3 runs, with a site that looks at them."""
    queue = make_product(tmp_path, 2, 2, 3)
    site = Site.of(tmp_path / "data", tmp_path / "models", tmp_path / "sets")
    site.live.look()
    return site, queue


def carry_out(site, queue):
    RunRequests(queue, TrainingRecord(site.data, Stage(once=True))).carry_out()
    site.live.look()


def as_dicts(answer):
    return [dict(zip(answer["fields"], row, strict=True)) for row in answer["rows"]]


def ask(site, **said):
    answer = asyncio.run(runs_page.asked(site.data, said))
    return answer.status_code, json.loads(answer.body)


def test_all_rows_are_sent_once_and_then_those_that_changed(product, monkeypatch):
    site, queue = product
    feed = RowFeed(site)
    first = feed.since(0, "")
    assert first["order"] == [run.key for run in queue.look()]
    assert sorted(row["key"] for row in as_dicts(first)) == sorted(first["order"])
    assert {row["mark"] for row in as_dicts(first)} <= {"", "best", "as good as the best"}
    nothing = feed.since(first["number"], feed.id)
    assert (nothing["order"], nothing["rows"]) == (None, [])
    [key, *_] = first["order"]
    monkeypatch.setattr(runs_page, "ANSWER_WITHIN", 0)
    assert ask(site, request="note", runs=[key], note=":x <b>") == (
        200,
        {"said": runs_page.NOT_YET},
    )
    carry_out(site, queue)
    then = feed.since(first["number"], feed.id)
    [row] = as_dicts(then)
    assert (row["key"], row["note"], then["order"]) == (key, ":x <b>", None)
    # A browser that talked to another process gets all of it again.
    assert len(feed.since(then["number"], "another")["rows"]) == 12


def test_what_is_put_first_changes_the_order(product, monkeypatch):
    site, queue = product
    feed = RowFeed(site)
    before = feed.since(0, "")
    monkeypatch.setattr(runs_page, "ANSWER_WITHIN", 0)
    ask(site, request="priority", runs=[before["order"][-1]], priority=3)
    carry_out(site, queue)
    after = feed.since(before["number"], feed.id)
    assert after["order"] == [before["order"][-1], *before["order"][:-1]]


def test_what_becomes_of_a_request_is_answered(product):
    site, queue = product
    done = threading.Event()

    def stage():
        while not done.wait(0.01):
            carry_out(site, queue)

    thread = threading.Thread(target=stage)
    thread.start()
    try:
        assert ask(site, request="hide", runs=[queue.look()[0].key]) == (200, {"refused": ""})
        status, answer = ask(site, request="stop", runs=["gone"])
        assert (status, answer["refused"].split(".")[0]) == (200, 'There is no run "gone"')
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "said, reason",
    [
        ({}, "nothing of that name to ask for"),
        ({"request": "delete", "runs": ["x"]}, "nothing of that name to ask for"),
        ({"request": "stop", "runs": []}, "No run is chosen"),
        ({"request": "priority", "runs": ["x"], "priority": None}, "expected a whole number"),
        ({"request": "note", "runs": ["x"], "note": "x" * 201}, "has 201 characters"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_writes_nothing(product, said, reason):
    site, _ = product
    status, answer = ask(site, **said)
    assert (status, list(site.data.requests.iterdir())) == (400, [])
    assert reason in answer["refused"]


@pytest.mark.parametrize("content", [b"", b"run\n", b"run,place\n", b'\0,\xff\n"', b"place\n1\n"])
def test_a_leaderboard_that_is_none_gives_no_marks(product, content):
    site, _ = product
    (site.data.results / "leaderboard.csv").write_bytes(content)
    answer = RowFeed(site).since(0, "")
    assert {row["mark"] for row in as_dicts(answer)} == {""}


def test_the_fields_are_those_that_the_table_reads():
    script = (Path(runs_page.__file__).parent / "static" / "runs.js").read_text()
    used = {name for name in FIELDS if f"row.{name}" in script}
    assert used >= {*FIELDS} - {"name", "time"}


@pytest.fixture
def opened(browser, start, tmp_path):
    """The page of runs, of which nothing may go wrong that its console would say."""
    contexts, wrong = [], []

    def open_page(width=1400):
        web = start(
            *("web_ui.py", "--data", tmp_path / "data", "--port", 0),
            *("--models-folder", tmp_path / "models"),
            *("--hyperparameters-folder", tmp_path / "sets"),
        )
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(1000 * patience(10))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(web.wait_for("the page is at ").rpartition(" ")[2] + "runs")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def shown(page):
    return page.locator(".runs-row:visible")


def test_runs_are_sorted_filtered_chosen_and_changed(opened, tmp_path):
    queue = make_product(tmp_path, 2, 2, 3, names=HOSTILE.replace("/", ""))
    page = opened()
    page.get_by_text("12 runs", exact=True).wait_for()
    assert shown(page).count() == 12
    page.get_by_label("Filter by text").fill("s2")
    page.get_by_text("4 of 12 runs").wait_for()
    page.get_by_role("button", name="Set", exact=True).click()
    page.get_by_label("Filter by text").fill("")
    assert shown(page).locator(".set").all_inner_texts() == ["s0"] * 4 + ["s1"] * 4 + ["s2"] * 4
    page.get_by_label("Choose all that are shown").check()
    page.get_by_text("12 chosen").wait_for()
    page.get_by_label("Note", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Set note").click()
    page.get_by_text("Asked. It is done as soon as the training stage runs.").wait_for()
    page.mouse.move(0, 0)
    RunRequests(
        queue, TrainingRecord(Site.of(tmp_path / "data").data, Stage(once=True))
    ).carry_out()
    page.locator(".remark", has_text=HOSTILE).nth(11).wait_for()
    assert page.evaluate("window.hit ?? 'none'") == "none"
    assert page.locator(".runs img").count() == 0


def test_the_table_goes_by_keys_alone_and_letters_can_be_switched_off(opened, tmp_path):
    make_product(tmp_path, 1, 1, 3)
    page = opened()
    page.get_by_text("3 runs", exact=True).wait_for()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.get_by_text("1 chosen").wait_for()
    assert shown(page).nth(1).get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    page.get_by_text("1 chosen").wait_for(state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("jx?")  # in a field they are letters
    assert page.get_by_label("Filter by text").input_value() == "jx?"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_label("single letters work").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("x")
    assert page.locator(".runs-actions").is_hidden()


def test_with_no_run_it_says_what_to_do_and_fits_a_phone(opened, tmp_path):
    make_product(tmp_path, 0, 1, 1)
    page = opened(width=390)
    page.get_by_text("No runs yet. Put pictures in").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
