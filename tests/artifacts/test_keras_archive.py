import hashlib
import importlib
import inspect
import io
import json
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from helper import UserError
from pipeline.artifacts import keras_archive, keras_names, ledger, safe_pickle
from pipeline.artifacts.checkpoint import load_checkpoint
from pipeline.artifacts.dataset import load_split
from pipeline.artifacts.keras_archive import NotAllowed
from pipeline.artifacts.keras_import import import_keras
from pipeline.artifacts.safe_pickle import PickleError
from pipeline.keras_models.keras_graph import to_functional
from pipeline.training import training_state
from testkit import hostile_models
from testkit.checkpoints import tiny_model
from testkit.honest_models import of_backbone, of_layers, of_operations
from testkit.hostile_models import (
    ARCHIVES,
    WEIGHTS,
    archive_of,
    archive_with,
    changed,
    members_of,
    with_weights,
)
from testkit.pickles import in_first_layer, model_pickle

pytestmark = pytest.mark.slow

keras = import_keras()
layers = keras.layers


@pytest.fixture(scope="module")
def archive():
    return archive_of(hostile_models.functional())


@pytest.fixture(scope="module")
def sequential():
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)]
    )
    return archive_of(model)


def loaded(content: bytes) -> object:
    return safe_pickle.loads(content, "x.pkl", allow_model=True)


def refusal(archive: bytes) -> str:
    with pytest.raises(NotAllowed) as refused:
        keras_archive.checked(archive)
    assert str(refused.value).isprintable()
    return str(refused.value)


# The names


def named(full: str) -> type:
    module, _, name = full.rpartition(".")
    if module.startswith("keras.src"):
        return getattr(importlib.import_module(module), name)
    return getattr(eval(module, {"keras": keras}), name)


EVERY_CLASS = (
    *(keras_names.LAYERS, keras_names.OPERATIONS, keras_names.INITIALIZERS, keras_names.MODELS),
    *(keras_names.REGULARIZERS, keras_names.CONSTRAINTS, keras_names.POLICIES),
)
TAKES_A_FUNCTION = {"f", "fn", "func", "function", "functions", "branches", "body", "body_fun"}
TAKES_A_FUNCTION |= {"cond", "pred", "true_fn", "false_fn", "call_fn", "init_fn", "module", "fun"}
TAKES_A_FILE = {"filepath", "path", "file", "filename", "url", "origin", "vocabulary", "directory"}
TAKES_A_FILE |= {"call_endpoint", "idf_weights", "standardize"}


def test_each_name_is_there_and_of_its_kind():
    kinds = {
        keras_names.LAYERS: keras.Layer,
        keras_names.OPERATIONS: keras.Operation,
        keras_names.INITIALIZERS: keras.initializers.Initializer,
        keras_names.REGULARIZERS: keras.regularizers.Regularizer,
        keras_names.CONSTRAINTS: keras.constraints.Constraint,
        keras_names.POLICIES: keras.DTypePolicy,
        keras_names.MODELS: keras.Model,
    }
    for names, kind in kinds.items():
        for name in names:
            assert issubclass(named(name), kind), name
    for name in keras_names.ACTIVATIONS:
        assert keras.activations.get(name) is getattr(keras.activations, name)


def test_none_of_them_takes_a_function_or_a_file():
    for name in frozenset().union(*EVERY_CLASS) - keras_names.MODELS:
        cls = named(name)
        parameters = set(inspect.signature(cls.__init__).parameters)
        if hasattr(cls, "call"):
            parameters |= set(inspect.signature(cls.call).parameters)
        assert not parameters & (TAKES_A_FUNCTION | TAKES_A_FILE), name


def test_each_text_that_a_setting_has_by_default_is_known():
    for name in frozenset().union(*EVERY_CLASS) - keras_names.POLICIES:
        for parameter in inspect.signature(named(name).__init__).parameters.values():
            if isinstance(parameter.default, str) and not parameter.name.endswith("_initializer"):
                assert keras_archive._is_known(parameter.name, parameter.default), parameter


# Honest models


HONEST = {
    "layers": of_layers,
    "operations": of_operations,
    "sequential": lambda: tiny_model(size=8),
    "MobileNetV3Small": lambda: of_backbone("MobileNetV3Small"),
}


@pytest.mark.parametrize("what", HONEST)
def test_an_honest_model_comes_back_with_equal_predictions(what):
    model = HONEST[what]()
    assert predicts_the_same(model, loaded(pickle.dumps(model)))


@pytest.mark.parametrize("what", ["layers", "operations", "sequential"])
def test_so_does_one_in_half_precision(what):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = HONEST[what]()
    finally:
        keras.config.set_dtype_policy("float32")
    assert predicts_the_same(model, loaded(pickle.dumps(model)))


