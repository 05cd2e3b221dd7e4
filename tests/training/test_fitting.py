from pathlib import Path

import numpy as np
import pytest

import constants
from helper import UserError
from pipeline.artifacts.hyperparameters import SETTINGS, Settings
from pipeline.artifacts.keras_import import import_keras
from pipeline.fitting.batches import Batches, balanced_weights
from pipeline.keras_models.keras_graph import to_functional
from pipeline.keras_models.model_file import build, compiled_by_file
from pipeline.training import fitting, training_state

pytestmark = pytest.mark.slow

keras = import_keras()


class Listener:
    """Hears everything; asks to leave after the epochs in `leave_after`, and keeps the state then."""

    def __init__(self, leave_after=()):
        self.batches, self.epochs, self.leave_after = [], [], leave_after

    def batch_done(self, epoch, batch):
        self.batches.append((epoch, batch))

    def epoch_done(self, epoch, figures, fit):
        self.epochs.append((epoch, figures))
        self.state = fit.state()
        return epoch + 1 not in self.leave_after


def split(count=40, classes=2, seed=0):
    """Dark images of class 0, bright ones of class 1."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = (draw.integers(0, 60, (count, 4, 4, 3)) + labels[:, None, None, None] * 180).astype(
        np.uint8
    )
    return {"img": images, "label": labels, "class": np.eye(classes, dtype=np.float32)[labels]}


def tiny_model(classes=2):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(classes, activation="softmax", dtype="float32"),
        ]
    )


def fit(settings=None, part=None, listener=None, held_out=8, state=None):
    """The fit, after it came to its end or was left; from `state` on, if one is given."""
    few = {"epochs": 5, "batch_size": 8, "precision": "float32"}
    settings = Settings.of({**few, **(settings or {})})
    part = part or split()
    fitting.prepare(settings.precision, settings.seed)
    places = np.arange(len(part["label"]))
    count = len(places) - held_out
    one = fitting.Fit(tiny_model(), settings, count)
    if state:
        one.restore(state)
    one.ended = one.run(part, places[:count], places[count:], listener or Listener())
    return one


def equal(some, others):
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def test_the_model_learns_and_everybody_is_told():
    listener = Listener()
    one = fit(
        {"learning_rate": 0.02, "epochs": 30, "early_stopping_patience": 0}, listener=listener
    )
    history = one.history
    assert history["val_accuracy"][-1] == 1
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 30 and type(values[0]) is float for values in history.values())
    assert [epoch for epoch, _ in listener.epochs] == list(range(30))
    assert [figures["loss"] for _, figures in listener.epochs] == history["loss"]
    batches = [0, 1, 2, 3, 3]  # the last one once more for the one batch that is validated on
    assert listener.batches == [(epoch, batch) for epoch in range(30) for batch in batches]
    assert one.ended
    assert one.network.compiled


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (fit({"seed": seed}).network.get_weights() for seed in (7, 7, 8))
    assert equal(first, again)
    assert not equal(first, other)


def test_early_stopping_keeps_the_best_weights():
    part = split(48)
    part["class"][40:] = part["class"][
        40:, ::-1
    ]  # what is held out says the opposite: it gets worse and worse
    settings = {"learning_rate": 0.05, "learning_rate_schedule": "constant", "epochs": 30}
    one = fit({**settings, "early_stopping_patience": 3}, part)
    losses = one.history["val_loss"]
    assert len(losses) == one.best_epoch + 3 < 30
    assert one.best_epoch == int(np.argmin(losses)) + 1
    evaluated = one.network.evaluate(part["img"][40:], part["class"][40:], verbose=0)[0]
    assert evaluated == pytest.approx(min(losses), rel=1e-4)


def test_patience_0_means_no_early_stopping():
    part = split(48)
    part["class"][40:] = part["class"][40:, ::-1]
    one = fit({"learning_rate": 0.05, "epochs": 12, "early_stopping_patience": 0}, part)
    assert len(one.history["loss"]) == 12 > one.best_epoch


def test_without_validation_the_loss_decides():
    one = fit(held_out=0)
    assert set(one.history) == {"loss", "accuracy"}
    assert one.best_epoch == int(np.argmin(one.history["loss"])) + 1


def test_a_loss_that_explodes_is_a_sentence():
    with pytest.raises(
        UserError, match=r"the loss became NaN or infinite\. Use a smaller learning_rate"
    ):
        fit(
            {"learning_rate": 10.0, "optimizer": "sgd", "epochs": 60, "early_stopping_patience": 0},
            exploding(),
        )


class Spoiler(Listener):
    """Makes what is learned NaN after the second epoch."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def epoch_done(self, epoch, figures, fit):
        if epoch == 1:
            self.part["class"][:] = np.nan
        return super().epoch_done(epoch, figures, fit)


