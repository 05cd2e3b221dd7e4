"""How sure an accuracy is: the interval that goes with it, and the text of both."""

import math

Z = 1.959963984540054  # of the normal distribution, for 95 %


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of `right` of `total`, at least 1.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927: unlike the
    usual "plus or minus", right also for few images and close to 0 and 1.
    """
    share, weight = right / total, Z * Z / total
    middle = share + weight / 2
    half = math.sqrt(weight * (share * (1 - share) + weight / 4))
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    # At the ends the interval ends exactly there, which rounding would miss by 1e-17.
    return (0.0 if right == 0 else low), (1.0 if right == total else high)


def accuracy_interval(accuracy: float | None, images: int | None) -> tuple[float, float] | None:
    """None where it is not known on how many images the accuracy was measured."""
    return wilson(round(accuracy * images), images) if accuracy is not None and images else None


def with_interval(accuracy: float, images: int | None) -> str:
    """Such as "0.953 (0.926-0.970 of 280)"; the accuracy alone where no more is known."""
    interval = accuracy_interval(accuracy, images)
    if interval is None:
        return f"{accuracy:.3f}"
    low, high = interval
    return f"{accuracy:.3f} ({low:.3f}-{high:.3f} of {images:,})"