@pytest.mark.parametrize("kind", ["layers", "sequential"])
def test_so_does_one_that_was_kept_with_its_optimizer(kind):
    """As checkpoints once were; it is not compiled any more."""
    model = HONEST[kind]()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    images = np.zeros((4, *model.input_shape[1:]), np.float32)
    model.fit(images, np.eye(3)[[0, 1, 2, 0]], verbose=0)
    content = pickle.dumps(model)
    assert b"optimizer" in content
    found = loaded(content)
    assert predicts_the_same(model, found)
    assert not found.compiled
    assert b"optimizer" not in pickle.dumps(to_functional(model))


def predicts_the_same(model: object, other: object) -> bool:
    images = (
        np.random.default_rng(0).integers(0, 256, (3, *model.input_shape[1:])).astype("float32")
    )
    return np.array_equal(other.predict(images, verbose=0), model.predict(images, verbose=0))


# Attacks


def put(path, content: object) -> None:
    with open(path, "wb") as file:
        pickle.dump(content, file) if not isinstance(content, bytes) else file.write(content)


def as_checkpoint(folder, content: bytes) -> str:
    put(folder / "x.pkl", content)
    with pytest.raises(PickleError) as refused:
        load_checkpoint(folder / "x.pkl")
    return str(refused.value)


def as_dataset(folder, content: bytes) -> str:
    put(folder / "x.pkl", content)
    with pytest.raises(UserError) as refused:
        load_split(folder / "x.pkl", "test")
    return str(refused.value)


def as_record(folder, content: bytes) -> str:
    put(folder / "x_settings.pkl", content)
    with pytest.raises(PickleError) as refused:
        ledger._read(folder / "x_settings.pkl")
    assert ledger.Ledger(folder / "x_settings.pkl", dict).entries == {}
    return str(refused.value)


