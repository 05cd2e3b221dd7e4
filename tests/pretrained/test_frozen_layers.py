import numpy as np
import pytest

import constants
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.keras_import import import_keras
from pipeline.fitting.batches import Batches, views_of
from pipeline.pretrained import features, frozen_layers
from pipeline.training import fitting

pytestmark = pytest.mark.slow

keras = import_keras()
layers = keras.layers


def model(*head, trainable=False, functional=True, noise=False):
    """A backbone of one convolution, a batch normalization and a way round both; then the head."""
    keras.utils.set_random_seed(1)
    pixels = keras.Input((8, 8, 3))
    x = before = layers.Rescaling(1 / 255)(pixels)
    if noise:
        x = layers.GaussianNoise(0.1)(x)
    for layer in (layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()):
        x = layer(x)
        layer.trainable = trainable
    x = layers.GlobalAveragePooling2D()(layers.Add()([before, x]))
    for layer in (*head, layers.Dense(2, activation="softmax")):
        x = layer(x)
    return keras.Model(pixels, x)


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_the_frozen_part_ends_where_something_is_trained_or_drawn():
    whole = model(layers.Dropout(0.5))
    frozen, rest = frozen_layers.parts(whole)
    assert frozen.output_shape == (None, 3)
    assert [type(layer).__name__ for layer in rest.layers] == ["InputLayer", "Dropout", "Dense"]
    through_both = rest(frozen(images(5)))
    assert np.allclose(through_both, whole(images(5)), atol=1e-6)


def test_a_frozen_model_in_a_sequential_is_found():
    base = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten()])
    base.trainable = False
    whole = keras.Sequential([keras.Input((8, 8, 3)), base, layers.Dense(2)])
    frozen, rest = frozen_layers.parts(whole)
    assert frozen.output_shape == (None, 144)
    assert len(rest.trainable_weights) == 2


def test_where_nothing_comes_first_that_is_frozen_the_whole_model_is_trained():
    assert frozen_layers.parts(model(trainable=True)) is None
    assert frozen_layers.parts(model(noise=True)) is None
    head = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    assert frozen_layers.parts(head) is None


class Listener:
    def batch_done(self, epoch, batch):
        pass

    def epoch_done(self, epoch, figures, fit):
        return True


def trained(with_features):
    settings = Settings(epochs=3, batch_size=8, precision="float32")
    fitting.prepare("float32", 0)
    whole = model()
    part = {"img": images(40), "class": np.eye(2, dtype=np.float32)[np.arange(40) % 2]}
    of = part
    if with_features:
        frozen, rest = frozen_layers.parts(whole)
        of = {**part, "img": features.of(frozen, part["img"]), "views": 1}
    fit = fitting.Fit(rest if with_features else whole, settings, 32)
    fit.run(of, np.arange(32), np.arange(32, 40), Listener())
    return whole.predict(part["img"], verbose=0), fit.history


def test_on_its_features_a_model_is_trained_as_on_the_images():
    (cached, its_history), (plain, history) = trained(True), trained(False)
    assert np.allclose(cached, plain, atol=1e-5)
    assert its_history["val_loss"] == pytest.approx(history["val_loss"], abs=1e-5)


def test_features_are_kept_on_disk_where_memory_is_short(tmp_path, monkeypatch):
    frozen, _ = frozen_layers.parts(model())
    monkeypatch.setattr(constants, "FEATURES_MEMORY", 100)
    folder = tmp_path / constants.FEATURES
    kept = features.room_for(frozen, 20, folder)
    assert isinstance(kept, np.memmap)
    assert kept.shape == (20, 3)
    kept[:] = 3
    assert (kept == 3).all()
    assert list(folder.iterdir()) == []  # no name that could be left behind
    assert not isinstance(features.room_for(frozen, 2, folder), np.memmap)


def test_each_image_is_seen_as_it_is_and_augmented():
    settings = Settings(augmentation_shift=0.3)
    pixels = images(10)
    views = np.concatenate([batch for batch, _ in views_of(pixels, settings, 4)])
    assert np.array_equal(views[:10], pixels)
    assert views.shape == (20, 8, 8, 3)
    assert not np.array_equal(views[10:], pixels)
    numbers = [number for _, batch in views_of(pixels, settings, 4) for number in batch]
    assert numbers == list(range(20))


def test_the_views_of_an_epoch_keep_their_classes():
    part = {"img": np.arange(20), "class": np.arange(10), "views": 2}
    batches = Batches(part, np.arange(8), 8, Settings(augmentation_shift=0.3))
    batches.begin(0)
    seen, classes = batches[0]
    assert sorted(classes) == list(range(8))
    assert (seen % 10 == classes).all()
    assert 0 < (seen >= 10).sum() < 8
