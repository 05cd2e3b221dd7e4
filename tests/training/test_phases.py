"""Fine-tuning: after some epochs the frozen layers are trained, too, and nothing else is different."""

import numpy as np
import pytest

from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.keras_import import import_keras
from pipeline.pretrained import features, frozen_layers
from pipeline.training import fitting, training_state
from pipeline.training.phases import PhasedFit, nothing_to_tune

pytestmark = pytest.mark.slow

keras = import_keras()
layers = keras.layers
FEW = {"epochs": 5, "batch_size": 8, "precision": "float32", "early_stopping_patience": 0}
TUNED = {**FEW, "fine_tune_after": 2, "fine_tune_learning_rate": 0.001}


class Listener:
    """Keeps what there is after each epoch; asks to leave after one of them."""

    def __init__(self, leave_after=None):
        self.leave_after, self.states, self.backbones, self.rates = leave_after, [], [], []
        self.done = 0

    def batch_done(self, epoch, batch):
        pass

    def epoch_done(self, epoch, figures, fit):
        self.done = epoch + 1
        self.states.append(fit.state())
        self.backbones.append(self.backbone())
        self.rates.append(float(fit.network.optimizer.learning_rate))
        return self.goes_on()

    def goes_on(self):
        return self.done != self.leave_after

    def backbone(self):
        return [array.copy() for array in self.model.get_layer("backbone").get_weights()]


def backbone():
    stack = [keras.Input((8, 8, 3)), layers.Conv2D(3, 3), layers.BatchNormalization()]
    base = keras.Sequential([*stack, layers.Conv2D(4, 3), layers.ReLU()], name="backbone")
    base.trainable = False
    return base


def model(noise=False):
    keras.utils.set_random_seed(1)
    pixels = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.GaussianNoise(0.1)(x) if noise else x  # then no part can be computed once
    x = layers.GlobalAveragePooling2D()(backbone()(x))
    return keras.Model(pixels, layers.Dense(2, "softmax")(layers.Dropout(0.3)(x)))


def split():
    classes = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    return {"img": images, "class": classes}


def fit(settings, listener=None, state=None, noise=False, computed=None):
    """The fit, after it came to its end or was left, and its model."""
    settings, part = Settings.of(settings), split()
    fitting.prepare(settings.precision, settings.seed)
    listener = listener or Listener()
    listener.model = model(noise)
    phased = PhasedFit(listener.model, settings, 32)
    if state:
        phased.restore(state)

    def examples_of(parts):
        (computed if computed is not None else []).append(phased.number)
        return {**part, "img": features.of(parts[0], part["img"]), "views": 1}

    both = np.arange(32), np.arange(32, 40)
    phased.ended = phased.run(part, examples_of, *both, listener, listener.goes_on)
    return phased


def equal(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("noise", [False, True])
def test_the_frozen_layers_change_only_after_so_many_epochs_and_their_statistics_never(noise):
    listener, computed = Listener(), []
    phased = fit(TUNED, listener, noise=noise, computed=computed)
    fitting.prepare("float32", 0)
    before = model(noise).get_layer("backbone").get_weights()
    assert [equal(each, before) for each in listener.backbones] == [True, True, False, False, False]
    gamma, beta, mean, variance = (slice(number, number + 1) for number in (2, 3, 4, 5))
    for each in (gamma, beta, mean, variance):
        assert equal(listener.backbones[-1][each], before[each])
    assert not np.array_equal(listener.backbones[-1][0], before[0])
    assert not np.array_equal(listener.backbones[-1][6], before[6])
    assert computed == ([] if noise else [0])
    assert len(phased.fit.history["val_loss"]) == 5
    assert phased.ended


def test_without_fine_tuning_they_never_change_and_the_first_epochs_are_alike():
    plain, listener = Listener(), Listener()
    constant = {"learning_rate_schedule": "constant"}
    without = fit({**FEW, **constant}, plain)
    tuned = fit({**TUNED, **constant}, listener)
    assert equal(plain.backbones[-1], listener.backbones[0])
    losses = without.fit.history["loss"], tuned.fit.history["loss"]
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2:] != losses[1][2:]
    assert plain.rates == pytest.approx([0.002] * 5)
    assert listener.rates == pytest.approx([0.002] * 2 + [0.001] * 3)


@pytest.mark.parametrize(
    ("leave_after", "optimizer", "noise"),
    [(2, "adam", False), (3, "sgd", False), (1, "sgd", True), (2, "sgd", True), (5, "adam", False)],
)
def test_left_and_gone_on_with_it_ends_as_if_undisturbed(leave_after, optimizer, noise, tmp_path):
    settings = {**TUNED, "optimizer": optimizer}
    undisturbed = fit(settings, noise=noise)
    listener = Listener(leave_after)
    left = fit(settings, listener, noise=noise)
    assert left.fit.epochs_done == leave_after
    assert left.ended == (leave_after == 5)
    training_state.save(tmp_path, "key", leave_after, listener.states[-1])
    resumed = fit(settings, state=training_state.load(tmp_path, "key"), noise=noise)
    assert resumed.ended
    assert resumed.fit.history == undisturbed.fit.history
    assert resumed.fit.best_epoch == undisturbed.fit.best_epoch
    assert equal(resumed.model.get_weights(), undisturbed.model.get_weights())


def test_the_second_phase_begins_with_the_best_of_the_first_and_the_best_of_both_is_taken():
    """What is learned at far too high a rate gets worse, and the best epoch stays that of before."""
    phased = fit({**TUNED, "fine_tune_learning_rate": 5.0, "learning_rate": 0.0001})
    losses = phased.fit.history["val_loss"]
    best = int(np.argmin(losses))
    assert best < 2
    assert phased.fit.best_epoch == best + 1
    part = split()
    loss, _ = phased.model.evaluate(part["img"][32:], part["class"][32:], verbose=0)
    # With label smoothing, as in training.
    smoothed = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    found = smoothed(part["class"][32:], phased.model.predict(part["img"][32:], verbose=0))
    assert float(found) == pytest.approx(losses[best], rel=1e-3), loss


def test_patience_ends_no_first_phase_and_counts_anew_in_the_second():
    hopeless = {"learning_rate": 5.0, "fine_tune_learning_rate": 5.0, "epochs": 30}
    settings = {**FEW, **hopeless, "fine_tune_after": 12, "early_stopping_patience": 2}
    phased = fit(settings)
    assert phased.fit.epochs_done >= 14
    best = max(phased.fit.best_epoch, 12)
    assert phased.fit.epochs_done == min(30, best + 2)


def test_all_but_frozen_batch_normalizations_is_unfrozen():
    whole = model()
    assert frozen_layers.can_be_tuned(whole)
    frozen_layers.unfreeze(whole)
    assert not frozen_layers.can_be_tuned(whole)
    frozen = [layer.name for layer in whole._flatten_layers() if not layer.trainable]
    assert len(frozen) == 1
    assert frozen[0].startswith("batch_normalization")


def test_fine_tuning_that_does_nothing_is_a_warning():
    head = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])

    def text(network, **settings):
        said = nothing_to_tune(network, Settings(**settings))
        return said["nothing_to_tune"]["text"] if said else ""

    assert text(head, fine_tune_after=3) == (
        "fine_tune_after = 3 does nothing: no layer of the model is frozen."
    )
    assert text(model(), fine_tune_after=3, epochs=3).endswith("does nothing: epochs is 3.")
    assert text(model(), fine_tune_after=3, epochs=4) == ""
    assert text(head) == ""
