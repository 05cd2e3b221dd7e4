import json
import os

import numpy as np
import pytest

from pipeline.training import training_state

STATE = {"history": {"loss": [1.5, 0.5]}, "variables": [np.arange(6.0).reshape(2, 3)]}


@pytest.fixture
def kept(tmp_path):
    """A folder with the state of run "a" after two epochs."""
    training_state.save(tmp_path, "a", 2, STATE)
    return tmp_path


def test_what_was_saved_is_what_is_loaded(kept):
    state = training_state.load(kept, "a")
    assert state["history"] == STATE["history"]
    assert np.array_equal(state["variables"][0], STATE["variables"][0])
    assert training_state.progress(kept, "a").epochs == 2


def test_another_run_has_nothing_to_go_on_from(kept):
    with pytest.raises(training_state.NothingToResume):
        training_state.load(kept, "b")
    assert training_state.progress(kept, "b").epochs == 0


def test_what_is_forgotten_is_gone(kept):
    training_state.forget(kept)
    training_state.forget(kept)
    with pytest.raises(training_state.NothingToResume):
        training_state.load(kept, "a")
    assert training_state.progress(kept, "a").epochs == 0


@pytest.mark.slow
def test_every_flipped_bit_and_every_cut_is_noticed(kept):
    path = kept / training_state.FILE
    content = path.read_bytes()
    for place in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(training_state.NothingToResume):
            training_state.load(kept, "a")
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(training_state.NothingToResume):
            training_state.load(kept, "a")


@pytest.mark.parametrize("epochs", ["2", -1, 10**400, [2], None, True])
def test_a_head_of_another_type_counts_no_epochs(kept, epochs):
    (kept / training_state.FILE).write_bytes(
        b"digest\n" + json.dumps({"key": "a", "epochs": epochs}).encode()
    )
    assert training_state.progress(kept, "a").epochs == 0


@pytest.mark.parametrize("more", [{"logs": {"x": "y"}}, {"logs": {"x": -1}}, {"seconds": "1"}])
def test_a_state_of_another_shape_is_nothing_to_go_on_from(kept, more):
    training_state.save(kept, "a", 2, {**STATE, **more})
    with pytest.raises(training_state.NothingToResume):
        training_state.load(kept, "a")


@pytest.mark.timeout(20)
def test_a_pipe_is_nothing_to_go_on_from_and_is_written_over(kept):
    (kept / training_state.FILE).unlink()
    os.mkfifo(kept / training_state.FILE)
    with pytest.raises(training_state.NothingToResume):
        training_state.load(kept, "a")
    assert training_state.progress(kept, "a").epochs == 0
    training_state.save(kept, "a", 2, STATE)
    assert training_state.progress(kept, "a").epochs == 2
