import itertools
import random
from datetime import datetime

import pytest

from pipeline.training import time_left
from pipeline.training.time_left import (
    Durations,
    History,
    Progress,
    Stopwatch,
    Work,
    expected_epochs,
    finish,
    seconds_left,
    when_done,
)

WORK = Work("cnn", "m", "s", 32, "auto", 900, 300, 0, 10, 0)


def left(work, *histories, progress=Progress(), runs=False):  # noqa: B008 - it is frozen
    return seconds_left(work, progress, runs, histories)


def history(*runs):
    found = History()
    for work, epochs, durations in runs:
        found.add(work, epochs, Durations(*durations))
    return found


def like(**changed):
    return Work(**{**vars(WORK), **changed})


def test_an_epoch_counts_its_images_and_those_of_the_validation_as_a_third():
    assert WORK.images == 1000


def test_of_an_unknown_model_nothing_is_known():
    assert left(WORK, History()) is None
    assert left(WORK, history((like(model="other", model_sha256="o"), 10, (1, 0, 100)))) is None


def test_a_run_takes_its_start_and_its_images_at_the_pace_of_its_like():
    known = history((WORK, 10, (3, 0, 100)))
    assert left(WORK, known) == pytest.approx(103)
    assert left(like(fitted=1900), known) == pytest.approx(203)
    assert left(like(epochs=20), known) == pytest.approx(203)


def test_the_median_of_those_that_are_most_alike_counts():
    others = [
        (like(set_digest="t"), 10, (9, 0, 900)),
        (like(precision="float32"), 10, (9, 0, 900)),
        (like(image_size=64), 10, (9, 0, 900)),
    ]
    same = [(WORK, 10, (start, 0, 100)) for start in (1, 3, 100)]
    assert left(WORK, history(*others, *same)) == pytest.approx(103)
    assert left(like(set_digest="new"), history(*others[:1])) == pytest.approx(909)
    # By pixels: four times as many took 900 s.
    assert left(WORK, history(others[2])) == pytest.approx(9 + 225)
    assert left(like(model_sha256="edited"), history(others[2])) == pytest.approx(9 + 225)
    assert left(WORK, history((Work("cnn", fitted=1000), 10, (0, 0, 50)))) == pytest.approx(50)


def test_the_pass_through_a_frozen_part_is_counted_once():
    known = history((like(passed=1200), 10, (3, 24, 10)))
    assert left(like(passed=2400, fitted=1900), known) == pytest.approx(3 + 48 + 20)


def test_a_run_that_has_begun_goes_on_at_its_own_pace():
    progress = Progress(4, 4, Durations(5, 0, 80))
    known = history((WORK, 10, (3, 0, 100)))
    assert left(WORK, known, progress=progress, runs=True) == pytest.approx(6 * 20)
    assert left(WORK, known, progress=progress) == pytest.approx(6 * 20 + 3)
    assert left(WORK, History(), progress=progress, runs=True) == pytest.approx(6 * 20)
    assert left(WORK, known, progress=Progress(), runs=True) == pytest.approx(103)


def test_what_is_taken_out_again_does_not_count():
    known = history((WORK, 10, (3, 0, 100)), (like(passed=7), 5, (1, 2, 3)))
    known.remove(like(passed=7), 5, Durations(1, 2, 3))
    assert left(WORK, known) == pytest.approx(103)
    known.remove(WORK, 10, Durations(3, 0, 100))
    assert left(WORK, known) is None
    assert known.part_of_epochs(WORK) is None


def test_a_set_is_expected_to_stop_as_early_as_it_did():
    work = like(epochs=100, patience=6)
    assert expected_epochs(work, None, Progress()) == 100
    assert expected_epochs(work, 0.3, Progress()) == 30
    assert expected_epochs(work, 0.3, Progress(29, 28)) == 34  # 6 more than its best
    assert expected_epochs(work, 0.3, Progress(50, 44)) == 51
    assert expected_epochs(work, 0.3, Progress(99, 98)) == 100
    assert expected_epochs(like(epochs=100, patience=0), 0.3, Progress()) == 100
    known = history(
        (work, 30, (0, 0, 30)), (like(epochs=100, patience=6, image_size=8), 30, (0, 0, 1))
    )
    assert left(work, known) == pytest.approx(30)


def test_a_failure_is_no_early_stop():
    known = History()
    known.add(like(epochs=100, patience=6), 5, Durations(0, 0, 50), ended=False)
    assert left(like(epochs=100, patience=6), known) == pytest.approx(1000)


def test_runs_follow_each_other_as_many_at_a_time_as_run_now():
    assert finish([], 0) == []
    assert finish([4, 2, 1], 0) == [4, 6, 7]
    assert finish([4, 2, 1, 5], 2) == [4, 2, 3, 8]
    assert finish([4, None, 1], 1) == [4, None, None]


NOON = datetime(2026, 5, 6, 12, 0)


