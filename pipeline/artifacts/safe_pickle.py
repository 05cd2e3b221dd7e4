"""Write pickles; read back only the types that this project writes.

To load a pickle means to run what it says, so a file found in a folder is never given to
`pickle.load`. This loader imports nothing that a file names: it hands out functions of its own for
NumPy arrays and Keras models, the only types here beside plain ones, and refuses every other name.

Not covered: a description that somebody rewrote to fit a changed file that holds allowed types only.
"""

import hashlib
import io
import os
import pickle
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, BinaryIO, ClassVar

import numpy as np

from helper import UserError, open_regular, printable, sha256_of, shown, whole_file, write_json
from pipeline.artifacts import keras_archive
from pipeline.artifacts.keras_import import import_keras
from pipeline.artifacts.metadata import read_json
from pipeline.data_folder import FileState, description_path, file_state
from pipeline.json_values import text_in

PROTOCOL = 5
DTYPES = ("u1", "i4", "i8", "f4", "f8", "b1")


class PickleError(UserError):
    """A pickle that is damaged or asks for something that this project never writes. Not loaded."""


def dumps(content: object) -> bytes:
    """Plain content as a pickle that depends on nothing but the content: equal content, equal bytes."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, PROTOCOL)
    pickler.fast = True  # no memo: which strings happen to be one object must not show
    pickler.dump(content)
    return buffer.getvalue()


def publish(
    path: Path,
    content: object,
    description: dict,
    check: Callable[[], object] = bool,
    beside: Mapping[Path, bytes] = MappingProxyType({}),
) -> None:
    """Write `content` to `path`, and before it `description` with the SHA-256 of `path` beside it.

    The pickle's name appears last, after the files `beside` it: whoever sees it finds all of them.
    `check` runs while it is written; what it raises comes out of here, and nothing is published.
    """
    with (
        whole_file(path) as file,
        ThreadPoolExecutor(1) as checker,
        ThreadPoolExecutor(1) as hasher,  # one thread: piece by piece, in their order
    ):
        checking = checker.submit(check)
        hashing = _Hashing(file, hasher)
        pickle.dump(content, hashing, protocol=PROTOCOL)
        file.flush()
        os.fsync(file.fileno())  # this waits for the disk, while the others compute
        checking.result()
        write_json(description_path(path), {**description, "sha256": hashing.hexdigest()})
        # After the description: what died here is begun again under the name that it gives.
        for companion, its_content in beside.items():
            with whole_file(companion) as companion_file:
                companion_file.write(its_content)


def load(path: Path, allow_model: bool = False) -> object:
    """The content of the pickle at `path`, after its SHA-256 was compared with its description's.

    Raises:
        PickleError: damaged, or not of the types that a dataset has (or `allow_model`: a checkpoint).
    """
    expected = read_json(description_path(path)).get("sha256")  # of another type: of another file
    with _reading(path), open(path, "rb", opener=open_regular) as file:
        if expected and hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise PickleError(
                f"{shown(path)} is damaged: its SHA-256 is not the one in"
                f" {description_path(path).name}. Not loaded. Restore the file; if you replaced it"
                " on purpose, delete the .json beside it."
            )
        file.seek(0)
        return _load(file, shown(path), allow_model)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """An OSError in the block says that it is about `path`; only open() does so by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def digest(path: Path) -> str:
    """The SHA-256 that a pickle is known by: what its description says; without one, its bytes'."""
    described = text_in(read_json(description_path(path)), "sha256")
    return described or _digest_of_state(path, file_state(path.stat()))


@lru_cache(maxsize=100_000)
def _digest_of_state(path: Path, state: FileState) -> str:
    """Computed once per state of a file: size, time, inode."""
    return sha256_of(path)


def loads(content: bytes, name: str, allow_model: bool = False) -> object:
    """Like `load`, from bytes; `name` says in errors whose bytes they are."""
    return _load(io.BytesIO(content), name, allow_model)


