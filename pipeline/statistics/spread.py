"""How far the figures of one experiment lie apart that was repeated with other seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Of `count` figures, at least 2: their mean, standard deviation, and the ends of their range."""

    count: int
    mean: float
    deviation: float  # of the sample: divided by count - 1
    low: float
    high: float


def spread_of(figures: Sequence[float]) -> Spread | None:
    """None for fewer than 2, which say nothing of it."""
    if len(figures) < 2:
        return None
    mean, deviation = statistics.mean(figures), statistics.stdev(figures)
    return Spread(len(figures), mean, deviation, min(figures), max(figures))