@pytest.mark.parametrize("held_out", [0, 8])
def test_what_was_kept_before_a_loss_became_nan_stays(held_out):
    part = split()
    listener = Spoiler(part)
    with pytest.raises(UserError, match="the loss became NaN or infinite"):
        fit(listener=listener, part=part, held_out=held_out)
    assert [epoch for epoch, _ in listener.epochs] == [0, 1]
    assert listener.state["best"][0] in (1, 2)
    assert np.isfinite(listener.state["history"]["loss"]).all()


def exploding():
    part = split()
    part["class"] = part["class"] * np.float32(1e30)
    return part


@pytest.mark.parametrize("optimizer", SETTINGS["optimizer"].choices)
def test_each_optimizer_trains(optimizer):
    one = fit({"optimizer": optimizer, "learning_rate": 0.01, "epochs": 2})
    assert np.isfinite(one.history["loss"]).all()
    assert type(one.network.optimizer).__name__.lower() == optimizer


EACH_OPTIMIZER_AND_PRECISION = [
    *[(optimizer, "float32") for optimizer in SETTINGS["optimizer"].choices],
    ("adam", "mixed_bfloat16"),
    ("adam", "mixed_float16"),
]


@pytest.mark.parametrize(("optimizer", "precision"), EACH_OPTIMIZER_AND_PRECISION)
def test_left_and_gone_on_with_it_ends_as_if_undisturbed(optimizer, precision, tmp_path):
    settings = {
        "optimizer": optimizer,
        "precision": precision,
        "augmentation.shift": 0.1,
        "epochs": 6,
    }
    undisturbed = fit(settings)
    state = None
    for last in (1, 4):
        listener = Listener(leave_after=[last])
        left = fit(settings, listener=listener, state=state)
        assert not left.ended
        training_state.save(tmp_path, "key", 1, listener.state)
        state = training_state.load(tmp_path, "key")
    resumed = fit(settings, state=state)
    assert resumed.ended
    assert resumed.history == undisturbed.history
    assert resumed.best_epoch == undisturbed.best_epoch
    assert equal(resumed.network.get_weights(), undisturbed.network.get_weights())


def test_patience_is_kept_when_it_goes_on():
    part = split(48)
    part["class"][40:] = part["class"][40:, ::-1]
    settings = {"learning_rate": 0.05, "learning_rate_schedule": "constant", "epochs": 30}
    settings["early_stopping_patience"] = 3
    undisturbed = fit(settings, part)
    listener = Listener(leave_after=[undisturbed.best_epoch + 1])
    fit(settings, part, listener)
    resumed = fit(settings, part, state=listener.state)
    assert resumed.history == undisturbed.history
    assert equal(resumed.network.get_weights(), undisturbed.network.get_weights())


def test_stopped_after_its_last_epoch_nothing_is_left_to_train():
    listener = Listener()
    undisturbed = fit(listener=listener)
    again = Listener()
    resumed = fit(listener=again, state=listener.state)
    assert resumed.ended
    assert again.epochs == []
    assert equal(resumed.network.get_weights(), undisturbed.network.get_weights())


def test_a_state_of_another_model_is_refused():
    listener = Listener()
    fit(listener=listener)
    listener.state["variables"].pop()
    with pytest.raises(ValueError, match="zip"):
        fit(state=listener.state)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:100] + b"x" + b[101:]]
)
def test_a_damaged_state_is_nothing_to_resume(tmp_path, damage):
    training_state.save(tmp_path, "key", 1, {"seconds": 1.0})
    path = tmp_path / training_state.FILE
    assert training_state.load(tmp_path, "key")["seconds"] == 1.0
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(training_state.NothingToResume):
        training_state.load(tmp_path, "key")


def test_the_state_of_another_run_is_nothing_to_resume(tmp_path):
    training_state.save(tmp_path, "key", 1, {"seconds": 1.0})
    with pytest.raises(training_state.NothingToResume):
        training_state.load(tmp_path, "other key")


