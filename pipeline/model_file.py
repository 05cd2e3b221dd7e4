"""The model that a file in `models/` describes. To build it is to run the file."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from helper import UserError, printable


def build(path: Path, input_shape: tuple[int, ...], num_classes: int) -> object:
    """The model that `build_model` in the file at `path` gives for these shapes.

    Raises:
        UserError: the file has no build_model, or it gives something else than class probabilities.
    """
    name = f"models/{printable(path.name)}"
    build_model = getattr(_import_file(path), "build_model", None)
    if not callable(build_model):
        raise UserError(
            f"{name} has no build_model(input_shape, num_classes). Copy the example in models/README.md."
        )
    model = build_model(input_shape, num_classes)
    shape = getattr(model, "output_shape", None)
    if shape != (None, num_classes):
        found = f"a model with output shape {shape}" if shape else f"a {type(model).__name__}"
        raise UserError(
            f"{name}: build_model gave {found}, expected a Keras model with output shape"
            f' {(None, num_classes)}. End it with Dense(num_classes, activation="softmax").'
        )
    return model


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"models.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