def _load(file: BinaryIO, name: str, allow_model: bool) -> object:
    try:
        content = _Unpickler(file).load()
        whole = not file.read(1)
        if whole:
            content = _arrays_in(content, _Budget(file.tell(), int(allow_model)))
    except _NotAllowed as refused:
        raise PickleError(
            f"{name} asks for {refused}, which this project never writes. Not loaded."
            " If you did not make this file, delete it."
        ) from None
    except keras_archive.NotAllowed as refused:
        raise PickleError(
            f"{name} holds a model with {refused}, which no checkpoint of this project needs."
            " Not loaded. If you did not make this file, delete it."
        ) from None
    except MemoryError:
        raise PickleError(f"{name} asks for more memory than there is. Not loaded.") from None
    except Exception as error:  # the pickle machine raises nearly anything on damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PickleError(
            f"{name} is no whole pickle of this project ({in_short(error)})."
            " Not loaded. Make it again or delete it."
        ) from None
    if not whole:
        raise PickleError(
            f"{name} goes on after its end. Not loaded. If you did not make this file, delete it."
        )
    return content


def in_short(error: Exception) -> str:
    """Its first sentence: Keras goes on for pages, and says how to switch its safe mode off."""
    text = printable(error).split(". ")[0].rstrip(".")[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Hashing:
    """A file to write to that computes the SHA-256 of what is written, meanwhile."""

    def __init__(self, file: BinaryIO, executor: Executor):
        self.file, self.executor, self.sha256 = file, executor, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.executor.submit(self.sha256.update, content)
        return self.file.write(content)

    def hexdigest(self) -> str:
        return self.executor.submit(self.sha256.hexdigest).result()


class _NotAllowed(Exception):
    pass


class _Fixed:
    """Something handed to a pickle that the pickle cannot change (the BUILD opcode sets attributes)."""

    def __setstate__(self, state: object) -> None:
        raise ValueError("unexpected state")


class _Function(_Fixed):
    __slots__ = ("__call",)

    def __init__(self, call: Callable):
        self.__call = call

    def __call__(self, *arguments: object) -> object:
        return self.__call(*arguments)


class _Name(_Fixed):
    """Stands for a class that is only ever passed on, never called."""

    __slots__ = ()


class _DType:
    """numpy.dtype: a type code, and its byte order as the state that follows."""

    def __init__(self, code: str, *_: object):
        if code not in DTYPES:
            raise _NotAllowed(f"arrays of type {printable(code)}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """numpy.ndarray as protocols below 5 write it: empty first, its content as the state that follows."""

    def __init__(self) -> None:
        self.array = np.empty(0, "u1")

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def _array(
    content: bytes | bytearray,
    dtype: _DType,
    shape: tuple,
    order: Any,  # in a pickle it may be anything
    axes: tuple[int, ...] | None = None,
) -> np.ndarray:
    """`axes` comes with order "K": an array with its axes turned, such as one made channels-last."""
    if not isinstance(content, bytes | bytearray) or not isinstance(dtype, _DType):
        raise TypeError("not an array of numbers")
    turned = order == "K" and axes is not None
    array = np.frombuffer(content, dtype.dtype).reshape(shape, order="C" if turned else order)
    if array.shape != shape:  # NumPy would work out a -1
        raise ValueError("the shape of an array is not the one of its content")
    if turned:
        array = array.transpose(axes)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


class _Budget:
    """How many values a pickle may still hold: no more than it has bytes, and one model at most.

    A list that holds one list twice, and that another twice, and so on: 100 of them are 2**100 values.
    """

    def __init__(self, left: int, models: int):
        self.left, self.models = left, models

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError("the same value in too many places")

    def take_model(self) -> None:
        self.models -= 1
        if self.models < 0:
            raise _NotAllowed("a Keras model where none belongs")


def _arrays_in(content: object, budget: _Budget) -> object:
    """`content` with the stand-ins replaced by their arrays and models."""
    budget.take()
    if isinstance(content, _Array):
        return content.array
    if isinstance(content, _Model):
        budget.take_model()
        return content.load()
    if isinstance(content, dict):
        return {key: _arrays_in(value, budget) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_arrays_in(value, budget) for value in content)
    return content


class _Bytes:
    """io.BytesIO: what a Keras model's archive lies in."""

    def __setstate__(self, state: tuple) -> None:
        if not isinstance(state[0], bytes):  # bytes(10**10) would be 10 GB of zeros
            raise TypeError("not the bytes of an archive")
        self.content = state[0]


class _Model(_Fixed):
    """A Keras model, loaded from its archive once the pickle has been read to its end."""

    def __init__(self, archive: _Bytes):
        self.archive = archive

    def load(self) -> object:
        """Keras is given what was checked, and nothing else; it loads models from files alone."""
        checked = keras_archive.checked(self.archive.content)
        keras = import_keras()
        with tempfile.NamedTemporaryFile(suffix=".keras") as file, _nothing_registered(keras):
            keras_archive.write(file, *checked)
            file.flush()
            return keras.saving.load_model(file.name, compile=False, safe_mode=True)


@contextmanager
def _nothing_registered(keras: ModuleType) -> Iterator[None]:
    """Keras would hand each registered class to an archive that names it."""
    registered = keras.saving.get_custom_objects()
    kept = dict(registered)
    registered.clear()
    try:
        yield
    finally:
        registered.update(kept)


_MODEL = _Name()


def _model_loader(owner: object, name: str) -> _Function:
    """getattr, as far as a Keras model needs it: the class method that loads it."""
    if owner is not _MODEL or name != "_unpickle_model":
        raise _NotAllowed(f"the attribute {printable(name)}")
    return _Function(_Model)


ALLOWED = {
    "numpy.dtype": _DType,
    "numpy.ndarray": _Name(),
    "numpy._core.numeric._frombuffer": _Function(_array),
    "numpy._core.multiarray._reconstruct": _Function(lambda *_: _Array()),
    "builtins.getattr": _Function(_model_loader),
    "_io.BytesIO": _Bytes,
    "keras.src.models.sequential.Sequential": _MODEL,
    "keras.src.models.functional.Functional": _MODEL,
}


_InPython: Any = pickle._Unpickler  # typeshed has none of its methods


class _Unpickler(_InPython):
    """The unpickler in Python: the one in C sets aside 16 GB when 10 bytes name a high memo place."""

    dispatch: ClassVar[dict] = dict(_InPython.dispatch)

    def find_class(self, module: str, name: str) -> object:
        # NumPy 1 called its inner package "core"; Debian's NumPy and old files still do.
        asked = f"{module}.{name}".replace("numpy.core.", "numpy._core.")
        if asked not in ALLOWED:
            raise _NotAllowed(printable(asked))
        return ALLOWED[asked]

    def load_frame(self) -> None:
        """Frames only make reading faster, and one could hide bytes after the end."""
        self.read(8)

    def load_bytearray8(self) -> None:
        """Takes no more memory than there are bytes; the original sets aside what the pickle claims."""
        (size,) = struct.unpack("<Q", self.read(8))
        content = bytearray()
        while len(content) < size:
            part = self.read(min(size - len(content), 2**24))
            if not part:
                raise EOFError
            content += part
        self.append(content)

    def load_setitem(self) -> None:
        self._check_keys(self.stack[-2:])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._check_keys(self.stack)  # what came since the mark
        super().load_setitems()

    def load_dict(self) -> None:
        self._check_keys(self.stack)
        super().load_dict()

    def _check_keys(self, items: list) -> None:
        """A tuple that holds one tuple twice, and so on, takes forever to hash."""
        for key in items[::2]:
            if not isinstance(key, str | int | float | bytes | None):
                raise ValueError(f"a dict with a {type(key).__name__} as a key")

    def load_set_items(self) -> None:
        raise ValueError("a set")

    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_set_items
    dispatch[pickle.FROZENSET[0]] = load_set_items