def test_the_rate_warms_up_and_then_falls_as_a_cosine():
    schedule = fitting._learning_rate(Settings(), 1.0, 100)
    rates = [float(schedule(step)) for step in range(101)]
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx(1.0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_run_of_few_steps_learns_from_the_first(steps):
    assert float(fitting._learning_rate(Settings(), 1.0, steps)(0)) == 1


def test_balanced_classes_count_alike_in_the_loss_and_in_no_accuracy():
    classes = np.eye(3, dtype=np.float32)[[0] * 9 + [1]]
    assert balanced_weights(classes).tolist() == pytest.approx([10 / 18, 5, 0])
    part = split(40)
    part["class"][:] = np.eye(2, dtype=np.float32)[(np.arange(40) % 10 == 0) * 1]
    part["img"] = np.zeros_like(part["img"])  # all that can be learned is how frequent a class is
    settings = {"epochs": 60, "learning_rate": 0.05, "early_stopping_patience": 0}
    settings |= {"label_smoothing": 0.0}
    for weighting, rare in (("none", 0.1), ("balanced", 0.5)):
        one = fit(settings | {"class_weight": weighting}, part, held_out=0)
        assert one.network(part["img"][:1]).numpy()[0, 1] == pytest.approx(rare, abs=0.07)
        assert 0 <= one.history["accuracy"][-1] <= 1


def test_each_epoch_sees_each_image_once_in_a_new_order():
    part = split(10)
    part["img"][:, 0, 0, 0] = np.arange(10)
    batches = Batches(part, np.arange(10), 4, Settings(seed=3))

    def order():
        return [int(image[0, 0, 0]) for index in range(len(batches)) for image in batches[index][0]]

    batches.begin(0)
    first = order()
    batches.begin(1)
    second = order()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_tensorflow_reads_the_batches_as_they_are_and_anew_each_time():
    part = split(10)
    batches = Batches(part, np.arange(10), 4, Settings(augmentation_shift=0.2))
    batches.begin(0)
    read = batches.to_read()
    assert len(read) == 3
    assert [kind.shape.as_list() for kind in read.element_spec] == [[None, 4, 4, 3], [None, 2]]
    for epoch in range(2):
        batches.begin(epoch)
        for index, (images, classes) in enumerate(read.as_numpy_iterator()):
            assert equal([images, classes], batches[index])
        assert index == 2


def test_the_batches_leave_no_thread_to_wait_for():
    part = split(10)
    options = Batches(part, np.arange(10), 4).to_read().options()
    assert options.autotune.enabled is False


def augmented(epoch=0, **settings):
    """One batch of 32 images with a bright top left corner, as the model gets it in an epoch."""
    images = np.zeros((32, 8, 8, 3), np.uint8)
    images[:, :4, :4] = 200
    part = {"img": images, "class": np.eye(32, dtype=np.float32)}
    chosen = Settings(**{f"augmentation_{name}": value for name, value in settings.items()})
    batches = Batches(part, np.arange(32), 32, chosen)
    batches.begin(epoch)
    return batches[0][0]


def test_without_augmentation_the_images_are_as_they_are():
    assert augmented().dtype == np.uint8
    assert (augmented()[:, :4, :4] == 200).all()


def test_flipped_images_have_their_corner_on_either_side():
    right = (augmented(flip="horizontal")[:, 0, 7, 0] == 200).sum()
    assert 0 < right < 32


def test_shifted_images_differ_but_keep_size_and_range():
    images = augmented(shift=0.25)
    assert images.shape == (32, 8, 8, 3)
    assert 0 <= images.min() <= images.max() <= 200
    assert len({image.tobytes() for image in images}) > 5


def test_augmented_pixels_are_pixels_of_the_image():
    images = augmented(flip="horizontal_and_vertical", shift=0.2, crop=0.2)
    assert images.dtype == np.uint8
    assert set(images.flat) == {0, 200}


def test_each_batch_of_an_epoch_is_augmented_in_its_own_way():
    part = {"img": np.stack([np.arange(192, dtype=np.uint8).reshape(8, 8, 3)] * 64)}
    part["class"] = np.eye(2, dtype=np.float32)[[0] * 64]
    batches = Batches(part, np.arange(64), 32, Settings(augmentation_shift=0.4))
    batches.begin(0)
    assert np.array_equal(batches[0][0], batches[0][0])
    assert not np.array_equal(batches[0][0], batches[1][0])


def test_a_crop_shows_another_part_of_each_image_and_nothing_beside_it():
    ramp = np.broadcast_to(np.arange(0.0, 250, 10)[:, None, None], (25, 25, 3)).astype(np.uint8)
    part = {"img": np.stack([ramp] * 32), "class": np.eye(2, dtype=np.float32)[[0] * 32]}
    settings = Settings(augmentation_crop=0.4)
    batches = Batches(part, np.arange(32), 32, settings)
    batches.begin(0)
    images, _ = batches[0]
    assert images.shape == (32, 25, 25, 3)
    tops, bottoms = (images[:, row, 12, 0].astype(int) for row in (0, -1))
    seen = (bottoms - tops) / 240
    # From all rows down to 0.6 of them are seen, wherever they are, and none is a repeated border.
    assert 0.55 < seen.min() < 0.7 < 0.9 < seen.max() <= 1
    assert len(set(tops)) > 5
    lefts, rights = (images[:, 12, column, 0].astype(int) for column in (0, -1))
    assert np.array_equal(lefts, rights)  # the ramp is one of rows alone


def test_a_shift_is_no_larger_than_allowed():
    images = augmented(shift=0.25)
    assert (images[:, 0:2, 0:2] == 200).all()
    assert (images[:, 6:, 6:] == 0).all()


def test_augmentation_depends_on_seed_and_epoch_alone():
    settings = {"flip": "horizontal", "shift": 0.2}
    assert np.array_equal(augmented(2, **settings), augmented(2, **settings))
    assert not np.array_equal(augmented(2, **settings), augmented(3, **settings))


@pytest.mark.linux
def test_half_precision_is_chosen_only_where_the_processor_computes_in_it():
    flags = Path("/proc/cpuinfo").read_text()
    expected = "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
    assert fitting.choose_precision("auto") == expected
    assert fitting.choose_precision("float32") == "float32"


def model_file(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_a_model_is_built_from_its_file(tmp_path):
    path = model_file(
        tmp_path,
        "import keras\n"
        "def build_model(input_shape, num_classes):\n"
        "    i = keras.Input(input_shape); x = keras.layers.Flatten()(i)\n"
        "    return keras.Model(i, keras.layers.Dense(num_classes, activation='softmax')(x))\n",
    )
    model = build(path, (4, 4, 3), 5)
    assert (model.input_shape, model.output_shape) == ((None, 4, 4, 3), (None, 5))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "x = 1\n",
            r"models/mine.py has no build_model\(input_shape, num_classes\)\. Copy the example",
        ),
        (
            "def build_model(a, b): return 3\n",
            r"models/mine.py: build_model gave a int, expected a Keras model",
        ),
        (
            "from keras import Input, Sequential, layers\n"
            "def build_model(shape, n):\n"
            "    return Sequential([Input(shape), layers.Flatten(), layers.Dense(n + 1)])\n",
            r"gave a model with output shape \(None, 3\), expected a Keras model with output shape"
            r" \(None, 2\)",
        ),
    ],
)
def test_a_file_that_is_no_model_is_a_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        build(model_file(tmp_path, text), (4, 4, 3), 2)


