"""When runs will be done, told from what earlier ones took.

A training is a start (its process, its data, its first steps, for which graphs are made), where a model has
a frozen part one pass of all images through it, and epochs. What an epoch takes is counted in images, by
model, set, image size and precision. Where these never met, it is told by model, size and batch size, then by
model and set and the pixels of an image, then by model and size, then by the model and pixels. It is assumed
that a set stops early as it did before with that model, that as many runs go on at a time as now, and that
nothing fails.
"""

import time
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapreplace

from pipeline.artifacts.metadata import TrainingEntry
from pipeline.fitting.batches import view_count
from pipeline.json_values import number_in, seconds_in, table_in, text_in, whole_in
from pipeline.training.run_queue import Run

# Of what an image costs that is fitted: it goes forward only, and backward takes twice as long.
VALIDATION = 1 / 3


@dataclass(frozen=True)
class Durations:
    """What the parts of a training took, in seconds. `frozen_part`: the pass of all images through it."""

    start: float = 0.0
    frozen_part: float = 0.0
    epochs: float = 0.0

    @classmethod
    def of(cls, said: dict) -> "Durations | None":
        start, frozen_part = seconds_in(said, "start"), seconds_in(said, "frozen_part")
        epochs = seconds_in(said, "epochs")
        if start is None or frozen_part is None or epochs is None:
            return None
        return cls(start, frozen_part, epochs)


@dataclass(frozen=True)
class Work:
    """What a run has to do, and what decides how fast that goes."""

    model: str | None
    model_sha256: str | None = None
    set_digest: str | None = None  # the same for all seeds
    image_size: int | None = None
    precision: str | None = None
    fitted: float = 0  # images in an epoch
    validated: float = 0
    passed: float = 0  # images through a frozen part, where the model has one
    epochs: int = 0  # at the most
    patience: int = 0
    batch_size: int = 0

    @classmethod
    def of(cls, said: dict) -> "Work":
        """As a description or a record says it."""
        return cls(
            text_in(said, "model"),
            text_in(said, "model_sha256"),
            text_in(said, "set_digest"),
            whole_in(said, "image_size"),
            text_in(said, "precision"),
            *(max(0, number_in(said, name) or 0) for name in ("fitted", "validated", "passed")),
            whole_in(said, "epochs") or 0,
            whole_in(said, "patience") or 0,
            whole_in(said, "batch_size") or 0,
        )

    @property
    def images(self) -> float:
        """That an epoch counts as."""
        return self.fitted + VALIDATION * self.validated

    def levels(self) -> list[tuple[tuple, float]]:
        """By what the figures of other runs are known, the most alike first; and in what unit an image is."""
        pixels = float(self.image_size or 0) ** 2
        alike = self.model_sha256, self.image_size, self.precision
        by_size = [
            ((*alike, self.set_digest), 1.0),
            ((*alike, "batch", self.batch_size), 1.0),
            ((self.model_sha256, self.precision, self.set_digest), pixels),
            (alike, 1.0),
            ((self.model_sha256,), pixels),
            ((self.model, "by pixels"), pixels),
        ]
        known = by_size if pixels and self.model_sha256 else []
        return [*known, ((self.model, "by images"), 1.0)]


@dataclass(frozen=True)
class Progress:
    """How far a run is; `durations` are None before the first epoch's end."""

    epochs: int = 0
    best_epoch: int = 0
    durations: Durations | None = None

    @property
    def seconds_per_epoch(self) -> float | None:
        return self.durations.epochs / self.epochs if self.durations and self.epochs else None