@pytest.mark.parametrize(
    ("waiting", "running", "is_live", "text"),
    [
        ([], [], True, ""),
        ([60], [], False, "1 waiting, done 60 s after training is started"),
        ([60, None], [], False, "2 waiting, done not before 60 s after training is started"),
        ([600, 1800], [60], False, "2 waiting, 1 running, done about 12:30"),
        ([600], [], True, "1 waiting, done about 12:10"),
        ([None], [600], True, "1 waiting, 1 running, done not before 12:10"),
        ([], [100_000], True, "1 running, done about 2026-05-07 15:46"),
        ([None] * 1234, [None], True, "1,234 waiting, 1 running"),
    ],
)
def test_when_all_is_done_is_said_in_words(waiting, running, is_live, text):
    assert when_done(waiting, running, is_live, NOON) == text


def test_an_end_beyond_any_calendar_is_said_and_is_no_fault():
    assert when_done([1e300], [], True, NOON).startswith("1 waiting, done about 20")


def test_the_first_steps_belong_to_the_start_and_the_pass_to_none_of_both(monkeypatch):
    clock = itertools.count(0, 1)
    monkeypatch.setattr(time_left.time, "monotonic", lambda: next(clock))
    watch = Stopwatch()
    watch.lap("start")
    watch.lap("frozen_part")
    for _ in range(2):
        for number in range(3):
            watch.batch(is_last=number == 2)
        for _ in range(2):
            watch.batch(is_last=True)  # as the validation's are said
        watch.epoch()
    # In the start: before the pass, the first step and the first of the validation.
    assert watch.seconds == {"start": 3, "frozen_part": 1, "epochs": 10}
    watch.go_on(Durations(100, 100, 5), 300)
    assert watch.seconds == {"start": 3, "frozen_part": 1, "epochs": 15}
    watch.go_on(None, 300)
    assert watch.seconds["epochs"] == 315


@pytest.mark.parametrize(
    "said", [{}, {"start": 1, "epochs": "2", "frozen_part": 3}, {"epochs": -1}]
)
def test_durations_that_are_not_whole_are_not_known(said):
    assert Durations.of(said) is None
    assert Work.of({**said, "fitted": [1], "image_size": "32", "epochs": 1.5}).images == 0


# Twelve unlike runs, in the order of training: model, set, image size and number of images.
RUNS = [
    ("cnn", "quick", 32, 1437),
    ("cnn", "default", 32, 1437),
    ("pretrained", "quick", 128, 1119),
    ("pretrained", "default", 128, 1119),
    ("cnn", "quick", 32, 50_000),
    ("cnn", "default", 32, 50_000),
    ("cnn", "quick", 96, 3000),
    ("cnn", "default", 96, 3000),
    ("pretrained", "quick", 96, 3000),
    ("cnn", "small batches", 32, 9000),
    ("pretrained", "default", 96, 3000),
    ("cnn", "default", 64, 700),
]
SETS = {"quick": (4, 64, 1.0), "default": (20, 64, 0.6), "small batches": (10, 8, 1.0)}


# Seconds for a pixel that is fitted, for the start, and for a pixel in the pass.
MODELS = {"cnn": (3e-7, 2.5, 0.0), "pretrained": (2e-9, 4.0, 1.2e-7)}


class Machine:
    """It takes its time as trainings do: what a step costs beside its images, and what else the machine does,
    the estimate knows nothing of. A seed decides the latter."""

    def __init__(self, seed):
        self.draw = random.Random(seed)

    def disturbed(self, seconds):
        return seconds * self.draw.lognormvariate(0, 0.06)

    def train(self, model, name, size, images):
        """What there was to do, and the durations after one epoch and in the end, with the epochs."""
        (epochs, batch, part), (pace, start, through) = SETS[name], MODELS[model]
        passed = images if through else 0
        work = Work(
            model, model, name, size, "auto", 0.9 * images, 0.1 * images, passed, epochs, 6, batch
        )
        frozen = self.disturbed(through * images * size**2)
        took = [
            self.disturbed(work.images * pace * size**2 + 0.002 * images / batch)
            for _ in range(round(part * epochs))
        ]
        ends = (Durations(self.disturbed(start), frozen, sum(took[:n])) for n in (1, None))
        return work, *ends, len(took)


@pytest.mark.parametrize("seed", range(5))
def test_over_twelve_unlike_runs_estimates_are_within_30_percent_of_what_it_took(seed):
    machine, known, before = Machine(seed), History(), {}
    # Of each pair there was a run, on other images, so that it is known how early it stops.
    for model, name in sorted({run[:2] for run in RUNS}):
        work, _, whole, epochs = machine.train(model, name, 48, 2000)
        known.add(work, epochs, whole)
    for run in RUNS:
        work, first, whole, epochs = machine.train(*run)
        took = whole.start + whole.frozen_part + whole.epochs
        before[run] = left(work, known) / took
        so_far = whole.start + whole.frozen_part + first.epochs
        progress = Progress(1, 1, first)
        after = (so_far + left(work, known, progress=progress, runs=True)) / took
        assert after == pytest.approx(1, abs=0.3), run
        # Nothing is known of how early it stops, nor of how fast it is.
        steady = Work(**{**vars(work), "patience": 0, "epochs": epochs})
        guess = (so_far + left(steady, History(), progress=progress, runs=True)) / took
        assert guess == pytest.approx(1, abs=0.3), run
        known.add(work, epochs, whole)
    assert {run: off for run, off in before.items() if abs(off - 1) > 0.3} == {}
