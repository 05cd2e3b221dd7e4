"""The example beside an exported model: fifteen lines that use it without this project."""

from string import Template

# What imports the library, what opens the model, and what gives the probabilities of a batch.
LIBRARIES = {
    "keras": (
        "keras and tensorflow",
        "import keras",
        'keras.saving.load_model(folder / "model.keras", compile=False)',
        "np.asarray(model(pixels))",
    ),
    "savedmodel": (
        "tensorflow",
        "import tensorflow as tf",
        'tf.saved_model.load(folder / "model")',
        "model.serve(pixels).numpy()",
    ),
    "tflite": (
        "ai-edge-litert",
        "from ai_edge_litert.interpreter import Interpreter",
        'Interpreter(str(folder / "model.tflite")).get_signature_runner()',
        "next(iter(model(**{next(iter(model.get_input_details())): pixels}).values()))",
    ),
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        'onnxruntime.InferenceSession(str(folder / "model.onnx"))',
        "model.run(None, {model.get_inputs()[0].name: pixels})[0]",
    ),
}
# An image of any size in, one of `size` out. With 3.0, Pillow makes very large images smaller in two steps.
FITS = {
    "crop": (
        "    side, middle = min(image.size), (image.width / 2, image.height / 2)\n"
        "    box = [at + half for half in (-side / 2, side / 2) for at in middle]\n"
        "    image = image.resize(size, Image.Resampling.BILINEAR, box, 3.0)\n"
    ),
    "pad": "    image = ImageOps.pad(image, size, Image.Resampling.BILINEAR, background)\n",
    "squeeze": "    image = image.resize(size, Image.Resampling.BILINEAR, None, 3.0)\n",
}
TEXT = Template('''\
"""Print the class of each image: python example.py photo.jpg ... (needs $needs, numpy and pillow)"""

import json
import sys
from pathlib import Path

$library
import numpy as np
from PIL import Image, ImageOps

folder = Path(__file__).resolve().parent
said = json.loads((folder / "model.json").read_text(encoding="utf-8"))
size, background = said["input"]["image_size"], tuple(said["input"]["background"])
model = $opened
for name in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(name)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")
$fitted    pixels = np.asarray(image, np.float32)[None]  # 0 to 255, as the model takes them
    odds = $predicted[0] ** (1 / said["temperature"])  # as sure as it is right
    best = odds.argmax()
    print(f"{name}: {said['class_names'][best]} {odds[best] / odds.sum():.3f}")
''')


def example_file(form: str, fit: str) -> str:
    """Python that prints the class of images named in the command line, for that format and fit."""
    needs, library, opened, predicted = LIBRARIES[form]
    return TEXT.substitute(
        needs=needs, library=library, opened=opened, predicted=predicted, fitted=FITS[fit]
    )