@dataclass
class History:
    """What runs took, as medians; a run can be taken out again."""

    _sorted: defaultdict[tuple, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, work: Work, epochs: int, durations: Durations, ended: bool = True) -> None:
        """A run that has done so many epochs; `ended`: that is all that it does."""
        for key, figure in _figures(work, epochs, durations, ended):
            insort(self._sorted[key], figure)

    def remove(self, work: Work, epochs: int, durations: Durations, ended: bool = True) -> None:
        for key, figure in _figures(work, epochs, durations, ended):
            del self._sorted[key][bisect_left(self._sorted[key], figure)]

    def figure(self, name: str, work: Work) -> float | None:
        """The median of the runs that are most like `work`; seconds per image in its own unit."""
        for level, unit in work.levels():
            if figures := self._sorted.get((name, *level)):
                middle = (figures[(len(figures) - 1) // 2] + figures[len(figures) // 2]) / 2
                return middle * unit if name in PER_IMAGE else middle
        return None

    def part_of_epochs(self, work: Work) -> float | None:
        """Which part of its epochs this model with this set, on whatever dataset, did."""
        figures = self._sorted.get(("part of epochs", work.model_sha256, work.set_digest))
        return figures[len(figures) // 2] if figures else None


PER_IMAGE = ("epoch", "pass")


def _figures(
    work: Work, epochs: int, durations: Durations, ended: bool
) -> Iterable[tuple[tuple, float]]:
    for level, unit in work.levels():
        if work.images and epochs:
            yield ("epoch", *level), durations.epochs / (epochs * work.images * unit)
        yield ("start", *level), durations.start
        if work.passed:
            yield ("pass", *level), durations.frozen_part / (work.passed * unit)
    if ended and work.epochs and work.set_digest:
        part = epochs / work.epochs
        yield ("part of epochs", work.model_sha256, work.set_digest), part


def expected_epochs(work: Work, part: float | None, progress: Progress) -> float:
    """How many it will have done in the end: as before, but not fewer than its patience allows now."""
    if not work.patience or part is None:
        return work.epochs
    soonest = max(progress.epochs + 1, progress.best_epoch + work.patience)
    return min(work.epochs, max(part * work.epochs, soonest))


def seconds_left(
    work: Work, progress: Progress, runs: bool, histories: Iterable[History]
) -> float | None:
    """Of a run that `runs` or waits, from the first of `histories` that knows its like; None: unknown."""
    found = {
        name: next((f for h in histories if (f := h.figure(name, work)) is not None), None)
        for name in ("epoch", "start", "pass")
    }
    parts = (history.part_of_epochs(work) for history in histories)
    part = next((part for part in parts if part is not None), None)
    per_epoch = progress.seconds_per_epoch
    if per_epoch is None and found["epoch"] is not None and work.images:
        per_epoch = found["epoch"] * work.images
    if per_epoch is None:
        return None
    left = max(0.0, expected_epochs(work, part, progress) - progress.epochs) * per_epoch
    if runs and progress.epochs:
        return left
    # Also of a run that was paused: another process goes on with it.
    return left + (found["start"] or 0) + (found["pass"] or 0) * work.passed


def finish(left: list[float | None], running: int) -> list[float | None]:
    """When each of the runs is done, in seconds from now; the first `running` of them go on now.

    The others follow in their order, as many at a time as run now. Where one is not known, nothing is of
    those that come after it.
    """
    free_at = [0.0] * max(1, running)
    done: list[float | None] = []
    for seconds in left:
        if seconds is None or None in done:
            done.append(None)
            continue
        done.append(free_at[0] + seconds)
        heapreplace(free_at, free_at[0] + seconds)
    return done


def when_done(
    waiting: list[float | None], running: list[float | None], is_live: bool, now: datetime
) -> str:
    """Of runs by their state with their ETA, such as "14 waiting, 1 running, done about 15:40"."""
    states = (waiting, "waiting"), (running, "running")
    counts = [f"{len(etas):,} {state}" for etas, state in states if etas]
    etas = waiting + running
    known = [eta for eta in etas if eta is not None]
    if not known:
        return ", ".join(counts)
    seconds, about = max(known), "about" if len(known) == len(etas) else "not before"
    if not (is_live or running):
        when = f"{'' if about == 'about' else 'not before '}{in_words(seconds)} after training is started"
    else:
        when = f"{about} {clock(now, seconds)}"
    return ", ".join([*counts, f"done {when}"])


def clock(now: datetime, seconds: float) -> str:
    """The time of day in so many seconds, with the day where it is not this one."""
    then = now + timedelta(seconds=min(seconds, 10**9))
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def in_words(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 1.5 else f"{hours:.1f} h"


def _past(entry: TrainingEntry | None) -> tuple[Work, int, Durations, bool] | None:
    """What an entry says of how long trainings take; those of before say it in one figure."""
    if entry is None or entry.seconds is None or not entry.images or not entry.epochs:
        return None
    durations = Durations.of(table_in(entry.work, "durations"))
    if durations is None:
        work = Work(entry.model, fitted=entry.images)
        return work, entry.epochs, Durations(epochs=entry.seconds), False
    return Work.of(entry.work), entry.epochs, durations, entry.work.get("ended_early") is not True


def work_of(run: Run) -> Work:
    """As far as it is known before the run begins; the validation part is held out in training."""
    dataset, settings = run.dataset, run.hyperparameters.settings
    images = dataset.images or 0
    given, drawn = dataset.validation_images or 0, settings.validation_split * images
    validated = given if dataset.validation else drawn
    return Work(
        run.model.name,
        run.model.digest,
        run.hyperparameters.digest_for_all_seeds,
        dataset.image_size,
        settings.precision,
        max(0, images - validated),
        validated,
        view_count(settings) * images,
        settings.epochs,
        settings.early_stopping_patience,
        settings.batch_size,
    )


class Estimates:
    """When the runs of a queue, which are known by their number in it, will be done."""

    def __init__(self) -> None:
        self.progress: dict[int, Progress] = {}  # of runs that have begun
        self._works: dict[int, Work] = {}
        self._history = History()

    def begin(self) -> None:
        """The queue is another."""
        self.progress.clear()
        self._works.clear()

    def learn(self, before: dict[str, TrainingEntry | None], now: dict[str, TrainingEntry]) -> None:
        """Take the entries of these keys as they are `now`, instead of what they were before."""
        for key, old in before.items():
            if past := _past(old):
                self._history.remove(*past)
            if past := _past(now.get(key)):
                self._history.add(*past)

    def of(
        self, running: list[int], waiting: list[int], runs: list[Run]
    ) -> dict[int, float | None]:
        """The seconds until each is done, of those in `running` and then of those in `waiting`."""
        order = running + waiting
        for number in order:
            if number not in self._works:
                self._works[number] = work_of(runs[number])
        guesses = History()  # from those that are not done themselves
        for number in order:
            progress = self.progress.get(number, Progress())
            if progress.durations and progress.epochs:
                guesses.add(self._works[number], progress.epochs, progress.durations, ended=False)
        left = [
            seconds_left(
                self._works[number],
                self.progress.get(number, Progress()),
                position < len(running),
                (self._history, guesses),
            )
            for position, number in enumerate(order)
        ]
        return dict(zip(order, finish(left, len(running)), strict=True))


class Stopwatch:
    """What the parts of a training take."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("start", "frozen_part", "epochs"), 0.0)
        self.passed = 0  # images through a frozen part
        self._last, self._began = time.monotonic(), False
        self._validating = self._validated = False

    def go_on(self, before: Durations | None, seconds: float) -> None:
        """From where an earlier process was, after so many seconds; its start, this one did again."""
        self.seconds["epochs"] += before.epochs if before else seconds

    def lap(self, part: str) -> None:
        """The time since the last call went into that part."""
        now = time.monotonic()
        self.seconds[part] += now - self._last
        self._last = now

    def batch(self, is_last: bool) -> None:
        """A batch is done. After the last of an epoch come those of the validation, which say the same."""
        first = not self._began or (self._validating and not self._validated)
        self._validated = self._validated or self._validating
        self._began, self._validating = True, is_last
        self.lap("start" if first else "epochs")

    def epoch(self) -> None:
        self._validating = False
        self.lap("epochs")
