"""Requests to the page without a network, and all that it answers to."""

import asyncio
from collections.abc import Iterator

from starlette.routing import Mount

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
HOST = ("Host", "127.0.0.1:8080")
ORIGIN = ("Origin", "http://127.0.0.1:8080")
FOREIGN = {
    "no host": [ORIGIN],
    "a name that leads here": [("Host", "evil.example:8080"), ("Origin", "http://evil.example:8080")],
    "an address that is another's": [("Host", "10.0.0.1"), ("Origin", "http://10.0.0.1")],
    "a name that begins like ours": [("Host", "127.0.0.1.evil.example"), ORIGIN],
    "two hosts": [HOST, ("Host", "evil.example"), ORIGIN],
    "a host that is no name": [("Host", "127.0.0.1:8080/evil"), ORIGIN],
    "another page": [HOST, ("Origin", "http://evil.example")],
    "a page of this machine at another port": [HOST, ("Origin", "http://127.0.0.1:3000")],
    "a page without an origin": [HOST, ("Origin", "null")],
    "two origins": [HOST, ORIGIN, ("Origin", "http://evil.example")],
    "a picture in another page": [HOST, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    "a page at another port": [HOST, ORIGIN, ("Sec-Fetch-Site", "same-site")],
    "a frame in another page": [
        HOST,
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "iframe"),
    ],
}  # fmt: skip
OURS = {
    "at its address": [HOST, ORIGIN],
    "by the machine's name for itself": [("Host", "localhost"), ("Origin", "http://localhost")],
    "by the newer address": [("Host", "[::1]:80"), ("Origin", "http://[::1]:80")],
    "by a tunnel": [("Host", "localhost:9000"), ("Origin", "http://localhost:9000")],
    "from the page itself": [HOST, ORIGIN, ("Sec-Fetch-Site", "same-origin")],
}


class Recorder:
    """An app that notes which requests came through to it."""

    def __init__(self):
        self.came = []

    async def __call__(self, scope, receive, send):
        self.came.append((scope.get("method", "websocket"), scope["path"]))
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(app, path, method="GET", headers=(), body=(), sort="http"):
    """The messages that `app` answers a request with; `headers` are pairs of text."""
    return asyncio.run(_ask(app, path, method, headers, body, sort))


async def _ask(app, path, method, headers, body, sort):
    pieces = [*body] or [b""]
    answers = []

    async def receive():
        if sort == "websocket":
            return {"type": "websocket.connect"}
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message):
        answers.append(message)

    scope = {
        "type": sort,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        **({"method": method, "http_version": "1.1"} if sort == "http" else {"subprotocols": []}),
    }
    await app(scope, receive, send)
    return answers


def status_of(answers):
    """The status of a response; 101 or 403 for a websocket that was accepted or not."""
    first = answers[0]
    if first["type"].startswith("websocket"):
        return 101 if first["type"] == "websocket.accept" else 403
    return first["status"]


def addresses(routes, before="") -> Iterator[str]:
    """An address for each route, those of mounted apps among them."""
    for route in routes:
        path = before + (getattr(route, "path", "") or "")
        if isinstance(route, Mount):
            yield path.rstrip("/") + "/x"
            yield from addresses(getattr(route.app, "routes", None) or (), path.rstrip("/"))
        else:
            yield path.replace("{", "").replace("}", "").replace(":path", "")
