"""Pickles written by hand, opcode by opcode, and what hostile ones hold."""

import io
import json
import zipfile

START = b"\x80\x05"


def text(content: str) -> bytes:
    encoded = content.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def raw(content: bytes) -> bytes:
    return b"B" + len(content).to_bytes(4, "little") + content


def named(module: str, name: str) -> bytes:
    """STACK_GLOBAL: what `module` calls `name`."""
    return text(module) + text(name) + b"\x93"


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def whole(content: bytes) -> bytes:
    return START + content + b"."


def built(instance: bytes, *state: bytes) -> bytes:
    """BUILD: `instance` gets a tuple as its state."""
    return instance + b"(" + b"".join(state) + b"tb"


GETATTR = named("builtins", "getattr")
SEQUENTIAL = named("keras.src.models.sequential", "Sequential")
FROMBUFFER = named("numpy._core.numeric", "_frombuffer")
RECONSTRUCT = named("numpy._core.multiarray", "_reconstruct")
NDARRAY = named("numpy", "ndarray")
EMPTY = called(RECONSTRUCT, NDARRAY, b"K\x00\x85", raw(b"b"))


def dtype(code: str, order: str = "|") -> bytes:
    number = b"J\xff\xff\xff\xff"
    state = (b"K\x03", text(order), b"N", b"N", b"N", number, number, b"K\x00")
    return built(called(named("numpy", "dtype"), text(code), b"\x89", b"\x88"), *state)


def array(content: bytes, code: str, *shape: bytes, order: str = "C") -> bytes:
    return called(FROMBUFFER, content, dtype(code), b"(" + b"".join(shape) + b"t", text(order))


def old_array(content: bytes, code: str, *shape: bytes) -> bytes:
    """An array as protocols 3 and 4 write it."""
    return built(EMPTY, b"K\x01", b"(" + b"".join(shape) + b"t", dtype(code), b"\x89", content)


def model_pickle(archive: bytes, after: bytes = b"") -> bytes:
    stream = built(named("_io", "BytesIO") + b")\x81", raw(archive), b"K\x00", b"N")
    return whole(called(called(GETATTR, SEQUENTIAL, text("_unpickle_model")), stream) + after)


def in_first_layer(**entries):
    return lambda config: config["config"]["layers"][1].update(entries)


def changed(archive: bytes, change) -> bytes:
    """The archive after `change` has had its config.json, a dict."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config)
            new.writestr(name, content)
    return written.getvalue()


KERAS_ESCAPES = {
    "model class of another module": lambda config: config.update(
        module="canary", class_name="run", registered_name="run"
    ),
    "function as the model": lambda config: config.update(
        module="builtins", class_name="function", config="exec", registered_name="exec"
    ),
    "os.system as the model": lambda config: config.update(
        module="os", class_name="system", registered_name="system"
    ),
    "layer of another module": in_first_layer(
        module="canary", class_name="run", registered_name="run"
    ),
    "package that registers itself": in_first_layer(
        module="keras.layers", class_name="run", registered_name="canary>run"
    ),
    "function of another module as an activation": in_first_layer(
        module="keras.layers",
        class_name="Activation",
        config={
            "activation": {
                "module": "canary",
                "class_name": "function",
                "config": "run",
                "registered_name": "run",
            }
        },
    ),
    "reader of files": in_first_layer(
        module="keras.layers", class_name="TFSMLayer", config={"filepath": "canary"}
    ),
    "file reader of Keras": in_first_layer(
        module="keras.utils", class_name="get_file", config={"fname": "canary", "origin": "file:x"}
    ),
    "vocabulary from a file": in_first_layer(
        module="keras.layers", class_name="StringLookup", config={"vocabulary": "canary.py"}
    ),
}


def lists_of_lists(levels: int) -> bytes:
    """Each list holds the one before twice: 2**levels values in a few bytes."""
    twice = b"".join(b"(h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"l\x94" for i in range(levels))
    return whole(b"]\x94" + twice)


def pairs(levels: int) -> bytes:
    """An empty tuple; then each time a pair of what there is and what was memoized, which is the same."""
    return b")" + b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(levels))


CLAIMS = {
    "BINBYTES8": b"\x8e" + (2**40).to_bytes(8, "little") + b"abc",
    "BINBYTES": b"B" + (2**32 - 1).to_bytes(4, "little") + b"abc",
    "BINUNICODE8": b"\x8d" + (2**40).to_bytes(8, "little") + b"abc",
    "BYTEARRAY8": b"\x96" + (2**31).to_bytes(8, "little") + b"abc",
    "BYTEARRAY8 beyond all memory": b"\x96" + (2**60).to_bytes(8, "little") + b"abc",
    "LONG4": b"\x8b" + (2**31 - 1).to_bytes(4, "little") + b"abc",
    "LONG4 below zero": b"\x8b" + (2**31 + 5).to_bytes(4, "little") + b"abc",
    "digits": b"I" + b"9" * 100_000 + b"\n",
}


MEASURE = """
import resource, sys
from pathlib import Path
from pipeline.artifacts.safe_pickle import PickleError, loads

def peak():  # ru_maxrss would be that of the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
before = peak()
for line in sys.stdin:
    try:
        loads(bytes.fromhex(line), "x.pkl")
        outcome = "loaded"
    except PickleError:
        outcome = "refused"
    now = peak()
    print(outcome, (now - before) // 1024)
    before = now
"""