def ending_in(layer):
    """A model file that ends in `layer`, of two classes."""
    return (
        "from keras import Input, Sequential, layers, ops\n"
        "def build_model(shape, n):\n"
        f"    return Sequential([Input(shape), layers.Rescaling(1 / 255), layers.Flatten(), {layer}])\n"
    )


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        ("layers.Dense(n)", "numbers "),
        ("layers.Dense(n, 'log_softmax')", "the logarithms of probabilities, as log_softmax does"),
        ("layers.Dense(n, 'sigmoid')", "numbers that sum to "),
        ("layers.Dense(n, 'sigmoid', kernel_initializer='zeros')", "numbers that sum to "),
        ("layers.Dense(n, 'relu')", "numbers that sum to "),
        ("layers.Rescaling(0), layers.Dense(n, 'softmax')", "the same numbers for every image"),
        ("layers.Rescaling(float('nan')), layers.Dense(n, 'softmax')", "NaN or infinity"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused_before_training(tmp_path, layer, fault):
    with pytest.raises(UserError) as refused:
        build(model_file(tmp_path, ending_in(layer)), (4, 4, 3), 2)
    said = str(refused.value)
    assert said.startswith(f"models/mine.py: build_model gave a model that gives {fault}")
    assert said.endswith('End it with Dense(num_classes, activation="softmax", dtype="float32").')


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("end", ["'softmax'", "'softmax', kernel_initializer='zeros'"])
def test_probabilities_are_accepted_and_no_weight_changes(tmp_path, precision, end):
    fitting.prepare(precision, 0)
    try:
        model = build(model_file(tmp_path, ending_in(f"layers.Dense(n, {end})")), (4, 4, 3), 1000)
        untouched = ending_in(f"layers.Dense(n, {end})").split("return ")[1].strip()
        fitting.prepare(precision, 0)
        names = {"Input": keras.Input, "Sequential": keras.Sequential, "layers": keras.layers}
        other = eval(untouched, names | {"shape": (4, 4, 3), "n": 1000})
        assert equal(model.get_weights(), other.get_weights())
    finally:
        fitting.prepare("float32", 0)


def test_of_a_model_that_its_file_compiles_it_is_said_that_the_set_decides(tmp_path):
    text = ending_in("layers.Dense(n, 'softmax')").replace("return", "model =")
    path = model_file(tmp_path, text + "    model.compile('sgd', 'mse')\n    return model\n")
    said = compiled_by_file(build(path, (4, 4, 3), 2), "mine")
    assert said["compiled"]["text"] == (
        "models/mine.py calls compile(), which is not used: the hyperparameter set says how the"
        " model is trained. Remove the call, and write a set."
    )
    assert compiled_by_file(tiny_model(), "mine") == {}


@pytest.mark.parametrize("end", ["log_softmax", "sigmoid", "relu", "linear"])
def test_a_model_that_predicts_no_probabilities_is_refused(end):
    model = tiny_model()
    model.layers[-1].activation = keras.activations.get(end)
    with pytest.raises(
        UserError, match=r"x.pkl predicts .*, expected class probabilities: 0 or more"
    ):
        fitting.predict(model, split(), "x.pkl", lambda _: None)


@pytest.mark.parametrize(("name", "parameters"), [("cnn", 1_250_858), ("pure_cnn", 1_369_738)])
def test_the_shipped_models_have_their_sizes(name, parameters):
    model = build(constants.MODELS / f"{name}.py", (32, 32, 3), 10)
    assert model.count_params() == parameters


@pytest.mark.parametrize("optimizer", SETTINGS["optimizer"].choices)
def test_a_step_is_traced_once(monkeypatch, optimizer):
    traced = []
    trace = keras.Sequential.train_step
    monkeypatch.setattr(
        keras.Sequential, "train_step", lambda *data: (traced.append(1), trace(*data))[1]
    )
    # The batches are all of one size; a smaller last one would be another step.
    fit({"optimizer": optimizer, "epochs": 2})
    assert len(traced) == 1


def test_a_trained_model_carries_no_state_of_its_optimizer():
    trained = fit().network
    assert [variable.name for variable in trained.optimizer.variables] == ["iteration"]


def test_cnn_has_no_more_parameters_for_larger_images():
    sizes = [
        build(constants.MODELS / "cnn.py", (size, size, 3), 10).count_params()
        for size in (33, 96, 128)
    ]
    assert sizes == [1_250_858] * 3


def test_weights_that_cannot_be_downloaded_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = model_file(
        tmp_path,
        "import keras\n"
        "def build_model(shape, n):\n"
        "    keras.utils.get_file('weights.h5', 'http://127.0.0.1:9/a/weights.h5')\n",
    )
    sentence = r"could not be downloaded\. Get http://127\.0\.0\.1:9/a/weights\.h5 by hand, and put"
    with pytest.raises(UserError, match=sentence):
        build(path, (8, 8, 3), 2)


def test_features_are_what_the_last_layer_with_weights_is_given():
    model = build(constants.MODELS / "cnn.py", (32, 32, 3), 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    published = to_functional(model)
    found = fitting.features(published, images)
    assert found.shape == (5, 512)
    kernel, bias = published.layers[-1].get_weights()
    logits = found @ kernel + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    expected = fitting.outputs(model, images)
    assert odds / odds.sum(1, keepdims=True) == pytest.approx(expected, abs=1e-3)


def test_features_of_a_map_are_its_means_and_a_model_without_weights_has_none():
    layers = [keras.layers.Conv2D(2, 1), keras.layers.Conv2D(3, 1)]
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers, keras.layers.GlobalMaxPooling2D()])
    images = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    expected = np.asarray(layers[0](images)).mean(axis=(1, 2))
    assert fitting.features(model, images) == pytest.approx(expected, abs=1e-6)
    bare = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    assert fitting.features(bare, images) is None