def as_state(folder, content: bytes) -> str:
    rest = b'{"key": "k", "epochs": 1}\n' + content
    put(folder / training_state.FILE, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
    with pytest.raises(training_state.NothingToResume):
        training_state.load(folder, "k")
    with pytest.raises(PickleError) as refused:
        safe_pickle.loads(content, training_state.FILE)
    return str(refused.value)


PLACES = {"dataset": as_dataset, "record": as_record, "state": as_state}
ATTACKS = {
    "SavedModel": "keras.src.ops.core.Switch",
    "download of data": "keras.src.ops.core.Switch",
    "download of weights": "keras.src.ops.core.Switch",
    "opening of a file": "keras.src.ops.core.Switch",
    "walk through a folder": "keras.src.ops.core.Switch",
    "other floats": "keras.src.ops.core.Switch",
    "endless loop": "keras.src.ops.core.Switch",
    "Cond": "keras.src.ops.core.Cond",
    "test of Keras's": "keras.src.saving.saving_api_test.Anything",
    "other backend": "keras.src.ops.core.Switch",
}


def attack(archive: bytes, what: str, folder) -> bytes:
    return changed(archive, hostile_models.attacks(folder / "canary")[what])


@pytest.mark.parametrize("what", ATTACKS)
def test_an_attack_in_a_checkpoint_is_refused_before_keras_sees_it(
    archive, tmp_path, monkeypatch, what
):
    monkeypatch.setattr(keras.saving, "load_model", None)
    assert as_checkpoint(tmp_path, model_pickle(attack(archive, what, tmp_path))) == (
        f"{tmp_path}/x.pkl holds a model with {ATTACKS[what]}, which no checkpoint of this project"
        " needs. Not loaded. If you did not make this file, delete it."
    )
    assert keras.config.floatx() == "float32"


@pytest.mark.parametrize("name", PLACES)
def test_any_model_elsewhere_is_refused(archive, tmp_path, monkeypatch, name):
    monkeypatch.setattr(keras.saving, "load_model", None)
    honest = pickle.dumps({"test": hostile_models.functional()})
    # Of a record only its text is taken out, and nothing is unpickled.
    refusal = {"record": "its digest does not match"}
    for content in (*(model_pickle(attack(archive, what, tmp_path)) for what in ATTACKS), honest):
        expected = refusal.get(name, "asks for a Keras model where none belongs, which")
        assert expected in PLACES[name](tmp_path, content)


def test_a_checkpoint_holds_one_model():
    content = pickle.dumps([tiny_model(size=4)] * 2)  # the same one, so a few bytes for each more
    with pytest.raises(PickleError, match="asks for a Keras model where none belongs"):
        loaded(content)


def first_call(config: dict) -> dict:
    return next(one for one in config["config"]["layers"] if one["inbound_nodes"])["inbound_nodes"][
        0
    ]


def first_layer(config: dict) -> dict:
    return config["config"]["layers"][1]


def dense(config: dict) -> dict:
    return config["config"]["layers"][-1]


def setting(**settings: object):
    return lambda config: dense(config)["config"].update(settings)


def arguments(*args: object, **kwargs: object):
    def change(config: dict) -> None:
        call = first_call(config)
        call["args"] += args
        call["kwargs"].update(kwargs)

    return change


def nested(levels: int) -> object:
    value = 1
    for _ in range(levels):
        value = [value]
    return value


SIGMOID = hostile_models.function("keras.activations.sigmoid")
ZEROS = {"module": "keras.initializers", "class_name": "Zeros", "config": {}}
IN_A_CONFIGURATION = {
    "operation that maps": (
        hostile_models.with_operation("keras.src.ops.core.Map", SIGMOID, 1),
        "keras.src.ops.core.Map",
    ),
    "operation without a tensor": (
        hostile_models.with_operation("keras.src.ops.numpy.Tile", 1, 2**20),
        "a call of keras.src.ops.numpy.Tile without a tensor",
    ),
    "operation in a place for layers": (
        setting(activation={"module": "keras.src.ops.numpy", "class_name": "Add", "config": {}}),
        "keras.src.ops.numpy.Add",
    ),
    "function": (setting(activation=SIGMOID), "the function 'sigmoid'"),
    "function as an argument": (
        arguments(SIGMOID),
        "the function 'sigmoid' as an argument of keras.layers.Rescaling",
    ),
    "layer as an argument": (
        arguments(mask={"module": "keras.layers", "class_name": "Dense", "config": {}}),
        "keras.layers.Dense as an argument of keras.layers.Rescaling",
    ),
    "layer as an initializer": (
        setting(kernel_initializer={**ZEROS, "module": "keras.layers", "class_name": "Add"}),
        "keras.layers.Add",
    ),
    "initializer where none belongs": (setting(units=ZEROS), "keras.initializers.Zeros"),
    "another class under its name": (
        setting(kernel_initializer={**ZEROS, "registered_name": "mine>Zeros"}),
        "keras.initializers.Zeros as another class",
    ),
    "lambda": (setting(activation={"class_name": "__lambda__", "config": {}}), "a lambda"),
    "type": (setting(units={"class_name": "__typespec__", "config": []}), "__typespec__"),
    "bytes": (setting(units={"class_name": "__bytes__", "config": {"value": "a"}}), "__bytes__"),
    "bytes as an argument": (
        arguments({"class_name": "__bytes__", "config": {"value": "a"}}),
        "__bytes__ as an argument of keras.layers.Rescaling",
    ),
    "array of texts": (
        setting(units={"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "float32"}}),
        "an odd array in keras.layers.Dense",
    ),
    "array of objects": (
        setting(units={"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}),
        "an odd array in keras.layers.Dense",
    ),
    "tensor of no layer": (
        lambda config: first_call(config)["args"][0]["config"].update(keras_history=["no", 0, 0]),
        "an odd tensor as an argument of keras.layers.Rescaling",
    ),
    "path": (
        setting(vocabulary="/etc/passwd"),
        "keras.layers.Dense with 'vocabulary'='/etc/passwd'",
    ),
    "path as an argument": (
        arguments("/etc/passwd"),
        "keras.layers.Rescaling with ''='/etc/passwd'",
    ),
    "path as a name": (
        lambda config: dense(config)["config"].update(name="/etc/passwd"),
        "keras.layers.Dense with 'name'='/etc/passwd'",
    ),
    "setting of an odd name": (setting(**{"a b": 1}), "keras.layers.Dense with 'a b'"),
    "more units than fit": (setting(units=2**40), f"keras.layers.Dense with 'units'={2**40}"),
    "odd type of numbers": (
        lambda config: dense(config)["config"]["dtype"]["config"].update(name="int8_from_float32"),
        "keras.DTypePolicy with 'dtype'='int8_from_float32'",
    ),
    "unrolled loop": (setting(unroll=True), "keras.layers.Dense with unroll=True"),
    "no module": (
        lambda config: dense(config).pop("module"),
        "a layer without module, class_name and config",
    ),
    "no settings": (
        lambda config: dense(config).update(config=None),
        "keras.layers.Dense without settings",
    ),
    "more about a layer": (
        lambda config: dense(config).update(more=1),
        "keras.layers.Dense with 'more'",
    ),
    "odd shape": (
        lambda config: dense(config)["build_config"].update(input_shape="a"),
        "keras.layers.Dense of an odd shape",
    ),
    "more about the model": (
        lambda config: config["config"].update(more=1),
        "keras.src.models.functional.Functional with other settings",
    ),
    "calls of the old form": (
        lambda config: dense(config).update(inbound_nodes=[[["pixels", 0, 0, {}]]]),
        "an odd call of keras.layers.Dense",
    ),
    "output of no layer": (
        lambda config: config["config"].update(output_layers=[["no", 0, 0]]),
        "keras.src.models.functional.Functional with odd inputs or outputs",
    ),
    "two layers of one name": (
        lambda config: dense(config).update(name="pixels"),
        "two layers of one name",
    ),
    "nested deep": (setting(units=nested(100)), "a configuration nested too deep"),
    "layer as a model": (
        lambda config: config.update(module="keras.layers", class_name="Dense"),
        "keras.layers.Dense",
    ),
    "no model": (lambda config: config.clear(), "a layer without module, class_name and config"),
}


@pytest.mark.parametrize("what", IN_A_CONFIGURATION)
def test_a_configuration_with_more_than_a_model_needs_is_refused(archive, what):
    change, reason = IN_A_CONFIGURATION[what]
    assert refusal(changed(archive, change)) == reason


def test_two_kinds_of_object_under_one_number_are_refused(archive):
    def one_number(config: dict) -> None:
        for name in ("kernel_initializer", "bias_initializer"):
            dense(config)["config"][name]["shared_object_id"] = 7

    assert refusal(changed(archive, one_number)) == "keras.initializers.Zeros as another object"


def test_how_a_model_in_a_model_was_compiled_is_taken_out_too():
    inner = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten()])
    inner.compile("adam", "mse")
    config, _ = keras_archive.checked(archive_of(keras.Sequential([keras.Input((4, 4, 3)), inner])))
    assert "compile_config" not in json.dumps(config)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"[" * 10**6, b"1" * 10**5, b'{"a": "\xff"}', b"null"]
)
def test_a_configuration_that_is_none_is_refused(archive, content):
    damaged = archive_with({**members_of(archive), "config.json": content})
    with pytest.raises(PickleError, match=r"x\.pkl (is no whole pickle|holds a model with)"):
        loaded(model_pickle(damaged))


def test_a_configuration_of_too_many_parts_is_refused_before_it_is_parsed(archive):
    for many in (b"{" * 300_000, b"[" * 2_000_000):
        damaged = archive_with({**members_of(archive), "config.json": many})
        assert refusal(damaged) == "a configuration of too many parts"
    large = archive_with({**members_of(archive), "config.json": b" " * (33 * 2**20)})
    assert refusal(large) == "a configuration of more than 32 MB"


# Archives


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_keras_would_not_write_is_refused(archive, what):
    change, reason = ARCHIVES[what]
    assert refusal(change(archive)) == reason


def test_a_bomb_takes_next_to_no_memory(archive):
    zeros = b" " * (200 * 2**20)
    members = {**members_of(archive), "config.json": zeros}
    bomb = archive_with(members, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        assert refusal(bomb) == "compressed or encrypted members in its archive"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_last_bytes_are_the_end_of_the_archive(archive):
    for damaged in (archive + b"more", archive[:-1], b"", b"PK\5\6"):
        with pytest.raises(ValueError, match="no whole archive of a model"):
            keras_archive.checked(damaged)


# Weights


@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_that_keras_would_not_write_are_refused(archive, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    change, reason = WEIGHTS[what]
    assert refusal(with_weights(archive, change)) == reason


def test_weights_that_are_none_are_refused(archive):
    for content in (b"", b"no HDF5", members_of(archive)["model.weights.h5"][:-500]):
        damaged = archive_with({**members_of(archive), "model.weights.h5": content})
        with pytest.raises(PickleError, match=r"x\.pkl is no whole pickle of this project"):
            loaded(model_pickle(damaged))


def test_in_a_sequential_model_the_same_holds(sequential):
    reader = in_first_layer(class_name="TFSMLayer", config={"filepath": "canary"})
    assert refusal(changed(sequential, reader)) == "keras.layers.TFSMLayer"
    called = in_first_layer(inbound_nodes=[{"args": [1], "kwargs": {}}])
    assert refusal(changed(sequential, called)) == "keras.layers.Rescaling with 'inbound_nodes'"


def test_what_is_written_is_what_was_checked(archive):
    file = io.BytesIO()
    config, weights = keras_archive.checked(archive)
    keras_archive.write(file, config, weights)
    written = members_of(file.getvalue())
    assert written.keys() == {"config.json", "model.weights.h5"}
    assert keras_archive.checked(file.getvalue()) == (config, weights)
