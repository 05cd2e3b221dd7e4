"""The page in a real browser."""

import pytest
from PIL import Image

from pipeline.stage.lock import StageLock
from pipeline.stage.status import Status, Task
from testkit.processes import patience

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>"


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
    page.on("console", lambda said: wrong.append(said.text) if is_fault(said) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_role("heading", name="Now").wait_for()
    yield page
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "ws"))] == []


def is_fault(said):
    """That a name is taken is an answer like others, which the browser counts as an error."""
    return said.type == "error" and "status of 409" not in said.text


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


@pytest.fixture
def pets(tmp_path):
    for name in ("cats", HOSTILE.replace("/", "")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(15):
            colour = (10 * number, 0, 100)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_a_folder_is_put_in(page, address, data, pets):
    page.goto(f"{address}put-in")
    page.locator("input[webkitdirectory]").set_input_files(pets)
    page.get_by_text("Understood as class folders: 30 images (30 train).").wait_for()
    page.get_by_text(f"2 classes: {HOSTILE} (15), cats (15)").or_(
        page.get_by_text(f"2 classes: cats (15), {HOSTILE} (15)")
    ).wait_for()
    assert list((data / "raw_dataset").iterdir()) == []
    page.get_by_role("button", name="Put it in", exact=True).click()
    page.get_by_text("raw_dataset/pets is put in.").wait_for()
    names = {path.relative_to(pets) for path in pets.rglob("*.png")}
    put = data / "raw_dataset" / "pets"
    assert {path.relative_to(put) for path in put.rglob("*.png")} == names
    # The name is taken now: another one is asked for, and what was dropped is not dropped again.
    page.locator("input[webkitdirectory]").set_input_files(pets)
    page.get_by_text("raw_dataset/pets is there already. Give it another name.").wait_for()
    page.get_by_label("Name", exact=True).fill("pets two")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Put it in", exact=True).click()
    page.get_by_text("raw_dataset/pets two is put in.").wait_for()
    assert page.evaluate("window.hit") is None


def test_what_is_wrong_with_a_folder_is_said_before_it_is_put_in(page, address, data, pets):
    (pets / "cats" / "more").mkdir()
    for path in (pets / HOSTILE).iterdir():
        path.rename(pets / "cats" / "more" / path.name)
    page.goto(f"{address}put-in")
    page.locator("input[webkitdirectory]").set_input_files(pets)
    page.get_by_text("✗ problem").wait_for()
    page.get_by_text("Give each class a folder of its own, at least two.").wait_for()
    assert page.get_by_role("button", name="Put it in", exact=True).count() == 0
    page.get_by_role("button", name="Do not put it in").click()
    page.get_by_text("pets: removed.").wait_for()
    assert list((data / ".incoming").iterdir()) == []


def test_a_set_is_written_as_it_is_shown(page, address, tmp_path):
    page.goto(f"{address}put-in")
    page.get_by_label("name", exact=True).fill("mine")
    page.get_by_label("epochs", exact=True).fill("3")
    page.get_by_text("epochs = 3").wait_for()
    page.get_by_role("button", name="Write it").click()
    page.get_by_text("mine.toml is written.").wait_for()
    assert "epochs = 3\n" in (tmp_path / "hyperparameters" / "mine.toml").read_text()
    page.get_by_role("button", name="Write it").click()
    page.get_by_text("mine.toml is there already. Give it another name.").wait_for()
