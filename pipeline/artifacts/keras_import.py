"""Import Keras: without TensorFlow's start-up lines in the terminal, and in two thirds of the time."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# Keras takes them as inputs and draws with them where they are there. Nothing here has it do so.
UNUSED = ("sklearn", "matplotlib", "pandas")


def import_keras() -> ModuleType:
    """The module `keras`, on TensorFlow. Takes seconds the first time."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" in sys.modules:
        return sys.modules["keras"]
    with _silent_stderr(), _as_if_absent(*UNUSED):
        import keras
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # it warns of each model after the fifth in one process
    return keras


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Some lines are written before any log level is read, by C++, past sys.stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _as_if_absent(*libraries: str) -> Iterator[None]:
    hidden = [name for name in libraries if name not in sys.modules]
    # With None in its place, a module is not found.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
