import pytest

from pipeline.statistics.spread import Spread, spread_of


def test_the_spread_is_that_of_a_sample():
    assert spread_of([0.5, 0.75, 1.0]) == Spread(3, 0.75, 0.25, 0.5, 1.0)
    assert spread_of([0.9, 0.9]) == Spread(2, 0.9, 0.0, 0.9, 0.9)
    found = spread_of([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.mean, found.deviation) == (5, pytest.approx(2.1380899))


@pytest.mark.parametrize("figures", [[], [0.5]])
def test_one_figure_has_no_spread(figures):
    assert spread_of(figures) is None
