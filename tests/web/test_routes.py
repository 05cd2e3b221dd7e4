"""Each route that the page has, NiceGUI's own among them, lies behind the guard."""

import http.client

import pytest

from pipeline.access.entry import Access
from pipeline.access.guard import Guard
from pipeline.web.server import build
from pipeline.web.web_site import Site
from testkit.processes import Process
from testkit.web import FOREIGN, METHODS, OURS, Recorder, addresses, ask, status_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """NiceGUI knows one app in a process, so this is made once."""
    return build(Site.of(tmp_path_factory.mktemp("data")))


def test_each_route_with_each_method_from_each_foreign_page(app):
    inner = Recorder()
    guard = Guard(inner, Access.at("127.0.0.1"))
    paths = sorted(set(addresses(app.routes)))
    assert {"/", "/static/page.css", "/_nicegui_ws/x"} <= set(paths)
    assert any(path.startswith("/_nicegui/") for path in paths)
    assert len(paths) > 8
    for path in paths:
        for foreign in FOREIGN.values():
            for method in METHODS:
                assert status_of(ask(guard, path, method, foreign)) == 403, (path, method, foreign)
            assert status_of(ask(guard, path, headers=foreign, sort="websocket")) == 403
    assert inner.came == []
    ask(guard, "/", headers=OURS["at its address"])
    assert inner.came == [("GET", "/")]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    process = Process("web_ui.py", "--data", tmp_path_factory.mktemp("data"), "--port", "0")
    address = process.wait_for("the page is at ").rstrip("/").rpartition("//")[2]
    yield address
    process.process.kill()
    process.process.wait()


SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize(
    ("path", "more"), [("/", {}), ("/_nicegui_ws/socket.io/?EIO=4&transport=polling", {}), (SOCKET, UPGRADE)]
)  # fmt: skip
def test_the_server_has_the_guard_in_front(served, path, more):
    ours = {"Host": served, "Origin": f"http://{served}"}
    assert request(served, path, {**more, **ours}) in (200, 101)
    for foreign in (
        {"Host": served, "Origin": "http://evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ):
        assert request(served, path, {**more, **foreign}) == 403


def request(address, path, headers):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status
