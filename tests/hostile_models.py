"""Archives of Keras models that reach for more than a model needs, each made from an honest one."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py

from pipeline.quiet_keras import import_keras

Change = Callable[[dict], object]


def functional() -> object:
    """A small honest model with a graph."""
    keras = import_keras()
    pixels = keras.Input((4, 4, 3), name="pixels")
    left = keras.layers.Conv2D(2, 3, padding="same")(keras.layers.Rescaling(1 / 255)(pixels))
    joined = keras.layers.Concatenate()([pixels, left])
    pooled = keras.layers.GlobalAveragePooling2D()(joined)
    return keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(pooled))


def archive_of(model: object) -> bytes:
    """The bytes of its .keras file."""
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        model.save(file.name)
        return Path(file.name).read_bytes()


def members_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def archive_with(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as opened:
        for name, member in members.items():
            opened.writestr(name, member)
    return content.getvalue()


def changed(archive: bytes, change: Change) -> bytes:
    """The archive after `change` has had its config.json, a dict."""
    members = members_of(archive)
    config = json.loads(members["config.json"])
    change(config)
    return archive_with({**members, "config.json": json.dumps(config).encode()})


def with_weights(archive: bytes, change: Callable[[h5py.File], object]) -> bytes:
    """The archive after `change` has had its weights, an HDF5 file."""
    members = members_of(archive)
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file)
    return archive_with({**members, "model.weights.h5": content.getvalue()})


def function(name: str) -> dict:
    """What Keras exports under `name`, as a configuration names it."""
    module, _, attribute = name.rpartition(".")
    return {
        "module": module,
        "class_name": "function",
        "config": attribute,
        "registered_name": attribute,
    }


def with_operation(name: str, *arguments: object, **settings: object) -> Change:
    """One more operation in the graph, called with these."""
    module, _, kind = name.rpartition(".")
    operation = {
        "module": module,
        "class_name": kind,
        "config": {"name": "more", **settings},
        "registered_name": kind,
        "name": "more",
        "inbound_nodes": [{"args": list(arguments), "kwargs": {}}],
    }
    return lambda config: config["config"]["layers"].append(operation)


def calling(name: str, *arguments: object) -> Change:
    """Keras calls what it exports under `name` while it makes the model."""
    return with_operation("keras.src.ops.core.Switch", 0, [function(name)], *arguments)


def attacks(canary: Path) -> dict[str, Change]:
    """What each does when Keras is given it: opens `canary`, connects, or changes Keras's settings."""
    return {
        "SavedModel": calling("keras.layers.TFSMLayer", str(canary)),
        "download of data": calling("keras.datasets.mnist.load_data"),
        "download of weights": calling("keras.applications.MobileNetV3Small"),
        "opening of a file": calling("keras.saving.KerasFileEditor", f"{canary}.weights.h5"),
        "walk through a folder": calling(
            "keras._legacy.preprocessing.image.DirectoryIterator", str(canary.parent), None
        ),
        "other floats": calling("keras.config.set_floatx", "float64"),
        "endless loop": calling(
            "keras.ops.fori_loop", 0, 2**31 - 1, function("keras.activations.relu"), 0
        ),
        "Cond": with_operation(
            "keras.src.ops.core.Cond", True, function("keras.config.set_floatx"), None
        ),
        "test of Keras's": lambda config: config["config"]["layers"].append(
            {
                "module": "keras.src.saving.saving_api_test",
                "class_name": "Anything",
                "config": {},
                "registered_name": None,
                "name": "more",
                "inbound_nodes": [],
            }
        ),
        "other backend": calling("keras.config.set_backend", "jax"),
    }
