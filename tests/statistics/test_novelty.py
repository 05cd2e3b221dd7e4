import numpy as np
import pytest

from pipeline.statistics import novelty


def features(count, centre, seed=0):
    return novelty.normalized(np.random.default_rng(seed).normal(centre, 0.1, (count, 16)))


CENTRE = np.eye(16)[0]


def test_the_distance_is_that_of_the_fifth_nearest():
    known, asked = features(40, CENTRE), features(7, CENTRE, 1)
    each = np.linalg.norm(asked[:, None] - known[None], axis=2)
    assert novelty.distances(asked, known) == pytest.approx(np.sort(each, 1)[:, 4], abs=1e-3)
    assert novelty.distances(asked, known[:2]) == pytest.approx(each[:, :2].max(1), abs=1e-3)


def test_one_in_a_hundred_of_the_same_kind_exceeds_the_usual_and_all_of_another_do():
    known = features(500, CENTRE)
    usual = novelty.usual_distance(features(1000, CENTRE, 1), known)
    same = novelty.distances(features(5000, CENTRE, 2), known) > usual
    other = novelty.distances(features(100, np.eye(16)[3], 3), known) > usual
    assert 0.003 < same.mean() < 0.03
    assert other.all()


@pytest.mark.parametrize(("held_out", "known"), [(19, 500), (500, 19), (0, 0)])
def test_of_too_few_nothing_is_told(held_out, known):
    assert novelty.usual_distance(features(held_out, CENTRE), features(known, CENTRE)) is None


@pytest.mark.parametrize(
    ("size", "values", "left"), [(1000, 512, 1000), (1000, 3072, 334), (30, 2**20 + 1, 0)]
)
def test_a_checkpoint_has_room_for_so_many_and_they_are_from_all_over(size, values, left):
    known = np.broadcast_to(np.arange(size, dtype=np.float32)[:, None], (size, values))
    kept = novelty.kept(known)
    assert len(kept) == left
    assert kept.size <= novelty.MOST_VALUES
    assert not left or kept[-1, 0] > 0.9 * size - 1


def test_features_that_are_all_zero_are_no_error():
    zeros = novelty.normalized(np.zeros((30, 4)))
    assert np.isfinite(novelty.distances(zeros, zeros)).all()
