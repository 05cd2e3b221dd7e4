"""The guard in front of the page, at each route, method and websocket."""

import pytest

import constants
from helper import UserError
from pipeline.access.entry import COOKIE, Access
from pipeline.access.guard import Guard
from testkit.web import FOREIGN, HOST, METHODS, ORIGIN, OURS, Recorder, ask, status_of


@pytest.fixture
def inner():
    return Recorder()


@pytest.fixture
def guard(inner):
    return Guard(inner, Access.at(constants.WEB_HOST))


@pytest.mark.parametrize("method", [*METHODS, "websocket"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_another_page_sends_comes_to_no_route(guard, inner, method, foreign):
    sort = "websocket" if method == "websocket" else "http"
    assert status_of(ask(guard, "/", method, FOREIGN[foreign], sort=sort)) == 403
    assert inner.came == []


@pytest.mark.parametrize("method", [*METHODS, "websocket"])
@pytest.mark.parametrize("ours", OURS)
def test_what_this_page_sends_comes_through(guard, inner, method, ours):
    sort = "websocket" if method == "websocket" else "http"
    ask(guard, "/", method, OURS[ours], sort=sort)
    assert inner.came == [(method, "/")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "websocket"])
def test_who_changes_something_says_which_page_it_is(guard, inner, method):
    sort = "websocket" if method == "websocket" else "http"
    assert status_of(ask(guard, "/", method, [HOST], sort=sort)) == 403
    assert inner.came == []


def test_a_link_on_another_page_may_lead_here(guard, inner):
    link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    ask(guard, "/", "GET", [HOST, *link, ("Sec-Fetch-Dest", "document")])
    assert inner.came == [("GET", "/")]


def test_what_a_proxy_would_say_is_not_passed_on(guard):
    seen = []

    async def app(scope, receive, send):
        seen.extend(name for name, _ in scope["headers"])

    guard.app = app
    ask(guard, "/", headers=[HOST, ("X-Forwarded-Prefix", "//evil.example")])
    assert seen == [b"host"]


def test_each_answer_says_what_may_run_in_it(guard):
    for app, most in ((guard.app, "sandbox"), (page, "connect-src 'self'")):
        guard.app = app
        headers = dict(ask(guard, "/", headers=[HOST])[0]["headers"])
        assert most in headers[b"content-security-policy"].decode()
        assert headers[b"x-content-type-options"] == b"nosniff"
    refused = dict(ask(guard, "/")[0]["headers"])
    assert "default-src 'none'" in refused[b"content-security-policy"].decode()


async def page(scope, receive, send):
    headers = [(b"Content-Type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<p>"})


async def reads_all(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RuntimeError("cut")
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.mark.parametrize("claimed", [[], [("Content-Length", "5")]])
def test_a_body_is_counted_whatever_its_headers_say(guard, monkeypatch, claimed):
    monkeypatch.setattr(constants, "MOST_JSON_BYTES", 100)
    guard.app = reads_all
    fits, too_much = [b"x" * 50] * 2, [b"x" * 50] * 3
    assert ask(guard, "/", "POST", [HOST, ORIGIN, *claimed], fits)[-1]["body"] == b"100"
    assert status_of(ask(guard, "/", "POST", [HOST, ORIGIN, *claimed], too_much)) == 413


TOKEN = "correct horse battery staple"


@pytest.fixture
def token_file(tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path / "token"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "192.0.2.7"])
def test_with_a_token_nobody_comes_through_without_its_cookie(inner, token_file, host):
    guard = Guard(inner, Access.at(host, token_file))
    forged = ("Cookie", f"{COOKIE}={TOKEN}")
    for headers in ([HOST, ORIGIN], [HOST, ORIGIN, forged]):
        for method in METHODS:
            answer = ask(guard, "/runs", method, headers)[0]
            assert (answer["status"], dict(answer["headers"])[b"location"]) == (303, b"/enter")
        assert status_of(ask(guard, "/_nicegui_ws/", headers=headers, sort="websocket")) == 403
    assert inner.came == []


def test_the_token_is_changed_for_a_cookie_that_no_script_and_no_other_page_gets(inner, token_file):
    guard = Guard(inner, Access.at("0.0.0.0", token_file))
    assert status_of(ask(guard, "/enter", "POST", [HOST, ORIGIN], [b"token=wrong"])) == 403
    body = [b"token=" + TOKEN.replace(" ", "+").encode()]
    assert status_of(ask(guard, "/enter", "POST", [HOST], body)) == 403
    headers = dict(ask(guard, "/enter", "POST", [HOST, ORIGIN], body)[0]["headers"])
    cookie, *rules = headers[b"set-cookie"].decode().split("; ")
    assert rules == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert TOKEN not in cookie
    with_cookie = [HOST, ORIGIN, ("Cookie", f"a=b; {cookie}")]
    ask(guard, "/runs", "GET", with_cookie)
    ask(guard, "/_nicegui_ws/", "websocket", with_cookie, sort="websocket")
    assert inner.came == [("GET", "/runs"), ("websocket", "/_nicegui_ws/")]


def test_an_address_that_others_reach_always_asks_for_a_token():
    assert not Access.at("127.0.0.1").token
    assert not Access.at("::1").token
    tokens = {Access.at(host).token for host in ("0.0.0.0", "::", "192.0.2.7", "my.example", "")}
    assert len(tokens) == 5 and min(map(len, tokens)) > 40


def test_by_which_names_it_may_be_asked_for():
    assert Access.at("192.0.2.7").is_name("192.0.2.7")
    assert not Access.at("192.0.2.7").is_name("192.0.2.8")
    assert Access.at("0.0.0.0").is_name("192.0.2.8")
    assert Access.at("::").is_name("[fe80::1]")
    assert not Access.at("0.0.0.0").is_name("evil.example")


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40, b"two lines of\nsome length"])
def test_a_file_without_a_token_is_one_sentence(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UserError, match=r"token holds no token: expected one line of 16 or more"):
        Access.at("127.0.0.1", tmp_path / "token")
