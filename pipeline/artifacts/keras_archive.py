"""Check the archive of a Keras model before Keras sees it.

Keras builds whatever a model's configuration names, and what it builds may read files, fetch from a
network, run code or change its settings; its safe mode stops only some of that. So a configuration
may name nothing but what pipeline/artifacts/keras_names.py lists, with plain values, and whatever else is in
an archive is refused. Keras is then given an archive made afresh, of what was checked.

What is not covered: a model that takes more time or memory than there is. Who loads one from a
folder does so in a process apart.
"""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import IO, Any

from pipeline.artifacts import keras_names
from pipeline.artifacts.keras_names import (
    ACTIVATIONS,
    AT,
    FUNCTIONAL,
    MODELS,
    NUMBERS,
    OPERATIONS,
    WORDS,
)

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {CONFIG, WEIGHTS, "metadata.json"}
MOST_CONFIG = 32 * 2**20  # bytes; the largest of keras.applications takes 1 MB, own weights more
MOST_WEIGHTS = 2**31  # Keras cannot write more
MOST_OBJECTS = 200_000  # dicts in a configuration; the largest of keras.applications has 15,000
MOST_LISTS = 1_000_000
MOST_ARRAYS = 200_000  # groups and datasets among the weights
DEEPEST = 60  # values within values
LARGEST = 2**24  # a whole number: a size, an axis
LARGEST_SEED = 2**64
DIRECTORY = 1000  # bytes of a zip directory with three members

OBJECT = {
    *("module", "class_name", "config", "registered_name", "shared_object_id"),
    *("build_config", "compile_config"),
}
NAME = re.compile(r"[\w .,:;=#@()\[\]+-]{1,200}")  # no path
KEY = re.compile(r"[A-Za-z_]\w{0,60}", re.ASCII)
AXES = re.compile(r"[A-Za-z.,> -]{1,200}")


class NotAllowed(Exception):
    """What a model has that none in a checkpoint needs."""


def checked(archive: bytes) -> tuple[dict, bytes]:
    """The configuration and the weights in a .keras archive.

    Raises:
        NotAllowed: something in it is not what Keras writes, or not what a checkpoint may hold.
    """
    config, weights = _members(archive)
    _refuse_if(len(config) > MOST_CONFIG, f"a configuration of more than {MOST_CONFIG >> 20} MB")
    many = config.count(b"{") > MOST_OBJECTS or config.count(b"[") > MOST_LISTS
    _refuse_if(many, "a configuration of too many parts")
    parsed = json.loads(config)
    check_config(parsed)
    check_weights(weights)
    return parsed, weights


