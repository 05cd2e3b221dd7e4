import pickle
import subprocess
import sys

import numpy as np
import pytest
from test_fitting import Listener, model_file, split

import data_ingestion
import model_analysis
import model_training
from helper import UserError
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.hyperparameters import Settings
from pipeline.artifacts.keras_import import import_keras
from pipeline.artifacts.metadata import read_json
from pipeline.keras_models.keras_graph import has_own_classes, to_functional
from pipeline.keras_models.model_file import build
from pipeline.training import fitting
from testkit.raw_datasets import make_raw_dataset

pytestmark = pytest.mark.slow

keras = import_keras()

HEAD = """
import keras
from keras import layers, ops

class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=shape[-1:], initializer="ones")
        self.rest = self.add_weight(shape=(shape[-1], shape[-1]), initializer="glorot_uniform")
    def call(self, x):
        return ops.matmul(x * self.factor, ops.transpose(self.rest))

class Block(layers.Layer):
    def __init__(self, filters):
        super().__init__()
        self.convolution = layers.Conv2D(filters, 3, padding="same")
        self.steps = keras.Sequential([layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2)])
    def call(self, x):
        return x + self.steps(self.convolution(x))

def end(x, classes):
    return layers.Dense(classes, "softmax", dtype="float32")(layers.GlobalAveragePooling2D()(x))
"""
SUBCLASS = """
@keras.saving.register_keras_serializable(package="mine")
class Mine(keras.Model):
    def __init__(self, classes, **more):
        super().__init__(**more)
        self.classes = classes
        self.first, self.block = layers.Conv2D(6, 3), Block(6)
        self.dropout, self.average = layers.Dropout(0.3), layers.GlobalAveragePooling2D()
        self.last = layers.Dense(classes, "softmax", dtype="float32")
    def call(self, x, training=True):
        x = x / 255
        if training:
            x = x + keras.random.normal(ops.shape(x), 0, 0.1, x.dtype)
        x = self.block(self.first(x), training=training)
        return self.last(self.average(self.dropout(x, training=training)))
    def get_config(self):
        return {**super().get_config(), "classes": self.classes}
    @classmethod
    def from_config(cls, config):
        return cls(**config)

def build_model(input_shape, num_classes):
    return Mine(num_classes)
"""
MODELS = {
    "subclass with a config": SUBCLASS,
    "subclass that is built": SUBCLASS.replace(
        "return Mine(num_classes)",
        "model = Mine(num_classes); model.build((None, *input_shape)); return model",
    ),
    "subclass in a functional model": SUBCLASS.replace(
        "return Mine(num_classes)",
        "i = keras.Input(input_shape); return keras.Model(i, Mine(num_classes)(i))",
    ),
    "functional subclass": """
class Mine(keras.Model):
    def __init__(self, shape, classes):
        i = keras.Input(shape)
        super().__init__(i, end(Block(6)(layers.Conv2D(6, 3)(i)), classes))

def build_model(input_shape, num_classes):
    return Mine(input_shape, num_classes)
""",
    "layers with own weights in a functional model": """
def build_model(input_shape, num_classes):
    i = keras.Input(input_shape)
    x = Scale()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(i)))
    return keras.Model(i, end(x, num_classes))
""",
    "lambdas": """
def build_model(input_shape, num_classes):
    i = keras.Input(input_shape)
    x = layers.Lambda(lambda x: x / 255)(i)
    x = layers.TimeDistributed(layers.Lambda(ops.relu))(x)
    return keras.Model(i, end(layers.Conv2D(6, 3)(x), num_classes))
""",
    "own layers in a sequential model": """
def build_model(input_shape, num_classes):
    parts = [Block(6), keras.Sequential([Scale()]), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input(input_shape), layers.Conv2D(6, 3), *parts,
                             layers.Dense(num_classes, "softmax", dtype="float32")])
""",
}


def trained(path, precision="float32"):
    """The model in this file after two epochs, and images to predict."""
    part = split()
    settings = Settings(epochs=2, batch_size=8, precision=precision)
    fitting.prepare(precision, 0)
    model = build(path, (4, 4, 3), 2)
    places = np.arange(40)
    fitting.Fit(model, settings, 32).run(part, places[:32], places[32:], Listener())
    return model, part["img"]


PLAIN = (
    "import pickle, sys, numpy\n"
    "model = pickle.load(open(sys.argv[1], 'rb'))['model']\n"
    "assert not model.compiled and not any(name.startswith('models') for name in sys.modules)\n"
    "numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))\n"
)


