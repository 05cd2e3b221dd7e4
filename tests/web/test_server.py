"""The page as people start it."""

import signal
import urllib.request

import pytest

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
