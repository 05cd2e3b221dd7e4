"""What the benchmarks share: contestants that take turns, and tables in Markdown."""

import importlib.util
import os
import statistics
import sys
from collections.abc import Callable, Iterable

QUICK = bool(os.environ.get("QUICK"))  # in the environment: fewer, smaller, faster
NOT_INSTALLED = "not installed"


def alternating(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each contestant gives in each round.

    They take turns, so that whatever else the machine does meets all of them, and each round is
    begun by another one.
    """
    found = {name: [] for name in contestants}
    for turn in range(rounds):
        names = list(contestants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(contestants[name]())
            progress(f"round {turn + 1} of {rounds}: {name}: {found[name][-1]:.3g}")
    return found


def ratio(ours: list[float], theirs: list[float]) -> float:
    """So many times as much is theirs: the median of the rounds, each compared with itself."""
    return statistics.median(their / our for our, their in zip(ours, theirs, strict=True))


def spread(values: list[float], form: str = ".2f") -> str:
    """The median, and from the least to the most: 1.23 (1.20-1.31)."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({least:{form}}-{most:{form}})"


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as GitHub shows it, and as one can read it in a terminal; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        for row in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
