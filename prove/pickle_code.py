"""To load a pickle never runs code, opens a file or imports what it names; honest models load.

Each callable of the modules that could do harm is asked for in five ways; opcodes are drawn by
chance; models name each class and function of Keras, in a checkpoint and where no model belongs. The
interpreter itself reports what happens, Keras's settings are compared, and strace sees the worst. What
would take forever, or all memory, is refused soon.
"""

import importlib
import itertools
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

import constants
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.keras_import import import_keras
from pipeline.artifacts.safe_pickle import PickleError
from pipeline.keras_models.keras_graph import to_functional
from pipeline.keras_models.model_file import build
from prove import Result, model_probes, some
from testkit import honest_models
from testkit import pickles as known
from testkit.pickles import called, in_first_layer, model_pickle, named, text, whole

DANGEROUS = (
    *("_ctypes", "_frozen_importlib", "_io", "_pickle", "_posixsubprocess", "asyncio", "builtins"),
    *("cProfile", "code", "codecs", "codeop", "commands", "copyreg", "ctypes", "dill", "doctest"),
    *("ftplib", "functools", "glob", "http.client", "imaplib", "importlib", "importlib.util", "io"),
    *("joblib", "linecache", "logging.config", "marshal", "mmap", "multiprocessing", "operator"),
    *("os", "pathlib", "pdb", "pickle", "pickletools", "pip", "pkgutil", "platform", "posix"),
    *("profile", "pty", "pydoc", "runpy", "shelve", "shutil", "signal", "site", "smtplib"),
    *("socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "timeit", "trace"),
    *("types", "urllib.request", "venv", "weakref", "webbrowser", "xmlrpc.client", "zipfile"),
    *("numpy", "numpy._core.multiarray", "numpy._core.numeric", "numpy.lib.npyio"),
    *("numpy.testing", "keras", "keras.config", "keras.layers", "keras.models", "keras.saving"),
    *(
        "keras.utils",
        "pipeline.keras_models.model_file",
        "pipeline.artifacts.safe_pickle",
        "constants",
        "helper",
    ),
)
WAYS: tuple[Callable[[str, str], bytes], ...] = (
    lambda module, name: whole(called(named(module, name), text("canary"))),
    lambda module, name: whole(f"c{module}\n{name}\n(".encode() + text("canary") + b"tR"),
    lambda module, name: whole(b"(" + text("canary") + f"i{module}\n{name}\n".encode()),
    lambda module, name: whole(b"(" + named(module, name) + text("canary") + b"o"),
    lambda module, name: whole(named(module, name) + b"(" + text("canary") + b"t\x81"),
)
# What the interpreter reports that a pickle without a model never needs.
HARMFUL = (
    *("import", "open", "exec", "compile", "os.", "subprocess.", "ctypes.", "socket.", "shutil."),
    *("pty.", "webbrowser.", "urllib.", "tempfile.", "mmap.", "marshal.", "code.", "pickle."),
    *(
        "cpython.run",
        "builtins.input",
        "builtins.breakpoint",
        "signal.",
        "sqlite3.",
        "ftplib.",
        "smtplib.",
        "gc.",
        "glob.",
    ),
)
SOON, MOST_MEGABYTES = (
    30.0,
    50,
)  # seconds until it is refused, its start included; megabytes it takes
_heard: list[str] | None = None


def prove(full: bool) -> Result:
    import_keras()  # silently, which a mere import of it for its names is not
    _listen()
    draw, tried, violations = random.Random(16), 0, []
    probes = list(_probes())
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        canary = Path(folder) / "canary.py"
        canary.write_text("run = print\n")
        sys.path.insert(0, folder)
        try:
            attempts = itertools.chain(
                (lambda one=one: _refused(*one) for one in some(probes, full, 500)),
                (lambda: _runs_nothing(draw) for _ in range(200_000 if full else 500)),
                (lambda one=one: _goes_on(*one) for one in _with_more_behind()),
                (lambda one=one: _takes_too_much(*one) for one in _greedy()),
                (lambda one=one: _model_refused(*one) for one in _escapes(canary)),
                (lambda one=one: _model_refused(*one) for one in _named(canary, full)),
                (lambda one=one: _honest(*one) for one in _models(Path(folder), full)),
            )
            for attempt in attempts:
                tried += 1
                if problem := attempt():
                    violations.append(problem)
            if full and model_probes.can_watch():
                tried += 1
                violations += model_probes.opened_outside()[:1]
        finally:
            sys.path.remove(folder)
    figure = f"{tried:,} pickles, {len(violations)} that ran something or were judged wrongly"
    return Result(tried, tried - len(violations), figure, violations)


def _probes() -> Iterator[tuple[str, bytes]]:
    """Each callable, asked for in each way; those that this project does write are left out."""
    for module in DANGEROUS:
        try:
            names = dir(importlib.import_module(module))
        except ImportError:  # a pickle can name it all the same
            names = ["load", "loads", "system", "main"]
        for name, (number, way) in itertools.product(names, enumerate(WAYS)):
            if f"{module}.{name}" not in safe_pickle.ALLOWED:
                yield f"{module}.{name}, way {number}", way(module, name)


def _refused(name: str, content: bytes) -> str | None:
    heard, refusal, _ = _load(content)
    if heard:
        return f"{name}: {heard}"
    return (
        None if "which this project never writes" in refusal else f"{name}: {refusal or 'loaded'}"
    )


def _runs_nothing(draw: random.Random) -> str | None:
    content = whole(b"".join(draw.choices(PIECES, k=draw.randint(1, 14))))
    heard, _, _ = _load(content)
    return f"{content!r}: {heard}" if heard else None


def _with_more_behind() -> Iterator[tuple[str, bytes]]:
    """Honest pickles, and bytes after their end."""
    honest = {"text": whole(text("a")), "array": pickle.dumps({"img": np.zeros((2, 3), "u1")})}
    for (name, content), more in itertools.product(honest.items(), (b"\0", b".", whole(b"N"))):
        yield f"{name} and {more!r}", content + more


def _goes_on(name: str, content: bytes) -> str | None:
    _, refusal, _ = _load(content)
    return None if "goes on after its end" in refusal else f"{name}: {refusal or 'loaded'}"


def _greedy() -> Iterator[tuple[str, bytes]]:
    """A few bytes that name more values, or more memory, than there are."""
    for start, end in (
        (b"}", b"Ns"),
        (b"}(", b"Nu"),
        (b"(", b"Nd"),
        (b"\x8f(", b"\x90"),
        (b"(", b"\x91"),
    ):
        yield f"a key that takes forever to hash, {start}", whole(start + known.pairs(60) + end)
    for levels in (40, 100):
        yield f"a list in 2**{levels} places", known.lists_of_lists(levels)
    for what, claim in known.CLAIMS.items():
        yield what, whole(claim)


def _takes_too_much(name: str, content: bytes) -> str | None:
    """In a process of its own, which can be ended."""
    command = [sys.executable, "-c", known.MEASURE]
    try:
        ended = subprocess.run(
            command, input=content.hex(), cwd=constants.ROOT, capture_output=True, text=True,
            timeout=SOON,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{name}: not refused after {SOON:g} s"
    outcome, megabytes = (*ended.stdout.split(), "0")[:2] if ended.stdout else ("crashed", "0")
    fine = outcome == "refused" and int(megabytes) < MOST_MEGABYTES
    return None if fine else f"{name}: {outcome}, {megabytes} MB"


PIECES = [bytes([opcode]) for opcode in range(256)]
PIECES += [known.GETATTR, known.SEQUENTIAL, known.FROMBUFFER, known.RECONSTRUCT, known.NDARRAY]
PIECES += [known.EMPTY, known.dtype("u1"), known.raw(b"abc"), b"cos\nsystem\n", b"(ios\nsystem\n"]
PIECES += [named("os", "system"), named("_io", "BytesIO"), b")\x81", b"N}b", b"\x94", b"h\x00"] * 3
PIECES += [text("os"), text("system"), text("_unpickle_model"), text("__globals__"), b"\x93"] * 2
PIECES += [b"(", b"t", b"R", b"o", b"b", b"\x85", b"\x86", b"\x81", b"\x92", b"}", b"K\x01"] * 4


def _load(content: bytes, allow_model: bool = True) -> tuple[list[str], str, object]:
    """What loading it does, how it is refused ("" if it is not), and what it gives."""
    global _heard
    heard = _heard = []
    try:
        loaded, refusal = safe_pickle.loads(content, "x.pkl", allow_model), ""
    except PickleError as error:
        loaded, refusal = None, str(error)
    except Exception as error:
        loaded, refusal = None, ""
        heard.append(f"{type(error).__name__}: {error}")
    finally:
        _heard = None
    return heard, refusal, loaded


@cache
def _listen() -> None:
    sys.addaudithook(_hear)  # it cannot be removed again, only told not to listen


def _hear(event: str, arguments: tuple) -> None:
    if _heard is not None and event.startswith(HARMFUL):
        _heard.append(f"{event} {arguments[:1]!r}"[:200])


def _escapes(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Model archives that try to run code, or to read a file, when Keras loads them."""
    archive = _archive(_sequential())
    _load(model_pickle(archive))  # what is imported on the first use counts for nothing
    for what, change in (known.KERAS_ESCAPES | _more_escapes(canary)).items():
        yield what, model_pickle(known.changed(archive, change))
    yield "Lambda as code", pickle.dumps({"model": _with_lambda()})
    yield from _registered(archive)


def _registered(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """A class of its own that this process has registered, named as the model and as a layer."""
    keras = import_keras()

    @keras.saving.register_keras_serializable(package="canary")
    class Registered(keras.layers.Layer):
        def __init__(self, **_: object):
            super().__init__()
            sys.audit("exec", "a registered class, as canary")

    names = {"module": "canary", "class_name": "Registered", "registered_name": "canary>Registered"}
    for what, names_it in (
        ("model", lambda config: config.update(names)),
        ("layer", in_first_layer(**names, config={})),
        ("activation", in_first_layer(
            module="keras.layers", class_name="Activation", config={"activation": names | {"config": {}}},
        )),
    ):  # fmt: skip
        yield f"registered class as {what}", model_pickle(known.changed(archive, names_it))
    keras.saving.get_custom_objects().pop("canary>Registered")


def _more_escapes(canary: Path) -> dict[str, Callable[[dict], object]]:
    def layer(kind: str, **config: object) -> Callable[[dict], object]:
        return in_first_layer(
            module="keras.layers", class_name=kind, registered_name=None, config=config
        )

    path = str(canary)
    function = {"module": "canary", "class_name": "function", "config": "run"}
    code = {"class_name": "__lambda__", "config": {"code": "4wA=", "defaults": None}}
    return {
        "Lambda as a registered name": layer(
            "Lambda", function=function | {"registered_name": "r"}
        ),
        "Lambda as bytes of code": layer("Lambda", function=code),
        "Lambda as the name of a builtin": layer(
            "Lambda", function={"module": "builtins", "class_name": "function", "config": "exec"}
        ),
        "saved model": layer("TFSMLayer", name="a", filepath=path),
        "saved model of another module": in_first_layer(
            module="keras.src.export.tfsm_layer", class_name="TFSMLayer", config={"filepath": path}
        ),
        "torch module": layer("TorchModuleWrapper", module="canary", name="a"),
        "torch module as a pickle": layer("TorchModuleWrapper", module={"buffer": "Y29z"}),
        "JAX function": layer("JaxLayer", call_fn=function, init_fn=function),
        "Flax module": layer("FlaxLayer", module=function),
        "vocabulary of words": layer("TextVectorization", vocabulary=path),
        "vocabulary of numbers": layer("IntegerLookup", vocabulary=path),
        "vocabulary of strings": layer("StringLookup", vocabulary=path, idf_weights=None),
        "class of the pipeline": in_first_layer(
            module="pipeline.keras_models.model_file", class_name="build", config={"path": path}
        ),
        "initializer of another module": layer("Dense", units=2, kernel_initializer=function),
        "regularizer of another module": layer("Dense", units=2, kernel_regularizer=function),
        "constraint of another module": layer("Dense", units=2, bias_constraint=function),
        "cell of another module": layer("RNN", cell=function),
        "wrapped layer of another module": layer("TimeDistributed", layer=function),
        "safe mode switched off": in_first_layer(
            module="keras.config", class_name="enable_unsafe_deserialization", config={}
        ),
        "loader of models": in_first_layer(
            module="keras.saving", class_name="load_model", config={"filepath": path}
        ),
    }


def _with_lambda() -> object:
    layers = import_keras().layers
    return import_keras().Sequential([layers.Input((2,)), layers.Lambda(lambda x: x + 1)])


def _named(canary: Path, full: bool) -> Iterator[tuple[str, bytes, bool]]:
    """Each name of Keras in each way in a checkpoint, and in one way where no model belongs."""
    probes = model_probes.Probes(canary)
    for name in some(model_probes.names(), full, 60):
        for number, (what, archive) in enumerate(probes.of(name)):
            yield what, model_pickle(archive), True
            if number == 0:
                yield f"{what} in a dataset", model_pickle(archive), False
    for what, archive in probes.hostile(800_000_000 if full else 2**20):
        yield what, model_pickle(archive), True


def _model_refused(name: str, content: bytes, allow_model: bool = True) -> str | None:
    before = model_probes.settings()
    heard, refusal, _ = _load(content, allow_model)
    if heard:
        return f"{name}: {heard}"
    if model_probes.settings() != before:
        return f"{name}: changed a setting"
    reasons = ("holds a model with",) if allow_model else ("asks for a Keras model where none",)
    return None if any(one in refusal for one in reasons) else f"{name}: {refusal or 'loaded'}"


def _sequential() -> object:
    layers = import_keras().layers
    return import_keras().Sequential(
        [
            layers.Input((4, 4, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _archive(model: object) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        model.save(file.name)
        return Path(file.name).read_bytes()


FUNCTIONAL = """
from keras import Input, Model, Sequential, layers

def build_model(input_shape, num_classes):
    pixels = Input(input_shape)
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(pixels))
    inner = Sequential([layers.BatchNormalization(), layers.SeparableConv2D(4, 3, padding="same")])
    joined = layers.Concatenate()([left, layers.Add()([inner(left), left])])
    pooled = layers.GlobalAveragePooling2D()(layers.RandomFlip()(joined))
    return Model(pixels, layers.Dense(num_classes, activation="softmax")(pooled))
"""
SUBCLASSED = """
import keras
from keras import layers

class Mine(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.first, self.pool = layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()
        self.drop = layers.Dropout(0.5)
        self.last = layers.Dense(classes, activation="softmax", dtype="float32")

    def call(self, images, training=False):
        return self.last(self.drop(self.pool(self.first(images / 255)), training=training))

    def get_config(self):
        return {"classes": self.classes}

def build_model(input_shape, num_classes):
    return Mine(num_classes)
"""


def _models(folder: Path, full: bool) -> Iterator[tuple[str, object]]:
    """A model of each shipped kind, some with all that README allows, a subclassed one, backbones."""
    own = folder / "functional.py", folder / "subclassed.py"
    for path, code in zip(own, (FUNCTIONAL, SUBCLASSED), strict=True):
        path.write_text(code)
    if full:
        yield "layers", honest_models.of_layers()
        yield "operations", honest_models.of_operations()
        for name in honest_models.BACKBONES:
            yield name, honest_models.of_backbone(name)
    for path in (*own, *sorted(constants.MODELS.glob("*.py"))):
        for size in (32, 48) if full else (32,):
            yield f"{path.stem} {size}", build(path, (size, size, 3), 10)


def _honest(name: str, model: object) -> str | None:
    images = (
        np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:])).astype("float32")
    )
    expected = model.predict(images, verbose=0)
    _, refusal, loaded = _load(
        pickle.dumps({"model": to_functional(model), "history": {"loss": [0.5]}})
    )
    if refusal:
        return f"{name}: {refusal}"
    equal = np.array_equal(loaded["model"].predict(images, verbose=0), expected)
    return None if equal else f"{name}: predicts something else"
