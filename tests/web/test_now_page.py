"""The words of the first page."""

from datetime import datetime

import pytest

from pipeline.artifacts.metadata import RunState
from pipeline.stage.status import Task
from pipeline.training.run_table import Row
from pipeline.web.now_page import done_of, queue_in_words, task_in_words

NOW = datetime(2026, 11, 27, 14, 30)


def rows(**counts):
    """So many rows of each state; those that are to come are done one after the other, in a minute each."""
    made = []
    for state, count in counts.items():
        for _ in range(count):
            row = Row("n", "k", "d", "m", "s", 0, 0, RunState(state), 0, 10)
            row.eta = 60.0 * (len(made) + 1) if state in ("waiting", "running") else None
            made.append(row)
    return tuple(made)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"running": 2, "waiting": 14}, "2 running, 14 waiting, done about 14:46"),
        ({"waiting": 1, "analyzed": 3}, "1 waiting, done about 14:31"),
        ({"running": 1000}, "1,000 running, done about 2026-11-28 07:10"),
        ({"analyzed": 3, "failed": 1}, "Nothing waits: 4 runs done, 1 of them failed."),
        (
            {},
            "Nothing is here yet. Put in a folder of pictures, with a folder in it for each class.",
        ),
    ],
)
def test_the_queue_in_one_line(there, said):
    assert queue_in_words(rows(**there), NOW) == said


def test_where_one_run_may_take_any_time_no_end_is_promised():
    some = rows(waiting=3)
    some[1].eta = None
    assert queue_in_words(some, NOW) == "3 waiting"


@pytest.mark.parametrize(
    ("task", "said", "done"),
    [
        (Task("r", "", 30, 120, 3, 10, 12.0), "epoch 3 of 10, 12 s left", 0.25),
        (Task("r", "", 1500, 2000), "1,500 of 2,000", 0.75),
        (Task("r", "", epoch=3, epochs=4), "epoch 3 of 4", 0.5),
        (Task("r", "", 3, 2), "3 of 2", 1.0),
        (Task("r", "", 0, 0), "", None),
        (Task("r", ""), "", None),
    ],
)
def test_a_task_in_words_and_as_a_bar(task, said, done):
    assert (task_in_words(task), done_of(task)) == (said, done)
