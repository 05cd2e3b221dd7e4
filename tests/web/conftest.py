import pytest

from testkit.browser import chromium, program


@pytest.fixture(scope="module")
def browser():
    if not program():
        pytest.skip("no browser is here. Install one: sudo apt-get install chromium.")
    with chromium() as started:
        yield started
