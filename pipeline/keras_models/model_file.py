"""The model that a file in `models/` describes. To build it is to run the file."""

import importlib.util
import json
import os
import pickle
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import constants
from helper import UserError, printable, read_file
from pipeline.artifacts import keras_archive, safe_pickle
from pipeline.artifacts.keras_import import import_keras
from pipeline.fitting import probabilities
from pipeline.keras_models.keras_graph import has_own_classes, to_functional
from pipeline.problem import Problem

OWN_WAYS = ("fit", "train_step", "compute_loss")


def build(path: Path, input_shape: tuple[int, ...], num_classes: int) -> object:
    """The model that `build_model` in the file at `path` gives for these shapes.

    Raises:
        UserError: the file has no build_model, or it gives something else than class probabilities,
            or what no checkpoint can hold.
    """
    name = f"models/{printable(path.name)}"
    build_model = getattr(_import_file(path), "build_model", None)
    if not callable(build_model):
        raise UserError(
            f"{name} has no build_model(input_shape, num_classes). Copy the example in models/README.md."
        )
    try:
        built = build_model(input_shape, num_classes)
    except Exception as error:  # Keras raises no other than this one
        if not (failed := re.search(r"URL fetch failure on (\S+?):? ", str(error))):
            raise
        home = Path(os.environ.get("KERAS_HOME") or "~/.keras") / "models"
        raise UserError(
            f"{name}: its weights could not be downloaded. Get {printable(failed[1])} by hand, and put"
            f" it into {home}."
        ) from None
    model = _with_input(built, input_shape, name)
    shape = getattr(model, "output_shape", None)
    if shape != (None, num_classes):
        found = f"a model with output shape {shape}" if shape else f"a {type(model).__name__}"
        raise UserError(
            f"{name}: build_model gave {found}, expected a Keras model with output shape"
            f" {(None, num_classes)}. {probabilities.ENDING}"
        )
    _check_checkpoint(model, name)
    if fault := probabilities.fault_of_model(model, input_shape, num_classes):
        raise UserError(
            f"{name}: build_model gave a model that gives {fault}, expected class probabilities: 0"
            f" or more, with a sum of 1 for each image. {probabilities.ENDING}"
        )
    return model


def compiled_by_file(model: object, name: str) -> dict[str, dict]:
    """The warning that a model file calls compile(), by its kind."""
    if not model.compiled:
        return {}
    text = (
        f"models/{printable(name)}.py calls compile(), which is not used: the hyperparameter set says"
        " how the model is trained. Remove the call, and write a set."
    )
    return {"compiled": Problem("compiled", text).as_plain()}


def _with_input(model: object, input_shape: tuple[int, ...], name: str) -> object:
    """A model that knows its shapes only when it is called becomes a layer of one that has an input."""
    keras = import_keras()
    if not isinstance(model, keras.Model) or hasattr(model, "output_shape"):
        return model
    own = [way for way in OWN_WAYS if getattr(type(model), way) is not getattr(keras.Model, way)]
    if own:
        raise UserError(
            f"{name}: {printable(type(model).__name__)} has a {own[0]} of its own, which would not be"
            " used. Remove it: the hyperparameter set says how the model is trained."
        )
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, model(inputs))


def _check_checkpoint(model: object, name: str) -> None:
    """Now, and not when it has been trained."""
    try:
        kept = to_functional(model)
        config = import_keras().saving.serialize_keras_object(kept)
        keras_archive.check_config(json.loads(json.dumps(config)))
        if has_own_classes(model):
            safe_pickle.loads(pickle.dumps(kept), "a checkpoint of it", allow_model=True)
    except keras_archive.NotAllowed as refused:
        raise UserError(
            f"{name}: build_model gave a model with {refused}, which no checkpoint may hold: to load"
            " it could run code or read files. Use what models/README.md says instead."
        ) from None
    except Exception as error:  # whatever the model's own code raises
        raise UserError(
            f"{name}: no checkpoint could be made of it, as that holds Keras's own layers and"
            f" operations alone ({safe_pickle.in_short(error)}). In its call(), use keras.layers and"
            " keras.ops, and give each layer a name of its own or none."
        ) from error


class _Loader(SourceFileLoader):
    """Python's own would wait for a pipe, in place of the file or of what it keeps of it in __pycache__."""

    def get_data(self, path: str) -> bytes:
        return read_file(path, constants.MOST_MODEL_BYTES)


def _import_file(path: Path) -> ModuleType:
    name = f"models.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
