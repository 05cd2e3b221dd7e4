"""Putting things in by the page's routes."""

import io
import os
import time
import zipfile

import pytest
from PIL import Image
from starlette.testclient import TestClient

import constants
from helper import write_json
from pipeline.access.entry import Access
from pipeline.access.guard import Guard
from pipeline.prediction.new_images import Source
from pipeline.web import uploads_api
from pipeline.web.server import routes
from pipeline.web.web_site import Site

pytestmark = pytest.mark.slow  # NiceGUI takes a second to import


def picture(colour=(200, 10, 10), form="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, form)
    return file.getvalue()


PETS = {
    f"{name}/{number}.png": picture((number, 0, shade))
    for shade, name in enumerate(("cats", "dogs"))
    for number in range(4)
}


@pytest.fixture
def site(data, tmp_path):
    for name in ("models", "sets"):
        (tmp_path / name).mkdir()
    return Site.of(data, tmp_path / "models", tmp_path / "sets")


def client_of(site):
    guarded = Guard(routes(site), Access.at("127.0.0.1"))
    headers = {"Origin": "http://127.0.0.1:8080"}
    return TestClient(guarded, "http://127.0.0.1:8080", headers=headers, follow_redirects=False)


@pytest.fixture
def client(site):
    return client_of(site)


def begin(client, files=PETS, name="pets", sort="dataset", is_folder=True):
    sizes = [[path, len(content)] for path, content in files.items()]
    asked = {"sort": sort, "name": name, "is_folder": is_folder, "files": sizes}
    return client.post("/api/uploads", json=asked)


def send(client, files=PETS, **about):
    answer = begin(client, files, **about)
    assert answer.status_code == 200, answer.text
    key, needed = answer.json()["key"], answer.json()["needed"]
    for number, start in needed:
        content = list(files.values())[number][start:]
        sent = client.put(f"/api/uploads/{key}/{number}?start={start}", content=content)
        assert sent.status_code == 200, sent.text
    return f"/api/uploads/{key}", needed


def error_of(answer):
    return answer.status_code, answer.json()["error"]


def content_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_appears_whole_and_leaves_nothing_behind(client, data):
    upload, _ = send(client)
    assert list((data / "raw_dataset").iterdir()) == []
    said = client.post(f"{upload}/check").json()
    assert (said["layout"], said["images"], said["problems"]) == ("class folders", 8, [])
    assert said["classes"] == [["cats", 4], ["dogs", 4]]
    assert client.post(f"{upload}/finish").json()["name"] == "pets"
    assert content_of(data / "raw_dataset" / "pets") == PETS
    assert list((data / ".incoming").iterdir()) == []


def test_a_second_try_sends_only_what_is_missing(client, data, site):
    key = begin(client).json()["key"]
    contents = list(PETS.values())
    client.put(f"/api/uploads/{key}/0", content=contents[0])
    half = len(contents[1]) // 2
    assert client.put(f"/api/uploads/{key}/1", content=contents[1][:half]).json() == {
        "received": half
    }
    again = client_of(site)  # as after a restart of the page
    upload, needed = send(again)
    assert needed == [[1, half], *([number, 0] for number in range(2, 8))]
    again.post(f"{upload}/finish")
    assert content_of(data / "raw_dataset" / "pets") == PETS


def test_what_begins_elsewhere_than_where_it_stopped_is_not_taken(client):
    key = begin(client).json()["key"]
    client.put(f"/api/uploads/{key}/0", content=b"12345")
    status, text = error_of(client.put(f"/api/uploads/{key}/0?start=3", content=b"45"))
    assert (status, text) == (409, "This file has 5 bytes so far. Go on from there.")


def test_bytes_are_counted_whatever_was_announced(client, data):
    key = begin(client).json()["key"]
    status, text = error_of(client.put(f"/api/uploads/{key}/0", content=b"x" * 100_000))
    assert status == 413
    assert text == f"More came than was announced ({len(PETS['cats/0.png'])} bytes)."
    assert client.get(f"/api/uploads/{key}").json()["needed"][0] == [0, 0]
    assert content_of(data / "raw_dataset") == {}


def test_what_is_not_whole_does_not_get_its_name(client, data):
    key = begin(client).json()["key"]
    client.put(f"/api/uploads/{key}/0", content=PETS["cats/0.png"])
    assert error_of(client.post(f"/api/uploads/{key}/finish")) == (
        409,
        "Not whole yet: 7 of 8 files.",
    )
    assert list((data / "raw_dataset").iterdir()) == []


@pytest.mark.parametrize("taken_by", ["a folder", "an empty folder", "a file", "a link to nothing"])
@pytest.mark.parametrize("soon", [True, False])
def test_nothing_is_ever_put_over_another(client, data, taken_by, soon):
    path = data / "raw_dataset" / "pets"

    def take():
        if "folder" in taken_by:
            path.mkdir()
        if taken_by == "a folder":
            (path / "mine").write_text("mine")
        if taken_by == "a file":
            path.write_text("mine")
        if "link" in taken_by:
            path.symlink_to("nowhere")

    if soon:
        take()
        answer = begin(client)
    else:
        upload, _ = send(client)
        take()
        answer = client.post(f"{upload}/finish")
    assert error_of(answer) == (409, f"{path} is there already. Give it another name.")
    assert not soon or not (data / ".incoming").exists()
    assert set(content_of(data / "raw_dataset").values()) <= {b"mine"}


HOSTILE = [
    "../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "a\\..\\x.png", "a\0.png", "a\n.png",
    "x" * 300 + ".png", "/".join("d" * 40) + "/x.png",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_could_lead_elsewhere_is_refused(client, data, path):
    for name, files in (("pets", {path: b"x"}), (path, PETS)):
        if name != "/".join("d" * 40) + "/x.png":
            status, text = error_of(begin(client, files, name))
            assert status == 400 and text.endswith(".")
    assert content_of(data) == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "Thumbs.db", "x" * 250])
