"""Promises that are hard to keep, each with a proof that does its best to break it.

A proof is a module in this folder, named in PROOFS. Its docstring begins with the promise, and its
`prove(full)` tries it: on every case if `full`, else on a few of them, as `make test` does.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

PROOFS = (
    # What is dropped in
    "half_copies",
    "changes",
    "once_each",
    "no_events",
    "lost_events",
    "clock_jumps",
    "vanishing",
    "bad_among_good",
    "raw_data",
    # What goes wrong meanwhile
    "crashes",
    "kill",
    "killed_training",
    "failing_calls",
    "power_loss",
    "disk_full",
    "damage",
    "damaged_records",
    # What is let in
    "any_csv",
    "any_json",
    "outside",
    "archives",
    "only_files",
    "large_inputs",
    "true_png",
    "true_images",
    "pickle_code",
    "bad_checkpoints",
    "fuzz",
    "page",
    # How a stage lives
    "one_process",
    "stops",
    "long_life",
)


class Result(NamedTuple):
    tried: int
    held: int
    figure: str  # what was tried and what came of it, in a few words
    violations: Sequence[str] = ()  # a line for each case that did not hold


class Missing(Exception):
    """Something that a proof needs is not on this machine: what, and how to get it."""


def some(cases: Sequence, full: bool, count: int) -> Sequence:
    """All `cases` if `full`, else `count` of them: one of each of as many equal parts.

    Which one is drawn by chance, though the same each time: every tenth case could be the same way
    with the same error again and again.
    """
    if full or len(cases) <= count:
        return cases
    draw, ends = random.Random(count), [len(cases) * part // count for part in range(count + 1)]
    return [cases[draw.randrange(start, end)] for start, end in pairwise(ends)]


def tried(
    attempt: Callable[[object], str | None],
    cases: Sequence,
    figure: str,
    each: Callable[[Callable, Sequence], Iterable] = map,
) -> Result:
    """The result of all `cases`: `attempt` says what did not hold, `figure` has {tried} and {broken}."""
    violations = [found for found in each(attempt, cases) if found]
    count, broken = len(cases), len(violations)
    return Result(count, count - broken, figure.format(tried=count, broken=broken), violations)
