"""The page as people start it."""

import signal
import subprocess
import sys
import urllib.request

import pytest

from constants import ROOT

pytestmark = pytest.mark.slow


def address(process):
    return process.wait_for("the page is at ").rpartition(" ")[2]


def test_it_says_its_address_serves_there_and_stops(data, start):
    web = start("web_ui.py", "--data", data, "--port", 0)
    with urllib.request.urlopen(address(web)) as answer:
        assert "<title>Now" in answer.read().decode()
    assert web.end(signal.SIGTERM) == 0
    assert web.lines[-1].endswith("| stopped")


def test_an_address_that_is_taken_is_one_sentence(data, start):
    first = start("web_ui.py", "--data", data, "--port", 0)
    port = address(first).rstrip("/").rpartition(":")[2]
    second = start("web_ui.py", "--data", data, "--port", port)
    assert second.end() == 1
    [line] = second.lines
    assert f"cannot serve at 127.0.0.1, port {port}: Address already in use. Stop what" in line


def test_without_a_port_the_next_one_is_taken(data, start):
    ports = set()
    for _ in range(2):
        web = start("web_ui.py", "--data", data)
        ports.add(int(address(web).rstrip("/").rpartition(":")[2]))
    assert len(ports) == 2
    assert all(8080 <= port < 8100 for port in ports)


def test_it_stops_when_nobody_reads_its_lines_any_more(data):
    process = subprocess.Popen(
        [sys.executable, ROOT / "web_ui.py", "--data", data, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert b"the page is at" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_others_need_a_token_which_is_printed_once(data, start):
    web = start("web_ui.py", "--data", data, "--port", 0, "--host", "0.0.0.0")
    port = address(web).rstrip("/").rpartition(":")[2]
    token = web.wait_for("it asks for this token: ").rpartition(" ")[2]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert answer.url.endswith("/enter")
        assert "<title>Now" not in answer.read().decode()
    origin = {"Origin": f"http://127.0.0.1:{port}"}
    cookies = urllib.request.HTTPCookieProcessor()
    browser = urllib.request.build_opener(cookies)
    form = urllib.request.Request(
        f"http://127.0.0.1:{port}/enter", f"token={token}".encode(), origin
    )
    with browser.open(form) as answer:
        assert "<title>Now" in answer.read().decode()