def test_a_name_that_is_none_is_refused(client, name):
    assert begin(client, name=name).status_code == 400


@pytest.mark.parametrize("key", ["..", "x" * 32, "%2e%2e%2f" * 4, "0" * 32, "0" * 31 + "/.."])
def test_no_other_key_leads_anywhere(client, key):
    assert client.put(f"/api/uploads/{key}/0", content=b"x").status_code in (404, 405)
    assert client.post(f"/api/uploads/{key}/finish").status_code in (404, 405)


NO_FILES = [
    None,
    [],
    ["a.png"],
    [["a.png"]],
    [["a.png", -1]],
    [["a.png", 1.5]],
    [[1, 1]],
    [["a", 2**60]],
]


@pytest.mark.parametrize("files", NO_FILES)
def test_a_list_of_files_that_is_none_is_refused(client, files):
    asked = {"sort": "dataset", "name": "pets", "is_folder": True, "files": files}
    assert client.post("/api/uploads", json=asked).status_code == 400


def test_two_names_that_another_system_takes_for_one_are_refused(client):
    status, text = error_of(begin(client, {"cats/A.png": b"x", "cats/a.png": b"y"}))
    assert status == 400 and "is, but for case or Unicode form" in text


def test_what_systems_leave_in_folders_is_not_asked_for(client, data):
    files = {**PETS, "cats/.DS_Store": b"x", "Thumbs.db": b"y"}
    upload, needed = send(client, files)
    assert len(needed) == len(PETS)
    client.post(f"{upload}/finish")
    assert content_of(data / "raw_dataset" / "pets") == PETS


def test_ingestion_says_beforehand_what_is_wrong_row_by_row(client):
    table = b"file,label\ncat.png,0\nmissing.png,1\ncat.png,x,y\n"
    good = b"file,label\ncat.png,0\n"
    files = {"train/groundtruth.csv": table, "test/groundtruth.csv": good}
    files |= {"train/cat.png": picture(), "test/cat.png": picture()}
    upload, _ = send(client, files)
    [problem] = client.post(f"{upload}/check").json()["problems"]
    assert (problem["kind"], problem["file"], problem["row"]) == (
        "cells",
        "train/groundtruth.csv",
        4,
    )
    assert problem["cure"] == "Correct this row."


