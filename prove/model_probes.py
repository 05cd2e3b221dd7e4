"""What prove/pickle_code.py tries on models: every name of Keras, in every way; hostile archives.

As a program it loads the worst of them, for strace to watch: its calls to open something lie between
two calls to open BEGIN and END in the given folder.
"""

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

import constants
from pipeline.artifacts import safe_pickle
from pipeline.artifacts.keras_import import import_keras
from testkit import hostile_models
from testkit.hostile_models import archive_of, archive_with, changed, members_of, with_weights

TAKING_FUNCTIONS = (
    *("core.AssociativeScan", "core.Cond", "core.ForiLoop", "core.Map", "core.Scan", "core.Switch"),
    *("core.VectorizedMap", "core.WhileLoop", "linalg.JVP"),
)
PLACEHOLDER = "a layer to put here"
BEGIN, END = "begin", "end"
# What the interpreter and TensorFlow open of the machine itself.
OF_THE_MACHINE = (
    "/proc/",
    "/sys/",
    "/dev/",
    "/etc/ld.so",
    "/usr/",
    "/lib",
    sys.prefix,
    sys.base_prefix,
)
OPENED = re.compile(r'\bopen(?:at)?\((?:AT_FDCWD, )?"([^"]*)"')


def settings() -> tuple:
    """What of this process a model could change."""
    keras = import_keras()
    config = keras.config
    return (
        *(config.floatx(), config.epsilon(), config.backend(), config.image_data_format()),
        *(config.dtype_policy().name, config.is_flash_attention_enabled()),
        dict(keras.saving.get_custom_objects()),
        keras.src.saving.serialization_lib.in_safe_mode(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),
    )


def names() -> list[str]:
    """Each class and function that Keras exports, or defines in a module that is there."""
    keras = import_keras()
    found = set(keras.src.api_export.REGISTERED_NAMES_TO_OBJS)
    for module, content in list(sys.modules.items()):
        if module.startswith("keras.src"):
            found |= {
                f"{module}.{name}"
                for name, one in vars(content).items()
                if callable(one) and getattr(one, "__module__", module) == module
            }
    return sorted(found)


class Probes:
    """Archives of one small model, each with a layer more, or with one that is another."""

    def __init__(self, canary: Path):
        self.canary = canary
        self.honest = archive_of(hostile_models.functional())
        self.members = members_of(archive_of(_smallest()))
        config = json.loads(self.members["config.json"])
        config["config"]["layers"].append(PLACEHOLDER)
        self.config = json.dumps(config)
        dense = config["config"]["layers"][-2]
        self.tensor = dense["inbound_nodes"][0]["args"][0]
        self.dense = {**dense, "name": "more"}

    def of(self, full: str) -> Iterator[tuple[str, bytes]]:
        """The name as a layer, as a setting, as an argument, and for each operation to call."""
        module, _, name = full.rpartition(".")
        path, url = str(self.canary), f"http://canary.invalid/{self.canary.name}"
        function = hostile_models.function(full)
        itself = {"module": module, "class_name": name, "config": {"filepath": path, "url": url}}
        call = {"args": [self.tensor, path, url], "kwargs": {}}
        yield f"{full} as a layer", self._with({**itself, "name": "more", "inbound_nodes": [call]})
        yield (
            f"{full} as a layer without a call",
            self._with({**itself, "name": "more", "inbound_nodes": []}),
        )
        for kind in (itself, function):
            yield f"{full} as a setting", self._with({**self.dense, "config": {"activation": kind}})
            call = {"args": [self.tensor, kind], "kwargs": {}}
            yield f"{full} as an argument", self._with({**self.dense, "inbound_nodes": [call]})
        for operation in TAKING_FUNCTIONS:
            module, _, name = f"keras.src.ops.{operation}".rpartition(".")
            more = {
                "module": module,
                "class_name": name,
                "config": {"name": "more"},
                "name": "more",
            }
            call = {"args": [0, [function], path, url], "kwargs": {}}
            yield f"{full} in {operation}", self._with({**more, "inbound_nodes": [call]})

    def _with(self, layer: dict) -> bytes:
        config = self.config.replace(json.dumps(PLACEHOLDER), json.dumps(layer)).encode()
        return archive_with({**self.members, "config.json": config})

    def hostile(self, bomb: int) -> Iterator[tuple[str, bytes]]:
        """Archives and weights that Keras would not write; one of a `bomb` of so many bytes."""
        for what, (change, _) in hostile_models.ARCHIVES.items():
            yield what, change(self.honest)
        for what, (change, _) in hostile_models.WEIGHTS.items():
            yield what, with_weights(self.honest, change)
        for what, change in hostile_models.attacks(self.canary).items():
            yield what, changed(self.honest, change)
        at_once = hostile_models.with_operation("keras.src.ops.numpy.Tile", 1, 2**20)
        yield "a call without a tensor", changed(self.honest, at_once)
        members = {**self.members, "config.json": b" " * bomb}
        yield "bomb", archive_with(members, zipfile.ZIP_DEFLATED)


def _smallest() -> object:
    keras = import_keras()
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def opened_outside() -> list[str]:
    """What the kernel saw opened, outside of the machine's own folders, or connected to."""
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        log = Path(folder) / "calls"
        watched = [*["strace", "-f", "-s", "300", "-e", "trace=open,openat,connect", "-o"], log]
        program = [sys.executable, "-m", "prove.model_probes", folder]
        subprocess.run([*watched, *program], cwd=constants.ROOT, check=True, capture_output=True)
        lines = log.read_text().splitlines()
    marks = [number for number, line in enumerate(lines) if re.search(rf"/({BEGIN}|{END})\"", line)]
    if len(marks) != 2:
        return [f"{len(marks)} marks in what strace saw"]
    return [line for line in lines[marks[0] + 1 : marks[1]] if _is_outside(line)]


def _is_outside(line: str) -> bool:
    opened = OPENED.search(line)
    return "connect(" in line or bool(opened and not opened[1].startswith(OF_THE_MACHINE))


def can_watch() -> bool:
    return shutil.which("strace") is not None


def main(folder: Path) -> None:
    probes = Probes(folder / "canary")
    pickles = [_model_pickle(archive) for _, archive in probes.hostile(2**20)]
    honest = _model_pickle(probes.honest)
    safe_pickle.loads(
        honest, "x", allow_model=True
    )  # what its first use imports counts for nothing
    _open(folder / BEGIN)
    for content in pickles:
        with suppress(safe_pickle.PickleError):
            safe_pickle.loads(content, "x", allow_model=True)
    _open(folder / END)


def _model_pickle(archive: bytes) -> bytes:
    from testkit.pickles import model_pickle

    return model_pickle(archive)


def _open(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.open().close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
