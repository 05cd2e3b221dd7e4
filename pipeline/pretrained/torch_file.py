"""Read the tensors of a PyTorch file as PyTorch before 1.6 wrote it, without PyTorch.

Such a file is five pickles, one after the other (a number to know it by, the protocol, the system, the
tensors, the keys of their storages), and then each storage: its length in 8 bytes, and its numbers.
"""

import io
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
MOST_DIMENSIONS = 8


class TorchFileError(ValueError):
    """The file holds something else than tensors of plain numbers, or is cut off."""


@dataclass(frozen=True)
class _Storage:
    """The numbers that tensors are views of, by their key; they come at the end of the file."""

    key: str
    kind: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor in the order of its own axes: a permuted one lies in its storage in another."""
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        if 0 not in self.shape and last >= len(numbers):
            raise TorchFileError(f"a tensor reaches number {last} of {len(numbers)}")
        strides = [stride * numbers.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, strides, writeable=False
        )
        return np.ascontiguousarray(view).reshape(self.shape)


def _natural(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > MOST_DIMENSIONS:
        raise TorchFileError("a tensor has no tuple of sizes or strides")
    if not all(type(value) is int and 0 <= value < 2**40 for value in values):
        raise TorchFileError("a tensor has a size or a stride that is no natural number")
    return values


def _rebuild_tensor(storage: object, offset: int, shape: object, strides: object, *_) -> _Tensor:
    """In place of torch._utils._rebuild_tensor_v2; whether it needs a gradient plays no part here."""
    if not isinstance(storage, _Storage):
        raise TorchFileError("a tensor has no storage")
    shape, strides = _natural(shape), _natural(strides)
    if len(shape) != len(strides):
        raise TorchFileError("a tensor has as many strides as it has not sizes")
    return _Tensor(storage, *_natural((offset,)), shape, strides)


# All that such a file may name. Nothing is imported for it: these are what it gets.
ALLOWED = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): "FloatStorage",
    ("torch", "LongStorage"): "LongStorage",
    ("collections", "OrderedDict"): OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise TorchFileError(f"it asks for {module}.{name}") from None

    def persistent_load(self, saved: object) -> _Storage:
        match saved:
            case ("storage", str(kind), str(key), str(), int(count), None) if kind in TYPES:
                return _Storage(key, TYPES[kind], *_natural((count,)))
        raise TorchFileError("it names a storage in a way that is not known")


def read_tensors(content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary, by name.

    Raises:
        TorchFileError: `content` is something else, or cut off.
    """
    file = io.BytesIO(content)
    try:
        magic, _, _, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    except TorchFileError:
        raise
    except Exception as error:  # whatever damaged bytes make of the unpickler
        raise TorchFileError(f"it is no PyTorch file of before 1.6 ({error})") from None
    if magic != MAGIC or not isinstance(tensors, dict) or not isinstance(keys, list):
        raise TorchFileError("it is no state dictionary of PyTorch before 1.6")
    if not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise TorchFileError("it holds something else than tensors")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    numbers = {key: _numbers(file, storages.get(key)) for key in keys}
    if not storages.keys() <= numbers.keys():
        raise TorchFileError("a storage is not in it")
    return {name: tensor.of(numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _numbers(file: io.BytesIO, storage: _Storage | None) -> np.ndarray:
    if storage is None:
        raise TorchFileError("a storage belongs to no tensor")
    length = file.read(8)
    if length != struct.pack("<q", storage.count):
        raise TorchFileError(
            f"storage {storage.key} has not as many numbers as it says: {storage.count}"
        )
    numbers = file.read(storage.count * storage.kind.itemsize)
    if len(numbers) != storage.count * storage.kind.itemsize:
        raise TorchFileError(f"it is cut off in storage {storage.key}")
    return np.frombuffer(numbers, storage.kind)
