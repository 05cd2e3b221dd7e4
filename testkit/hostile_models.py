"""Archives of Keras models that reach for more than a model needs, each made from an honest one."""

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from pipeline.artifacts.keras_import import import_keras

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


# Archives that Keras would not write, with what is said of each


def patched(archive: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """With `value` at `offset` after the last `mark`."""
    at = archive.rindex(mark) + offset
    return archive[:at] + value + archive[at + len(value) :]


def overlapping(archive: bytes) -> bytes:
    """The directory says that the configuration is as long as the file and begins at its start."""
    entry = archive.index(b"PK\1\2", archive.index(b"PK\1\2") + 4)
    sizes = struct.pack("<II", len(archive) - 100, len(archive) - 100)
    return archive[: entry + 20] + sizes + archive[entry + 28 :]


def with_member(archive: bytes, name: str) -> bytes:
    """The metadata under another name."""
    members = members_of(archive)
    return archive_with({name: members.pop("metadata.json"), **members})


def of_many(archive: bytes) -> bytes:
    return archive_with({**members_of(archive), **{f"assets/{i}": b"" for i in range(3000)}})


ARCHIVES = {
    "compressed": (
        lambda archive: archive_with(members_of(archive), zipfile.ZIP_DEFLATED),
        "compressed or encrypted members in its archive",
    ),
    "encrypted": (
        lambda archive: patched(archive, b"PK\1\2", 8, b"\1\0"),
        "compressed or encrypted members in its archive",
    ),
    "overlapping": (overlapping, "members in its archive that overlap"),
    "many members": (of_many, "more members in its archive than Keras writes"),
    "member above": (
        lambda archive: with_member(archive, "../evil.py"),
        "'../evil.py' in its archive",
    ),
    "member elsewhere": (lambda archive: with_member(archive, "/etc/x"), "'/etc/x' in its archive"),
    "assets": (lambda archive: with_member(archive, "assets/a"), "'assets/a' in its archive"),
    "another directory": (
        lambda archive: archive[:-22] + b"PK\6\7" + b"\0" * 16 + archive[-22:],
        "more members in its archive than Keras writes",
    ),
    "one name twice": (
        lambda archive: archive.replace(b"metadata.json", b"config.json\0\0"),
        "one name twice in its archive",
    ),
}


# The same for weights


def an_array(file: h5py.File) -> tuple[h5py.Group, str]:
    """The group and the name of one of the arrays."""
    arrays = []
    file.visititems(lambda name, item: arrays.append(name) if hasattr(item, "shape") else None)
    group, _, name = max(arrays).rpartition("/")
    return file[group], name


def instead(make):
    def change(file: h5py.File) -> None:
        group, name = an_array(file)
        kept = group[name][()]
        del group[name]
        make(group, name, kept)

    return change


def virtual(group: h5py.Group, name: str, kept: np.ndarray) -> None:
    layout = h5py.VirtualLayout(kept.shape, kept.dtype)
    layout[...] = h5py.VirtualSource("canary.h5", "a", kept.shape)
    group.create_virtual_dataset(name, layout)


def external(group: h5py.Group, name: str, kept: np.ndarray) -> None:
    where = [("canary", 0, kept.nbytes)]
    group.create_dataset(name, kept.shape, kept.dtype, external=where)


WEIGHTS = {
    "external link": (
        instead(lambda group, name, _: group.update({name: h5py.ExternalLink("canary.h5", "a")})),
        "weights that are links",
    ),
    "soft link": (
        instead(lambda group, name, _: group.update({name: h5py.SoftLink("/")})),
        "weights that are links",
    ),
    "virtual array": (instead(virtual), "weights in pieces or in other files"),
    "array in another file": (instead(external), "weights in pieces or in other files"),
    "a terabyte of zeros": (
        instead(lambda group, name, _: group.create_dataset(name, (2**38,), "f4", chunks=(2**20,))),
        "weights in pieces or in other files",
    ),
    "compressed array": (
        instead(
            lambda group, name, kept: group.create_dataset(
                name, data=[1.0] * 99, compression="gzip"
            )
        ),
        "weights in pieces or in other files",
    ),
    "array that is not there": (
        instead(lambda group, name, _: group.create_dataset(name, (2**38,), "f4")),
        "weights that are not there in full",
    ),
    "array in two places": (
        lambda file: file.update({"more": file[an_array(file)[0].name]}),
        "the same weights in two places",
    ),
    "group in itself": (
        lambda file: file.update({"more": file["/"]}),
        "the same weights in two places",
    ),
    "type": (lambda file: file.update({"more": np.dtype("f4")}), "weights that are no arrays"),
    "texts": (lambda file: file.update({"more": ["a"]}), "weights that are no numbers"),
}