@pytest.mark.parametrize("what", MODELS)
def test_a_checkpoint_predicts_as_the_model_does_without_its_file(tmp_path, what):
    path = model_file(tmp_path, HEAD + MODELS[what])
    model, images = trained(path)
    expected = model.predict(images, verbose=0)
    assert has_own_classes(model)
    checkpoint = tmp_path / "a.pkl"
    safe_pickle.publish(checkpoint, {"model": to_functional(model)}, {})
    path.unlink()
    found = safe_pickle.load(checkpoint, allow_model=True)["model"]
    assert not has_own_classes(found)
    assert np.array_equal(found.predict(images, verbose=0), expected)


def test_a_plain_pickle_load_needs_nothing_of_this_project(tmp_path):
    model, images = trained(model_file(tmp_path, HEAD + SUBCLASS))
    checkpoint = tmp_path / "a.pkl"
    safe_pickle.publish(checkpoint, {"model": to_functional(model)}, {})
    np.save(tmp_path / "images.npy", images)
    files = [checkpoint, tmp_path / "images.npy", tmp_path / "found.npy"]
    # -I: nothing of this project can be imported there.
    subprocess.run([sys.executable, "-I", "-c", PLAIN, *files], check=True, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "found.npy"), model.predict(images, verbose=0))


@pytest.mark.parametrize("what", MODELS)
def test_it_predicts_the_same_in_half_precision(tmp_path, what):
    model, images = trained(model_file(tmp_path, HEAD + MODELS[what]), "mixed_bfloat16")
    found = safe_pickle.loads(pickle.dumps(to_functional(model)), "x", allow_model=True)
    # A weight of an own layer is not rounded to half precision before it is used.
    tolerance = 0.01 if "Scale()" in MODELS[what] else 0
    difference = found.predict(images, verbose=0) - model.predict(images, verbose=0)
    assert np.abs(difference).max() <= tolerance


def test_what_is_trained_is_the_model_as_its_file_has_it(tmp_path):
    """Its dropout, its noise and its own weights have their part in the training."""
    model, _ = trained(model_file(tmp_path, HEAD + SUBCLASS))
    assert type(model.layers[-1]).__name__ == "Mine"
    scale = model_file(tmp_path, HEAD + MODELS["layers with own weights in a functional model"])
    model, _ = trained(scale)
    [factor] = [weight for weight in model.trainable_weights if "scale" in weight.path][:1]
    assert not np.array_equal(factor, np.ones(4))


