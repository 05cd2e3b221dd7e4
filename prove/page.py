"""The page answers only this machine and its owner, and nothing that is put in or asked for leads elsewhere.

Each route that there is, NiceGUI's own among them, with each method and as a websocket, from each kind
of foreign page, and without the token's cookie; paths, sizes and names that lead out or over another.
"""

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from starlette.testclient import TestClient

from pipeline.access.entry import COOKIE, Access
from pipeline.access.guard import Guard
from pipeline.web.server import build
from pipeline.web.web_site import Site
from prove import Result, some, tried
from testkit.web import FOREIGN, HOST, METHODS, ORIGIN, Recorder, addresses, ask

SECRET = b"nobody asks for this"
ADDRESS = "http://127.0.0.1:8080"
OUT = ("../secret", "../../secret", "..%2fsecret", "%2e%2e/secret", "....//secret", "..\\secret")
NAMES = ("..", ".", "", "a/../..", "../out", "/tmp/out", "C:\\out", "a\0b", "x" * 300, ".hidden")
PATHS = ("../out", "a/../../out", "/tmp/out", "C:/out", "..\\out", "a\0", "a\nb", "a/" * 40 + "a")
KEPT = re.compile(r"data/\.incoming/[0-9a-f]{32}/(manifest\.json|(parts|files)/.*)", re.DOTALL)
TAKEN = ("a folder", "an empty folder", "a file", "a link to nothing")


def prove(full: bool) -> Result:
    logging.getLogger("nicegui").setLevel(logging.CRITICAL)  # it names each address that is none
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "secret").write_bytes(SECRET)
        page = Page(Path(folder))
        foreign = some([*page.foreign_cases()], full, 1000)
        cases = [*foreign, *some([*page.outward_cases()], full, 100), *page.upload_cases()]
        kinds = (
            f"{len(page.paths)} routes x {len(METHODS) + 1} methods x {len(FOREIGN) + 2} senders"
        )
        figure = f"{kinds}, with uploads and paths {{tried}} tries, {{broken}} accepted or outside"
        return tried(page.violation, cases, figure)


class Page:
    """The real app, in front of which the real guard stands."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        self.app = build(Site.of(self.data, folder / "models", folder / "sets"))
        self.paths = sorted(set(addresses(self.app.routes)))
        guarded = Guard(self.app, Access.at("127.0.0.1"))
        headers = {"Origin": ADDRESS}
        self.client = TestClient(guarded, ADDRESS, False, headers=headers, follow_redirects=False)
        self.number = 0

    def violation(self, case: tuple) -> str | None:
        attempt, *about = case
        return attempt(*about)

    def foreign_cases(self) -> Iterator[tuple]:
        guard = Access.at("127.0.0.1")
        with_token = Access(guard.hosts, token="a token of some length")
        forged = [HOST, ORIGIN, ("Cookie", f"{COOKIE}=a token of some length")]
        for path in self.paths:
            for method in (*METHODS, "websocket"):
                for name, headers in FOREIGN.items():
                    yield self.foreign, guard, name, path, method, headers
                for name, headers in (("no cookie", [HOST, ORIGIN]), ("a forged cookie", forged)):
                    yield self.foreign, with_token, name, path, method, headers
                if method not in ("GET", "HEAD", "OPTIONS"):
                    yield self.foreign, guard, "no page named", path, method, [HOST]

    def foreign(
        self, access: Access, name: str, path: str, method: str, headers: list
    ) -> str | None:
        inner = Recorder()
        sort = "websocket" if method == "websocket" else "http"
        ask(Guard(inner, access), path, method, headers, sort=sort)
        return f"{method} {path} came through from {name}" if inner.came else None

    def outward_cases(self) -> Iterator[tuple]:
        for route in self.paths:
            for out in (*OUT, str(self.folder / "secret")):
                yield self.outward, f"{route}/{out}"
                yield self.outward, f"{route}?name={out}"
                yield self.outward, f"{route}?path={out}"
                yield self.outward, f"{route.rpartition('/')[0]}/{out}"

    def outward(self, path: str) -> str | None:
        answer = self.client.get(path)
        return f"{path} gives what lies outside" if SECRET in answer.content else None

    def upload_cases(self) -> Iterator[tuple]:
        for sort in ("dataset", "images", "models"):
            for is_folder in (True, False):
                yield from ((self.upload, sort, name, is_folder, "a/b.png", 5, 5) for name in NAMES)
                paths = (*PATHS, str(self.folder / "out"))
                yield from ((self.upload, sort, "ok", is_folder, path, 5, 5) for path in paths)
        for announced in (0, 1, 5, 70_000):
            for sent in (0, 1, 4, 5, 6, 69_999, 70_000, 70_001, 10**6):
                yield self.upload, "dataset", "sized", True, "a/b.png", announced, sent
        yield from ((self.over, kind, is_folder) for kind in TAKEN for is_folder in (True, False))

    def upload(
        self, sort: str, name: str, is_folder: bool, path: str, size: int, sent: int
    ) -> str | None:
        """Put a file in; all that may come of it is that one file, of the size that was announced."""
        self.number += 1
        before = self.tree()
        name = f"{name}{self.number}" if name in ("ok", "sized") else name
        self.put(sort, name, is_folder, path, size, b"x" * sent)
        new = self.tree() - before
        allowed = {(f"data/raw_dataset/{name}/a/b.png", size)} if size == sent else set()
        if path != "a/b.png" or name in NAMES:
            allowed = set()
        wrong = {entry for entry in new if not KEPT.fullmatch(entry[0])} - allowed
        large = {entry for entry in new if entry[0].endswith("parts/0") and entry[1] > size}
        return (
            f"{name!r}, {path!r}, {sent} of {size} bytes: {wrong | large}"
            if wrong | large
            else None
        )

    def put(
        self, sort: str, name: str, is_folder: bool, path: str, size: int, content: bytes
    ) -> str:
        asked = {"sort": sort, "name": name, "is_folder": is_folder, "files": [[path, size]]}
        begun = self.client.post("/api/uploads", json=asked)
        if begun.status_code != 200:
            return ""
        key = begun.json()["key"]
        self.client.put(f"/api/uploads/{key}/0", content=content)
        return key

    def over(self, kind: str, is_folder: bool) -> str | None:
        """Something takes the name just before what was sent gets it."""
        self.number += 1
        name = f"taken{self.number}" + ("" if is_folder else ".zip")
        key = self.put("dataset", name, is_folder, "a/b.png", 5, b"12345")
        path = self.data / "raw_dataset" / name
        path.parent.mkdir(exist_ok=True)
        if "folder" in kind:
            path.mkdir()
        if kind == "a folder":
            (path / "mine").write_text("mine")
        if kind == "a file":
            path.write_text("mine")
        if "link" in kind:
            path.symlink_to("nowhere")
        before = path.lstat()
        self.client.post(f"/api/uploads/{key}/finish")
        same = os.path.lexists(path) and os.path.samestat(before, path.lstat())
        return None if same else f"{kind} was put over by {name}"

    def tree(self) -> set[tuple[str, int]]:
        return {
            (str(path.relative_to(self.folder)), path.lstat().st_size)
            for path in self.folder.rglob("*")
            if not path.is_dir()
        }
