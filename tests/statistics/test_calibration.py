import numpy as np
import pytest

from pipeline.statistics.calibration import fit_temperature, tempered


def drawn(count=20_000, classes=4):
    """Probabilities, and labels that are drawn by them: as sure as it is right."""
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (count, classes))
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (right.cumsum(1) > draw.random((count, 1))).argmax(1)
    return right, labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_by_which_a_model_is_wrong_is_found(factor):
    right, labels = drawn()
    given = tempered(right, factor)  # under 1: too sure
    temperature = fit_temperature(given, labels)
    assert temperature == pytest.approx(1 / factor, rel=0.05)
    assert np.abs(tempered(given, temperature) - right).max() < 0.05


def test_no_class_changes_and_each_row_sums_to_one():
    right, _ = drawn(1000)
    for temperature in (0.1, 0.7, 5.0):
        changed = tempered(right.astype(np.float32), temperature)
        assert changed.dtype == np.float32
        assert np.array_equal(changed.argmax(1), right.argmax(1))
        assert changed.sum(1) == pytest.approx(np.ones(1000), abs=1e-5)


def test_a_model_that_is_always_right_and_sure_stays_finite():
    given = np.eye(3)[[0, 1, 2, 0]]
    temperature = fit_temperature(given, np.array([0, 1, 2, 0]))
    assert np.isfinite(tempered(given, temperature)).all()
    wrong = fit_temperature(given, np.array([1, 1, 2, 0]))
    assert 0.05 <= wrong <= 20.1