def test_an_archive_is_checked_as_if_it_were_unpacked_and_put_in_as_it_is(client, data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in PETS.items():
            archive.writestr(path, content)
    archive = {"pets.zip": file.getvalue()}
    upload, _ = send(client, archive, name="pets.zip", is_folder=False)
    assert client.post(f"{upload}/check").json()["images"] == 8
    client.post(f"{upload}/finish")
    assert content_of(data / "raw_dataset") == archive


def test_an_archive_that_leads_out_is_refused_by_name(client, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../out.png", b"x")
    upload, _ = send(client, {"x.zip": file.getvalue()}, name="x.zip", is_folder=False)
    [problem] = client.post(f"{upload}/check").json()["problems"]
    assert problem["kind"] == "unsafe" and "leads out of its folder" in problem["text"]
    assert not list(tmp_path.rglob("out.png"))


def test_a_cancelled_upload_is_gone(client, data):
    upload, _ = send(client)
    assert client.delete(upload).status_code == 200
    assert list((data / ".incoming").iterdir()) == []
    assert error_of(client.post(f"{upload}/finish"))[0] == 404


def test_what_nobody_goes_on_with_is_removed_after_some_days(client, data, site):
    new = begin(client).json()["key"]
    old = begin(client, name="old").json()["key"]
    then = time.time() - constants.INCOMING_KEPT - 60
    os.utime(data / ".incoming" / old, (then, then))
    uploads_api.Incoming(site.data).remove_stale()
    assert [path.name for path in (data / ".incoming").iterdir()] == [new]


def test_a_picture_is_classified(client, data):
    for name in ("a.jpg", "a-2.jpg"):  # the second of that name gets another one
        upload, _ = send(
            client, {"a.jpg": picture(form="JPEG")}, name="a.jpg", sort="images", is_folder=False
        )
        assert client.post(f"{upload}/finish").json()["name"] == name
        assert client.get("/api/predictions", params={"name": name}).json() == {"state": "waiting"}
    path = data / "new_images" / "a.jpg"
    (data / "predictions").mkdir()
    (data / "predictions" / "a.jpg.csv").write_text(
        "file,class,confidence,second_class,second_confidence,problem\na.jpg,cat,0.98,dog,0.02,\n"
    )
    said = {"fingerprint": Source("a.jpg", path).fingerprint(), "run": "r"}
    write_json(data / "predictions" / "a.jpg.json", said)
    found = client.get("/api/predictions", params={"name": "a.jpg"}).json()
    assert (found["state"], found["rows"]) == (
        "done",
        [["a.jpg", "cat", "0.98", "dog", "0.02", ""]],
    )


@pytest.mark.parametrize("name", ["../data_ingestion_settings.pkl", "a\0b", "", "none.jpg"])
def test_no_other_file_is_read_as_a_prediction(client, name):
    assert client.get("/api/predictions", params={"name": name}).json()["state"] == "problem"


MODEL = b"def build_model(input_shape, num_classes): ..."


def test_a_model_is_taken_only_where_that_was_allowed(client, site):
    assert client.post("/api/models?name=mine.py", content=MODEL).status_code in (404, 405)
    assert list(site.models.iterdir()) == []


def test_a_model_is_put_in_whole_and_never_over_another(data, site):
    allowed = Site.of(data, site.models, site.hyperparameters, allow_model_upload=True)
    client = client_of(allowed)
    assert client.post("/api/models?name=mine.py", content=MODEL).status_code == 200
    assert (site.models / "mine.py").read_bytes() == MODEL
    assert error_of(client.post("/api/models?name=mine.py", content=MODEL + b"#"))[0] == 409
    for name in ("../mine.py", "mine", "a b.py", "", "_mine.py"):
        assert client.post("/api/models", params={"name": name}, content=MODEL).status_code == 400
    assert client.post("/api/models?name=big.py", content=b"x" * 2**19).status_code == 413
    assert content_of(site.models) == {"mine.py": MODEL}
