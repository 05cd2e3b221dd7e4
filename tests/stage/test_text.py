import pytest

from pipeline.stage.text import percent


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")],
)
def test_percent_never_rounds_to_all_or_nothing(share, text):
    assert percent(share) == text
