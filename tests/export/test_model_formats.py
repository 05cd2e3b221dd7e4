"""Each format gives what the model gives, whatever precision it was trained in and what it is made of."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import constants
from helper import UserError
from pipeline.export import model_formats
from pipeline.export.example_file import FITS, LIBRARIES, example_file
from pipeline.export.model_formats import FORMATS, converted, in_float32
from pipeline.keras_models.keras_graph import to_functional
from pipeline.keras_models.model_file import build
from testkit import honest_models
from testkit.checkpoints import keras, tiny_model

pytestmark = pytest.mark.slow

SAID = {"title": "pets", "class_names": ["cat", "dög\n"], "temperature": 1.5}
OWN_LAYER = """
from keras import Input, Model, layers, ops

class Grey(layers.Layer):
    def call(self, pixels):
        red, green, blue = ops.split(pixels, 3, -1)
        return 0.299 * red + 0.587 * green + 0.114 * blue

def build_model(input_shape, num_classes):
    pixels = Input(input_shape)
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(Grey()(pixels) / 127.5 - 1)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x)))
    return Model(pixels, layers.Dense(num_classes, "softmax", dtype="float32")(x))
"""


def in_precision(policy, make, *arguments):
    """The model that `make` gives where models are made in that precision."""
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        return make(*arguments)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def images(model, count=model_formats.BATCH + 6):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def through(form, folder, model):
    """What the exported model gives, and how many images it said were done."""
    done = []
    split = {"img": images(model)}
    found = converted(form, folder, SAID, model)(split, "", done.append)
    assert sum(done) == len(split["img"])
    return found


def assert_close(found, model, tolerance=1e-5):
    expected = in_float32(model).predict(images(model), verbose=0)
    assert found.shape == expected.shape
    assert np.array_equal(found.argmax(1), expected.argmax(1))
    assert np.abs(found - expected).max() < tolerance


def shipped(name, size, classes):
    return build(constants.MODELS / f"{name}.py", (size, size, 3), classes)


def with_own_layer(folder):
    (folder / "own.py").write_text(OWN_LAYER)
    return to_functional(build(folder / "own.py", (20, 20, 3), 2))


PRECISIONS = [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01), ("float32", 1e-6)]


@pytest.mark.parametrize(("precision", "near"), PRECISIONS)
def test_the_clone_has_the_weights_and_no_layer_in_half_precision(precision, near, tmp_path):
    for make, *arguments in (
        (shipped, "cnn", 40, 2),
        (with_own_layer, tmp_path),
        (honest_models.of_operations,),
    ):
        model = in_precision(precision, make, *arguments)
        clone = in_float32(model)
        assert "float16" not in json.dumps(keras.saving.serialize_keras_object(clone))
        assert all(
            np.array_equal(one, other)
            for one, other in zip(clone.get_weights(), model.get_weights(), strict=True)
        )
        pixels = images(model, 10)
        expected = model.predict(pixels, verbose=0)
        assert clone.predict(pixels, verbose=0) == pytest.approx(expected, abs=near)


@pytest.mark.parametrize("form", FORMATS)
def test_a_model_of_half_precision_with_a_layer_of_its_own_gives_the_same(form, tmp_path):
    model = in_precision("mixed_bfloat16", with_own_layer, tmp_path)
    assert_close(through(form, tmp_path, model), model)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("name", "size", "classes"), [("cnn", 32, 2), ("cnn", 40, 3), ("pure_cnn", 32, 10)]
)
def test_the_shipped_models_give_the_same_in_each_format(form, name, size, classes, tmp_path):
    model = shipped(name, size, classes)
    assert_close(through(form, tmp_path, model), model)


@pytest.mark.parametrize("form", FORMATS)
def test_the_pretrained_model_gives_the_same_in_each_format(form, tmp_path):
    model = shipped("efficientnet_lite0", 64, 2)
    assert_close(through(form, tmp_path, model), model, 1e-4)


def test_what_is_written_carries_its_description(tmp_path):
    model = tiny_model(2)
    for form in ("savedmodel", "tflite", "onnx"):
        through(form, tmp_path, model)
    extra = tmp_path / "model" / "assets.extra" / "model.json"
    assert json.loads(extra.read_text()) == SAID
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        assert json.loads(archive.read("model.json")) == SAID
        assert archive.read("labels.txt").decode() == "cat\ndög\\n"
    properties = {one.key: one.value for one in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(properties["class_names"]) == SAID["class_names"]
    assert (properties["title"], properties["temperature"]) == ("pets", "1.5")


def test_what_a_process_left_that_failed_is_written_anew(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "torn").write_text("")
    through("savedmodel", tmp_path, tiny_model(2))
    assert not (tmp_path / "model" / "torn").exists()


def test_a_model_that_a_format_cannot_hold_is_a_sentence(tmp_path):
    pixels = keras.Input((8, 8, 3))
    odd = keras.ops.slogdet(keras.ops.reshape(pixels, (-1, 3, 8, 8)))[1]
    model = keras.Model(pixels, keras.layers.Dense(2, "softmax")(odd))
    with pytest.raises(UserError, match=r"^pets cannot be exported as onnx \(.+\)\. Use another"):
        through("onnx", tmp_path, model)


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_missing_package_is_a_sentence_with_the_command(form, monkeypatch):
    assert model_formats.check_modules(form) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"--format {form} needs .*pip install -r requirements-exp"):
        model_formats.check_modules(form)
    assert model_formats.check_modules("keras") is None


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fit", FITS)
def test_the_example_is_short(form, fit):
    text = example_file(form, fit)
    compile(text, "example.py", "exec")
    body = text.split("\n\nfolder = ")[1]
    assert len(body.splitlines()) <= 15
    assert set(LIBRARIES) == set(FORMATS)
    assert "pipeline" not in text
    assert "constants" not in text


def test_a_format_is_of_one_file(tmp_path):
    assert len({form.file for form in FORMATS.values()}) == len(FORMATS)
    assert all(Path(form.file).name == form.file for form in FORMATS.values())