def write(file: IO[bytes], config: dict, weights: bytes) -> None:
    """The archive of these, as Keras reads it."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(CONFIG, json.dumps(config))
        archive.writestr(WEIGHTS, weights)


def _refuse_if(wrong: bool, what: str) -> None:
    if wrong:
        raise NotAllowed(what)


# The archive


def _members(archive: bytes) -> tuple[bytes, bytes]:
    """Configuration and weights. All is stored as it is, as Keras does: what is small stays small."""
    _check_directory(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = opened.infolist()
        names = [member.filename for member in members]
        for name in names:
            _refuse_if(name not in MEMBERS, f"{_shown(name)} in its archive")
        _refuse_if(len(set(names)) < len(names), "one name twice in its archive")
        for member in members:
            compressed = member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1
            compressed = compressed or member.compress_size != member.file_size
            _refuse_if(bool(compressed), "compressed or encrypted members in its archive")
            _refuse_if(member.file_size > MOST_WEIGHTS, "weights of more than 2 GB")
        stored = sum(member.compress_size for member in members)
        _refuse_if(stored > len(archive), "members in its archive that overlap")
        return opened.read(CONFIG), opened.read(WEIGHTS)


def _check_directory(archive: bytes) -> None:
    """The end of the archive says how many members there are; before it is believed, it is checked."""
    end = archive[-22:]
    if len(end) < 22 or end[:4] != b"PK\5\6":
        raise ValueError("no whole archive of a model")
    count, size = struct.unpack("<HI", end[10:16])
    many = count > len(MEMBERS) or size > DIRECTORY or archive[-42:-38] == b"PK\6\7"
    _refuse_if(many, "more members in its archive than Keras writes")


# The weights


def check_weights(content: bytes) -> None:
    """Nothing but arrays of numbers that lie in this very file, each in full, and only once.

    Raises:
        NotAllowed: something else is there.
    """
    import h5py  # here, for who loads no model starts sooner without

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            sizes = [_array_size(h5py, dataset) for dataset in _datasets(h5py, file)]
    except OSError as error:  # not the disk's: it is all in memory
        raise ValueError(f"its weights are no HDF5 file: {error}") from None
    _refuse_if(sum(sizes) > len(content), "weights that overlap")


def _datasets(h5py: ModuleType, file: Any) -> Iterator[Any]:
    groups, seen = [file], set()
    while groups:
        group = groups.pop()
        for name in group:
            # Asked before it is followed: an external link would open what it names.
            link = group.get(name, getlink=True)
            _refuse_if(not isinstance(link, h5py.HardLink), "weights that are links")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            _refuse_if(address in seen, "the same weights in two places")
            seen.add(address)
            _refuse_if(len(seen) > MOST_ARRAYS, "too many weights")
            if isinstance(item, h5py.Group):
                groups.append(item)
            else:
                yield item


def _array_size(h5py: ModuleType, dataset: Any) -> int:
    """In bytes. The layout comes first: to ask others than these for their shape may open files."""
    _refuse_if(not isinstance(dataset, h5py.Dataset), "weights that are no arrays")
    layout = dataset.id.get_create_plist()
    plain = layout.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    _refuse_if(not plain or layout.get_external_count() > 0, "weights in pieces or in other files")
    _refuse_if(dataset.dtype.kind not in "fiub", "weights that are no numbers")
    size = dataset.size * dataset.dtype.itemsize
    _refuse_if(size != dataset.id.get_storage_size(), "weights that are not there in full")
    return size


# The configuration


def check_config(config: object) -> None:
    """Whether a model's configuration names only what it may; how it was compiled is taken out of it.

    Raises:
        NotAllowed: it names something else.
    """
    _Check().object(config, MODELS)


@dataclass
class _Check:
    """One configuration: what of it was seen so far."""

    depth: int = 0
    tensors: int = 0  # in the calls of layers
    shared: dict[int, str] = field(default_factory=dict)  # what an object met twice is

    def object(self, config: Any, allowed: frozenset[str], *more: str) -> None:
        """Something that Keras makes: a layer, an initializer. `more` it may say beside the usual."""
        name = _full_name(config)
        _refuse_if(name not in allowed, name)
        extra = config.keys() - OBJECT - set(more)
        _refuse_if(bool(extra), f"{name} with {_shown(min(extra, default=''))}")
        registered = config.get("registered_name")
        _refuse_if(registered not in (None, config["class_name"]), f"{name} as another class")
        inner = config["config"]
        _refuse_if(not isinstance(inner, dict), f"{name} without settings")
        config.pop("compile_config", None)
        self.share(config, name)
        self.shapes(config.get("build_config"), name)
        if name == FUNCTIONAL:
            self.functional(inner)
        elif name in keras_names.POLICIES:
            _refuse_if(inner.keys() != {"name"}, f"{name} with more than a name")
            self.value("dtype", inner["name"], name)
        else:
            for setting, value in inner.items():
                _refuse_if(not KEY.fullmatch(setting), f"{name} with {_shown(setting)}")
                self.value(setting, value, name)

    def share(self, config: dict, name: str) -> None:
        """Keras takes what has the number of an earlier object to be that one, whatever it is."""
        number = config.get("shared_object_id", 0)
        _refuse_if(not isinstance(number, int), f"{name} with an odd number")
        if "shared_object_id" in config:
            _refuse_if(self.shared.setdefault(number, name) != name, f"{name} as another object")

    def shapes(self, config: Any, name: str) -> None:
        """Sizes, or names with sizes: what a layer is built from."""
        if isinstance(config, dict):
            for key, value in config.items():
                _refuse_if(not KEY.fullmatch(key), f"{name} with {_shown(key)}")
                self.nested(self.shapes, value, name)
        elif isinstance(config, list):
            for value in config:
                self.nested(self.shapes, value, name)
        else:
            whole = config is None or (isinstance(config, int) and 0 <= config <= LARGEST)
            _refuse_if(not whole, f"{name} of an odd shape")

    def nested(self, check: Callable[..., None], *arguments: Any) -> None:
        self.depth += 1
        _refuse_if(self.depth > DEEPEST, "a configuration nested too deep")
        check(*arguments)
        self.depth -= 1

    def value(self, key: str, value: Any, owner: str, graph: frozenset | None = None) -> None:
        """A setting of `owner`, or with a `graph`, the names of its layers, an argument of a call."""
        if value is None or isinstance(value, bool | float):
            _refuse_if(key == "unroll" and value is True, f"{owner} with unroll=True")
        elif isinstance(value, int):
            limit = LARGEST_SEED if key == "seed" else LARGEST
            _refuse_if(abs(value) > limit, f"{owner} with {_shown(key)}={_shown(value)}")
        elif isinstance(value, str):
            _refuse_if(not _is_known(key, value), f"{owner} with {_shown(key)}={_shown(value)}")
        elif isinstance(value, list):
            for one in value:
                self.nested(self.value, key, one, owner, graph)
        elif "class_name" in value:
            self.nested(self.special, key, value, owner, graph)
        else:
            # As Keras writes the code of a lambda.
            _refuse_if(value.keys() == {"value"}, f"a lambda in {owner}")
            for inner, one in value.items():
                _refuse_if(not KEY.fullmatch(inner), f"{owner} with {_shown(inner)}")
                self.nested(self.value, inner, one, owner, graph)

    def special(self, key: str, value: dict, owner: str, graph: frozenset | None) -> None:
        kind = value["class_name"]
        config: Any = value.get("config")
        if kind in ("__numpy__", "__tensor__"):
            _refuse_if(not _is_array(value), f"an odd array in {owner}")
        elif graph is None:
            self.object(value, AT.get(key.rpartition("_")[2], frozenset()))
        elif kind == "__keras_tensor__":
            _refuse_if(not _is_tensor(value, graph), f"an odd tensor as an argument of {owner}")
            self.tensors += 1
        elif kind == "__slice__" and _has_only(value, "start", "stop", "step"):
            self.value(key, list(config.values()), owner, graph)
        elif kind != "__ellipsis__" or not _has_only(value):
            raise NotAllowed(f"{_full_name(value)} as an argument of {owner}")

    def functional(self, config: dict) -> None:
        keys = {"name", "trainable", "layers", "input_layers", "output_layers"}
        _refuse_if(config.keys() != keys, f"{FUNCTIONAL} with other settings")
        self.value("name", config["name"], FUNCTIONAL)
        self.value("trainable", config["trainable"], FUNCTIONAL)
        layers = config["layers"]
        _refuse_if(not isinstance(layers, list), "layers that are no list")
        for layer in layers:
            self.nested(self.object, layer, AT["layer"] | OPERATIONS, "name", "inbound_nodes")
            _refuse_if(not _has_name(layer), "a layer without a name")
        graph = frozenset(layer["name"] for layer in layers)
        _refuse_if(len(graph) < len(layers), "two layers of one name")
        for layer in layers:
            self.calls(layer, graph)
        for ends in (config["input_layers"], config["output_layers"]):
            _refuse_if(not _are_ends(ends, graph), f"{FUNCTIONAL} with odd inputs or outputs")

    def calls(self, layer: dict, graph: frozenset[str]) -> None:
        """Each of a tensor: without one, it would be computed at once, while the model is made."""
        owner = _full_name(layer)
        calls: Any = layer.get("inbound_nodes")
        _refuse_if(not isinstance(calls, list), f"{owner} without a list of calls")
        for call in calls:
            _refuse_if(not _is_call(call), f"an odd call of {owner}")
            before = self.tensors
            self.value("", call["args"], owner, graph)
            _refuse_if("class_name" in call["kwargs"], f"an odd call of {owner}")
            self.value("", call["kwargs"], owner, graph)
            _refuse_if(self.tensors == before, f"a call of {owner} without a tensor")


def _has_name(layer: dict) -> bool:
    return isinstance(layer.get("name"), str) and bool(NAME.fullmatch(layer["name"]))


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict) or call.keys() != {"args", "kwargs"}:
        return False
    return isinstance(call["args"], list) and isinstance(call["kwargs"], dict)


def _full_name(config: Any) -> str:
    """What Keras would look up. Each has to say its module: Keras would guess it."""
    _refuse_if(not isinstance(config, dict), "something that is no layer")
    name, module = config.get("class_name"), config.get("module")
    if name == "__lambda__":
        return "a lambda"
    if name == "function":
        return f"the function {_shown(config.get('config'))}"
    if isinstance(name, str) and name.startswith("__"):
        return _bare(name)
    full = isinstance(name, str) and isinstance(module, str) and "config" in config
    _refuse_if(not full, "a layer without module, class_name and config")
    return _bare(f"{module}.{name}")


def _is_known(key: str, value: str) -> bool:
    if key == "name":
        return bool(NAME.fullmatch(value))
    if key in keras_names.SUMS_OVER_AXES:
        return bool(AXES.fullmatch(value))
    return value in (ACTIVATIONS if key.rpartition("_")[2] == "activation" else WORDS)


def _has_only(value: dict, *keys: str) -> bool:
    config = value.get("config")
    return value.keys() == {"class_name", "config"} and (
        isinstance(config, dict) and config.keys() == set(keys)
    )


def _is_array(value: dict) -> bool:
    if not _has_only(value, "value", "dtype"):
        return False
    rows = [value["config"]["value"]]
    while rows:
        row = rows.pop()
        if isinstance(row, list):
            rows.extend(row)
        elif not isinstance(row, int | float):
            return False
    return value["config"]["dtype"] in NUMBERS


def _is_tensor(value: dict, graph: frozenset[str]) -> bool:
    if not _has_only(value, "shape", "dtype", "keras_history"):
        return False
    shape, dtype, history = (value["config"][key] for key in ("shape", "dtype", "keras_history"))
    return (
        isinstance(shape, list)
        and all(size is None or (isinstance(size, int) and abs(size) <= LARGEST) for size in shape)
        and isinstance(dtype, str)
        and dtype in NUMBERS
        and _is_end(history, graph)
    )


def _is_end(value: object, graph: frozenset[str]) -> bool:
    """An output of a layer: the layer's name, which of its calls, which of what that gave."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and value[0] in graph
        and all(type(number) is int and 0 <= number <= LARGEST for number in value[1:])
    )


def _are_ends(value: object, graph: frozenset[str]) -> bool:
    if _is_end(value, graph):
        return True
    return isinstance(value, list) and all(_is_end(one, graph) for one in value)


def _bare(name: str) -> str:
    return _shown(name)[1:-1]


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-1]}"
