import numpy as np
import pytest

from pipeline.artifacts.keras_import import import_keras
from pipeline.training import fused_adam

pytestmark = pytest.mark.slow

keras = import_keras()


def after_some_steps(kind, steps=20, **extras):
    """Three variables of a kind of optimizer's, after steps along the same random gradients."""
    draw = np.random.default_rng(0)
    shapes = (3, 4), (5,), ()
    variables = [keras.Variable(draw.normal(size=shape), dtype="float32") for shape in shapes]
    rate = keras.optimizers.schedules.CosineDecay(0.001, 30, warmup_target=0.1, warmup_steps=5)
    optimizer = kind(rate, **extras)
    for _ in range(steps):
        gradients = [keras.ops.convert_to_tensor(draw.normal(size=shape)) for shape in shapes]
        optimizer.apply(gradients, variables)
    return [variable.numpy() for variable in [*variables, *optimizer.variables]]


@pytest.mark.parametrize(
    ("name", "extras"),
    [("Adam", {}), ("Adam", {"weight_decay": 0.1}), ("AdamW", {"weight_decay": 0.1})],
)
def test_steps_as_keras_does(name, extras):
    ours = after_some_steps(getattr(fused_adam, name), **extras)
    theirs = after_some_steps(getattr(keras.optimizers, name), **extras)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def words_model(optimizer):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((3,)), layers.Embedding(10, 4), layers.Flatten(), layers.Dense(2)]
    )
    model.compile(optimizer, "mse")
    return model


def test_an_embedding_trains_as_with_keras():
    words = np.random.default_rng(0).integers(0, 10, (64, 3))
    goals = np.eye(2, dtype=np.float32)[words.sum(axis=1) % 2]
    weights = []
    for kind in (fused_adam.Adam, keras.optimizers.Adam):
        model = words_model(kind(0.01))
        model.fit(words, goals, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
