import io
import pickle
import struct
import sys
from collections import OrderedDict
from types import ModuleType

import numpy as np
import pytest

from pipeline.pretrained.torch_file import MAGIC, TorchFileError, read_tensors


class FloatStorage:
    def __init__(self, key, numbers):
        self.key, self.numbers = key, np.asarray(numbers, np.float32)


def _rebuild_tensor_v2():
    """Only its name goes into a file."""


class Tensor:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return _rebuild_tensor_v2, (*self.arguments, False, OrderedDict())


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    """PyTorch, as far as a pickle names it."""
    names = {"torch": FloatStorage, "torch._utils": _rebuild_tensor_v2}
    for module, value in names.items():
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        setattr(sys.modules[module], value.__name__, value)
        monkeypatch.setattr(value, "__module__", module)


def torch_file(tensors, *storages):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, FloatStorage):
                return "storage", FloatStorage, value.key, "cpu", len(value.numbers), None
            return None

    file = io.BytesIO()
    for value in (MAGIC, 1001, {"little_endian": True}, tensors, [one.key for one in storages]):
        Pickler(file, 2).dump(value)
    for storage in storages:
        file.write(struct.pack("<q", len(storage.numbers)) + storage.numbers.tobytes())
    return file.getvalue()


def test_a_tensor_is_read_by_its_offset_and_strides():
    numbers = FloatStorage("7", range(10))
    tensors = OrderedDict(
        plain=Tensor(numbers, 0, (2, 5), (5, 1)), permuted=Tensor(numbers, 4, (3, 2), (1, 3))
    )
    read = read_tensors(torch_file(tensors, numbers))
    assert read["plain"].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert read["permuted"].tolist() == [[4, 7], [5, 8], [6, 9]]


def test_a_tensor_never_reaches_beyond_its_storage():
    numbers = FloatStorage("7", range(10))
    for arguments in [(1, (2, 5), (5, 1)), (0, (2,), (10,)), (10, (1,), (1,))]:
        with pytest.raises(TorchFileError, match="reaches number"):
            read_tensors(torch_file({"x": Tensor(numbers, *arguments)}, numbers))
    with pytest.raises(TorchFileError, match="no natural number"):
        read_tensors(torch_file({"x": Tensor(numbers, -1, (1,), (1,))}, numbers))


def test_nothing_but_tensors_is_made_of_a_file():
    with pytest.raises(TorchFileError, match=r"asks for builtins.print|asks for __builtin__.print"):
        read_tensors(torch_file({"x": print}))
    with pytest.raises(TorchFileError, match="something else than tensors"):
        read_tensors(torch_file({"x": 1}))


def test_a_file_cut_off_anywhere_is_refused():
    numbers = FloatStorage("7", range(3))
    content = torch_file({"x": Tensor(numbers, 0, (3,), (1,))}, numbers)
    assert read_tensors(content)["x"].tolist() == [0, 1, 2]
    for length in range(len(content)):
        with pytest.raises(TorchFileError):
            read_tensors(content[:length])
