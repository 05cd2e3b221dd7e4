"""Whether two classifiers that saw the same images differ by more than chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.statistics.intervals import Z

SIGNIFICANCE = 0.05
Z_POWER = 0.8416212335729143  # of the normal distribution: four times in five a difference is seen


@dataclass(frozen=True)
class Comparison:
    """How a run compares with the first. `p_value` is corrected for the number of runs.

    `images`: on how many the two would be told apart; None where they are equally often right.
    """

    p_value: float
    images: int | None

    @property
    def as_good(self) -> bool:
        return self.p_value >= SIGNIFICANCE


def compare_with_first(outcomes: Sequence[int | None], images: int) -> list[Comparison | None]:
    """Compare each classifier with the first of them, by McNemar's test with Holm's correction.

    Args:
        outcomes: of each classifier, a bit for each image: 1 where it is right; None where they are
            not known.
        images: how many bits there are.

    Returns:
        None for the first, and where outcomes are not known.
    """
    found: list[Comparison | None] = [None] * len(outcomes)
    if not outcomes or outcomes[0] is None:
        return found
    first = outcomes[0]
    compared = [number for number, bits in enumerate(outcomes) if number and bits is not None]
    differences = []
    for number in compared:
        bits = outcomes[number] or 0
        differences.append(((first & ~bits).bit_count(), (bits & ~first).bit_count()))
    p_values = holm([mcnemar(*difference) for difference in differences])
    for number, difference, p_value in zip(compared, differences, p_values, strict=True):
        found[number] = Comparison(p_value, images_to_tell_apart(*difference, images))
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of images that only one of two classifiers has right.

    If both were equally good, each such image would be the toss of a coin (McNemar 1947; exact:
    the binomial distribution).
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer >= total - 1:
        return 1.0
    term = math.exp(_log_choose(total, fewer) - total * math.log(2))
    tail = 0.0
    # From the largest term on, so that the sum may end where nothing is added any more.
    for count in range(fewer, -1, -1):
        if tail + term == tail:
            break
        tail += term
        term *= count / (total - count + 1)
    return min(1.0, 2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, corrected for their number, in their order (Holm 1979)."""
    corrected, least = [0.0] * len(p_values), 0.0
    by_size = sorted(range(len(p_values)), key=lambda number: p_values[number])
    for rank, number in enumerate(by_size):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = least
    return corrected


def images_to_tell_apart(only_first: int, only_second: int, images: int) -> int | None:
    """On how many images McNemar's test would see a difference such as that on `images`.

    At 5 %, four times in five (Connor, "Sample size for testing differences in proportions for the
    paired-sample design", 1987). None where there is no difference.
    """
    differ, gap = (only_first + only_second) / images, (only_first - only_second) / images
    if not gap:
        return None
    root = Z * math.sqrt(differ) + Z_POWER * math.sqrt(max(differ - gap * gap, 0.0))
    return math.ceil((root / gap) ** 2)


def at_least(hits: int, drawn: int, marked: int, total: int) -> float:
    """The probability that of `drawn` out of `total`, `hits` or more are among the `marked`.

    Fisher's exact test, one-sided: the tail of the hypergeometric distribution.
    """
    counts = range(max(hits, drawn + marked - total), min(drawn, marked) + 1)
    whole = _log_choose(total, drawn)
    terms = (
        _log_choose(marked, count) + _log_choose(total - marked, drawn - count) for count in counts
    )
    return min(1.0, math.fsum(math.exp(term - whole) for term in terms))


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