def test_a_model_of_keras_own_layers_that_is_not_compiled_is_left_as_it_is():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert to_functional(model) is model


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_one_that_is_compiled_is_kept_without_that_and_stays_compiled_itself(kind):
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 3, padding="same")])
    pixels = keras.Input((4, 4, 3), name="pixels")
    ends = [keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    model = {
        "sequential": lambda: keras.Sequential([pixels, inner, *ends], name="mine"),
        "functional": lambda: keras.Model(
            pixels, ends[1](ends[0](inner(pixels) + pixels)), name="mine"
        ),
    }[kind]()
    model.compile("adam", "categorical_crossentropy")
    kept = to_functional(model)
    images = np.random.default_rng(0).random((5, 4, 4, 3), np.float32)
    assert (kept.compiled, model.compiled, kept.name) == (False, True, "mine")
    assert type(kept) is type(model)
    assert [one.name for one in kept.layers] == [one.name for one in model.layers]
    found = safe_pickle.loads(pickle.dumps(kept), "x", allow_model=True)
    for other in (kept, found):
        assert np.array_equal(other.predict(images, verbose=0), model.predict(images, verbose=0))


def test_a_function_of_keras_own_is_none_of_ones_own(tmp_path):
    text = WITH_FUNCTION.replace(
        "FUNCTION", "ops.relu, kernel_initializer=keras.initializers.Zeros()"
    )
    build(model_file(tmp_path, HEAD + text), (4, 4, 3), 2)


def test_layers_are_called_as_ever_afterwards(tmp_path):
    ever = keras.layers.Layer.__call__
    to_functional(build(model_file(tmp_path, HEAD + SUBCLASS), (4, 4, 3), 2))
    with pytest.raises(UserError):
        build(model_file(tmp_path, WITH_TENSORFLOW), (4, 4, 3), 2)
    assert keras.layers.Layer.__call__ is ever


WITH_TENSORFLOW = HEAD + SUBCLASS.replace("x = x / 255", "import tensorflow; x = tensorflow.abs(x)")
OWN_FUNCTION = HEAD + SUBCLASS.replace(
    "Conv2D(6, 3), Block", "Conv2D(6, 3, activation=mine), Block"
)
WITH_FUNCTION = """
def build_model(input_shape, num_classes):
    i = keras.Input(input_shape)
    return keras.Model(i, end(layers.Conv2D(6, 3, activation=FUNCTION)(i), num_classes))
"""
REFUSED = {
    "a function in one of Keras's layers": (
        HEAD + "def mine(x): return x * 2\n" + WITH_FUNCTION.replace("FUNCTION", "mine"),
        r"models/mine.py: build_model gave a model with the function '.*mine', which no checkpoint may",
    ),
    "a lambda in one of Keras's layers": (
        HEAD + WITH_FUNCTION.replace("FUNCTION", "lambda x: x * 2"),
        r"models/mine.py: build_model gave a model with a lambda in keras\.layers\.Conv2D, which no",
    ),
    "TensorFlow's functions": (
        WITH_TENSORFLOW,
        r"models/mine.py: no checkpoint could be made of it, as that holds Keras's own layers and"
        r" operations alone \(ValueError: A KerasTensor cannot be used as input to a TensorFlow"
        r" function\)\. In its call\(\), use keras\.layers and keras\.ops, and give each layer a name"
        r" of its own or none\.",
    ),
    "a function that is registered": (
        OWN_FUNCTION + "\n@keras.saving.register_keras_serializable()\ndef mine(x): return x * 2\n",
        r"build_model gave a model with the function '.*mine', which no checkpoint may hold",
    ),
    "an operation that takes a function": (
        HEAD + SUBCLASS.replace("x = x / 255", "x = ops.map(lambda one: one / 255, x)"),
        r"models/mine.py: build_model gave a model with keras\.src\.ops\.core\.Map, which no checkpoint"
        r" may hold: to load it could run code or read files\. Use what models/README\.md says instead\.",
    ),
    "a layer of Keras's that reads files": (
        HEAD
        + """
def build_model(input_shape, num_classes):
    i = keras.Input(input_shape)
    x = layers.Hashing(num_bins=3)(layers.Flatten()(i))
    return keras.Model(i, layers.Dense(num_classes, "softmax")(x))
""",
        r"build_model gave a model with keras\.layers\.Hashing, which no checkpoint may hold",
    ),
    "an initializer of its own": (
        HEAD
        + "class Mine(keras.initializers.Initializer):\n"
        + "    def __call__(self, shape, dtype=None): return ops.ones(shape, dtype)\n"
        + WITH_FUNCTION.replace("activation=FUNCTION", "kernel_initializer=Mine()"),
        r"build_model gave a model with models\.mine\.Mine, which no checkpoint may hold",
    ),
    "a Lambda of TensorFlow's functions": (
        HEAD
        + SUBCLASS.replace("layers.Dropout(0.3)", "layers.Lambda(tensorflow.abs)")
        + "\nimport tensorflow\n",
        r"no checkpoint could be made of it, .*TensorFlow function\)\. In its call\(\), use",
    ),
    "a name for two layers": (
        HEAD.replace("padding", "name='one', padding")
        + SUBCLASS.replace("Conv2D(6, 3)", "Conv2D(6, 3, name='one')"),
        r"no checkpoint could be made of it, .*\"one\".*\. In its call\(\), use",
    ),
    "a training of its own": (
        HEAD + SUBCLASS + "\n    def train_step(self, data): pass\n"
        "Mine.train_step = lambda self, data: {}\n",
        r"models/mine.py: Mine has a train_step of its own, which would not be used\. Remove it",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_checkpoint_can_hold_is_a_sentence_before_it_is_trained(tmp_path, what):
    text, sentence = REFUSED[what]
    with pytest.raises(UserError, match=sentence) as refused:
        build(model_file(tmp_path, text), (4, 4, 3), 2)
    assert str(refused.value).isprintable()


def test_a_run_of_it_is_trained_and_analyzed_though_its_file_is_gone_by_then(data, tmp_path):
    make_raw_dataset(data / "raw_dataset" / "colours")
    assert data_ingestion.main(["--data", str(data), "--once", "--settle", "0"]) == 0
    folders = {name: tmp_path / name for name in ("models", "hyperparameters")}
    for folder in folders.values():
        folder.mkdir()
    model = folders["models"] / "mine.py"
    model.write_text(HEAD + SUBCLASS)
    (folders["hyperparameters"] / "short.toml").write_text("epochs = 1\nbatch_size = 8\n")
    options = [f"--{name}-folder={folder}" for name, folder in folders.items()]
    assert model_training.main([f"--data={data}", "--once", *options]) == 0
    model.unlink()
    assert model_analysis.main([f"--data={data}", "--once"]) == 0
    [report] = (data / "model_analysis_results").glob("*__mine__short.json")
    assert read_json(report)["test_images"] == 15
