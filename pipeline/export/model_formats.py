"""The formats that a model can be exported to: how each is written, and how its own library runs it.

All are written from the model in float32: TensorFlow Lite converts no other one, and what the weights
are kept in is float32 already. Heavy libraries are imported where a model is there.
"""

import importlib
import importlib.util
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helper import UserError, printable
from pipeline.artifacts.keras_import import import_keras

Run = Callable[[np.ndarray], np.ndarray]
BATCH = 64
HALF = ("bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Format:
    """file: what is written; modules: what that takes beside the project's own requirements.

    write: the model to that path, with a description where the format has room for one.
    opened: gives a function from pixels float32 (count, height, width, 3) to class probabilities.
    """

    file: str
    modules: tuple[str, ...]
    write: Callable[[Any, Path, dict], None]
    opened: Callable[[Path], Run]


def check_modules(name: str) -> None:
    """
    Raises:
        UserError: what writes the format called `name` is not installed.
    """
    missing = [one for one in FORMATS[name].modules if importlib.util.find_spec(one) is None]
    if missing:
        packages = " and ".join(one.replace("_", "-") for one in missing)
        raise UserError(
            f"--format {name} needs {packages}, not installed here. Install what exporting takes:"
            " python -m pip install -r requirements-export.txt"
        )


def converted(name: str, folder: Path, description: dict, model: object) -> Callable:
    """Write `model` in the format called `name` into `folder`; what was written predicts from then on.

    Raises:
        UserError: the format cannot hold it, or cannot be run.
    """
    form = FORMATS[name]
    path = folder / form.file
    shutil.rmtree(path, ignore_errors=True)  # of a process that failed before
    path.unlink(missing_ok=True)
    try:
        form.write(in_float32(model), path, description)
        run = form.opened(path)
    except OSError:
        raise  # a full disk
    except Exception as error:  # whatever a converter comes upon
        raise _no_export(name, description, error) from error

    def predict(
        split: dict[str, np.ndarray], _: str, progress: Callable[[int], object]
    ) -> np.ndarray:
        try:
            return np.concatenate(list(_predicted(run, split["img"], progress)))
        except Exception as error:
            raise _no_export(name, description, error) from error

    return predict


def _no_export(name: str, description: dict, error: Exception) -> UserError:
    said = printable(str(error).strip().split("\n")[0])[:300] or type(error).__name__
    run = description["title"]
    return UserError(f"{run} cannot be exported as {name} ({said}). Use another --format.")


def _predicted(
    run: Run, images: np.ndarray, progress: Callable[[int], object]
) -> Iterable[np.ndarray]:
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH].astype(np.float32)
        yield np.asarray(run(batch), np.float32)
        progress(len(batch))


def in_float32(model: Any) -> Any:
    """The same model on the same weights, with each layer and operation in float32."""
    saving = import_keras().saving
    config = json.loads(json.dumps(saving.serialize_keras_object(model)))
    clone = saving.deserialize_keras_object(_with_float32(config), safe_mode=True)
    clone.set_weights([np.asarray(array, np.float32) for array in model.get_weights()])
    clone(np.zeros((1, *clone.input_shape[1:]), np.float32))  # Keras exports what was called
    return clone


def _with_float32(config: Any) -> Any:
    if isinstance(config, list):
        return [_with_float32(one) for one in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {**config["config"], "name": "float32"}}
    return {
        key: "float32" if key == "dtype" and value in HALF else _with_float32(value)
        for key, value in config.items()
    }


def _write_keras(model: Any, path: Path, _: dict) -> None:
    model.save(path)


def _open_keras(path: Path) -> Run:
    model = import_keras().saving.load_model(path, compile=False)
    return model.predict_on_batch


def _write_savedmodel(model: Any, path: Path, description: dict) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    extra = path / "assets.extra"  # TensorFlow's name for what others add
    extra.mkdir()
    (extra / DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="utf-8")


def _open_savedmodel(path: Path) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return lambda pixels: loaded.serve(pixels).numpy()


def _write_tflite(model: Any, path: Path, description: dict) -> None:
    model.export(path, format="litert", verbose=False)
    # As TensorFlow Lite's own metadata adds files: a zip at the end, which the runtime does not read.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(DESCRIPTION, json.dumps(description, indent=2))
        archive.writestr("labels.txt", "\n".join(map(printable, description["class_names"])))


def _open_tflite(path: Path) -> Run:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    [pixels_in], [out] = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(pixels_in["index"], pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(pixels_in["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])

    return run


def _write_onnx(model: Any, path: Path, description: dict) -> None:
    model.export(path, format="onnx", verbose=False)
    onnx = importlib.import_module("onnx")
    written = onnx.load(path)
    texts = {
        key: printable(value) if isinstance(value, str) else json.dumps(value)
        for key, value in description.items()
    }
    onnx.helper.set_model_props(written, texts)
    onnx.save(written, path)


def _open_onnx(path: Path) -> Run:
    session = importlib.import_module("onnxruntime").InferenceSession(str(path))
    [pixels_in] = session.get_inputs()
    return lambda pixels: session.run(None, {pixels_in.name: pixels})[0]


FORMATS = {
    "keras": Format("model.keras", (), _write_keras, _open_keras),
    "savedmodel": Format("model", (), _write_savedmodel, _open_savedmodel),
    "tflite": Format("model.tflite", ("ai_edge_litert",), _write_tflite, _open_tflite),
    "onnx": Format("model.onnx", ("tf2onnx", "onnx", "onnxruntime"), _write_onnx, _open_onnx),
}
