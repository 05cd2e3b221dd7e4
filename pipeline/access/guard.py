"""In front of everything: answers only a browser that means this page, and its owner.

A page of somebody else that is open in the same browser can send requests to this machine, too, and a
name of its own can lead here. So each request and each websocket is looked at before any route is,
NiceGUI's own among them: by which name it was asked for, from which page, and with which cookie.
"""

import re
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

import constants
from pipeline.access.entry import ENTER, MOST_FORM_BYTES, Access

Headers = list[tuple[bytes, bytes]]

HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
READS = ("GET", "HEAD", "OPTIONS")
# Their routes count what they take themselves: files of any size.
UPLOADS = "/api/uploads/"

# NiceGUI makes its pages of scripts within them, and Vue compiles; but no script, picture, form or
# request leads to another host.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# Of what is no page of ours, such as a file that somebody named .svg: nothing in it runs.
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
FORM_POLICY = f"{FILE_POLICY} allow-forms; form-action 'self'"
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
FORM = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>ML Ops Pipeline</title>
<style>:root{{color-scheme:light dark;font-family:system-ui,sans-serif}}
body{{max-width:24rem;margin:15vh auto;padding:0 1rem}}
input,button{{font:inherit;padding:.5rem .75rem;width:100%;box-sizing:border-box;margin-top:.75rem}}</style>
<h1>ML Ops Pipeline</h1><form method="post"><label>{said}
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Enter</button></form></html>
"""


class Guard:
    """The `app`, for those who have `access`."""

    def __init__(self, app: ASGIApp, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        is_request = scope["type"] == "http"
        reason = self.why_not(scope)
        if reason and is_request:
            await answer(send, 403, f"Refused: {reason}\n")
        elif reason or not (self.is_known(scope) or is_request):
            await send({"type": "websocket.close", "code": 1008})
        elif is_request:
            await self._serve(without_forwarded(scope), receive, send)
        else:
            await self.app(without_forwarded(scope), receive, send)

    def why_not(self, scope: Scope) -> str:
        """Why a request or a websocket is none that a person on this page made; "" if it may be."""
        hosts, origins = values(scope, b"host"), values(scope, b"origin")
        [host] = hosts if len(hosts) == 1 else [""]
        if not (parts := HOST.fullmatch(host)) or not self.access.is_name(parts[1]):
            return f"this page has another name than {host or 'none'}. Open it as the log says."
        if any(origin not in (f"http://{host}", f"https://{host}") for origin in origins):
            return "it was sent by another page."
        method = scope.get("method", "websocket")
        if method not in READS and not origins:
            return "it does not say which page it was sent by (Origin)."
        site, mode, aim = (
            values(scope, name)[-1:]
            for name in (b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest")
        )
        is_link = method == "GET" and mode == ["navigate"] and aim == ["document"]
        if site and site[0] not in ("same-origin", "none") and not is_link:
            return "it was sent by another page."
        return ""

    def is_known(self, scope: Scope) -> bool:
        return self.access.may_enter("; ".join(values(scope, b"cookie", lower=False)))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.access.token and scope["path"] == ENTER:
            await self._enter(scope, receive, send)
        elif not self.is_known(scope):
            await answer(send, 303, "", [(b"location", ENTER.encode())])
        elif scope["method"] == "PUT" and scope["path"].startswith(UPLOADS):
            await self.app(scope, receive, with_headers(send))
        else:
            await self._serve_at_most(constants.MOST_JSON_BYTES, scope, receive, send)

    async def _serve_at_most(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body has `most` bytes at the most: counted, whatever its headers say."""
        size, began = 0, False

        async def counted() -> Message:
            nonlocal size
            if size > most:
                return {"type": "http.disconnect"}
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= most else {"type": "http.disconnect"}

        async def send_unless_too_much(message: Message) -> None:
            nonlocal began
            if size <= most or began:
                began = True
                await with_headers(send)(message)

        try:
            await self.app(scope, counted, send_unless_too_much)
        except Exception:
            if size <= most:
                raise
        if size > most and not began:
            await answer(send, 413, f"Refused: more than {most:,} bytes.\n")

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        said, status = "The token that the page printed when it was started", 200
        if scope["method"] == "POST":
            if self.access.is_token(await token_in(receive)):
                headers = [(b"location", b"/"), (b"set-cookie", self.access.cookie().encode())]
                return await answer(send, 303, "", headers)
            said, status = "That is not the token that the page printed last. Its token", 403
        await answer(send, status, FORM.format(said=said), policy=FORM_POLICY, html=True)
        return None


async def token_in(receive: Receive) -> str:
    """What a form in the body of a request gives as the token."""
    body, more = b"", True
    while more and len(body) <= MOST_FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    fields = parse_qs(body[:MOST_FORM_BYTES].decode("ascii", "replace"), max_num_fields=10)
    return fields.get("token", [""])[0]


def values(scope: Scope, name: bytes, lower: bool = True) -> list[str]:
    """What the headers of this name say."""
    found = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    return [value.lower() for value in found] if lower else found


def without_forwarded(scope: Scope) -> Scope:
    """No proxy stands before the page, so nobody has a say in where it lies."""
    headers = [pair for pair in scope["headers"] if not pair[0].lower().startswith(b"x-forwarded")]
    return {**scope, "headers": headers}


def with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Headers = [(name.lower(), value) for name, value in message["headers"]]
            named = dict(headers)
            is_page = named.get(b"content-type", b"").startswith(b"text/html")
            policy = PAGE_POLICY if is_page else FILE_POLICY
            known: Iterable[tuple[bytes, bytes]] = (
                *ALWAYS,
                (b"content-security-policy", policy.encode()),
            )
            headers += [pair for pair in known if pair[0] not in named]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


async def answer(
    send: Send,
    status: int,
    text: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    policy: str = FILE_POLICY,
    html: bool = False,
) -> None:
    body = text.encode("utf-8", "backslashreplace")
    sort = b"text/html" if html else b"text/plain"
    lines = [
        (b"content-type", sort + b"; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
        *headers,
    ]
    start = {"type": "http.response.start", "status": status, "headers": lines}
    await with_headers(send)(start)
    await send({"type": "http.response.body", "body": body})
