import pytest
from scipy.stats import binomtest

from pipeline.statistics.intervals import accuracy_interval, wilson, with_interval


@pytest.mark.parametrize("total", [1, 2, 7, 60, 280, 10_000])
def test_the_interval_is_that_of_scipy(total):
    for right in {0, 1, total // 3, total // 2, total - 1, total}:
        expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
        assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_never_leaves_0_to_1():
    for total in range(1, 200):
        assert wilson(0, total)[0] == 0
        assert wilson(total, total)[1] == 1
        for right in range(total + 1):
            low, high = wilson(right, total)
            assert 0 <= low <= right / total <= high <= 1


def test_an_accuracy_is_said_with_its_interval_and_on_how_many_images():
    assert with_interval(267 / 280, 280) == "0.954 (0.922-0.973 of 280)"
    assert with_interval(1, 10_000) == "1.000 (1.000-1.000 of 10,000)"
    assert with_interval(1, 3) == "1.000 (0.439-1.000 of 3)"


@pytest.mark.parametrize("images", [None, 0])
def test_without_the_number_of_images_an_accuracy_stands_alone(images):
    assert accuracy_interval(0.5, images) is None
    assert with_interval(0.5, images) == "0.500"
