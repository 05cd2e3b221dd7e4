import numpy as np
import pytest
from scipy.stats import binom, binomtest, fisher_exact

from pipeline.statistics.comparison import (
    at_least,
    compare_with_first,
    holm,
    images_to_tell_apart,
    mcnemar,
)


def test_mcnemars_p_value_is_that_of_the_exact_binomial_test():
    for first, second in [(0, 0), (0, 1), (1, 1), (3, 4), (0, 6), (2, 12), (25, 40), (400, 600)]:
        total = first + second
        expected = binomtest(first, total, 0.5).pvalue if total else 1.0
        assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
        assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemars_p_value_of_a_textbook():
    """statsmodels.stats.contingency_tables.mcnemar([[101, 121], [59, 33]], exact=True)."""
    assert mcnemar(121, 59) == pytest.approx(4.434e-06, rel=1e-3)


def test_mcnemars_p_value_of_very_many_images_takes_no_time_and_does_not_overflow():
    assert mcnemar(10**9, 10**9 + 10) == pytest.approx(1, abs=1e-3)
    assert mcnemar(10**7, 10**6) == 0
    assert mcnemar(50_000, 51_000) == pytest.approx(binomtest(50_000, 101_000).pvalue, rel=1e-6)


def test_holms_correction_is_that_of_r():
    """p.adjust(c(...), method = "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001, 0.3, 0.02]) == pytest.approx([0.08, 0.004, 0.3, 0.06])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize(("first", "second", "images"), [(20, 10, 280), (60, 50, 400), (9, 3, 60)])
def test_on_so_many_images_the_difference_is_seen_four_times_in_five(first, second, images):
    needed = images_to_tell_apart(first, second, images)
    differ, of_first = (first + second) / images, first / (first + second)
    seen = 0.0
    for total in range(needed + 1):
        chance = binom.pmf(total, needed, differ)
        if chance < 1e-9:
            continue
        limit = binom.ppf(0.025, total, 0.5)
        limit -= binom.cdf(limit, total, 0.5) > 0.025
        tails = binom.cdf(limit, total, of_first) + binom.cdf(limit, total, 1 - of_first)
        seen += chance * tails
    assert seen == pytest.approx(0.8, abs=0.06)  # the exact test is a little more careful


def test_no_number_of_images_tells_equals_apart():
    assert images_to_tell_apart(7, 7, 100) is None
    assert images_to_tell_apart(0, 0, 100) is None


def bits(right):
    return int("".join(map(str, right)), 2)


def test_runs_are_compared_with_the_first_on_the_same_images():
    first = [1] * 90 + [0] * 10
    near = [1] * 86 + [0] * 4 + [1] * 2 + [0] * 8
    far = [1] * 60 + [0] * 40
    found = compare_with_first([bits(first), bits(near), None, bits(far)], 100)
    assert [one and one.as_good for one in found] == [None, True, None, False]
    assert found[1].p_value == pytest.approx(binomtest(2, 6).pvalue)
    assert found[3].p_value == pytest.approx(2 * binomtest(0, 30).pvalue)
    assert found[1].images == images_to_tell_apart(4, 2, 100)


def test_the_more_runs_the_more_it_takes_to_be_worse():
    """Six images of difference are worse by themselves, but not when they are the worst of ten."""
    first, other = bits([1] * 60), bits([1] * 54 + [0] * 6)
    assert not compare_with_first([first, other], 60)[1].as_good
    assert all(one.as_good for one in compare_with_first([first, *[other] * 10], 60)[1:])


def test_where_the_first_is_unknown_nothing_is_said():
    assert compare_with_first([None, 3], 2) == [None, None]
    assert compare_with_first([], 0) == []


def test_the_tail_of_drawing_at_random_is_fishers_exact_test():
    draw = np.random.default_rng(0)
    for _ in range(50):
        table = draw.integers(0, 9, (2, 2)) + np.eye(2, dtype=int)
        (hits, missed), (wrong, _) = table
        expected = fisher_exact(table, alternative="greater").pvalue
        found = at_least(int(hits), int(hits + wrong), int(hits + missed), int(table.sum()))
        assert found == pytest.approx(expected)
