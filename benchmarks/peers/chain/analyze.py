"""Peer of chain.py: three pictures of how good a model is and where it fails.

python analyze.py dataset.npz model.keras history.json pictures_folder
"""

import json
import sys
from pathlib import Path

import keras
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from sklearn.metrics import ConfusionMatrixDisplay


def main(dataset: str, model_file: str, history_file: str, pictures: str) -> None:
    with np.load(dataset) as arrays:
        images, labels = arrays["test_images"], arrays["test_labels"]
    model = keras.models.load_model(model_file)
    probabilities = model.predict(images, batch_size=512, verbose=0)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    folder = Path(pictures)
    folder.mkdir(exist_ok=True)
    accuracy = float((predicted == labels).mean())
    (folder / "report.json").write_text(json.dumps({"accuracy": accuracy}))
    draw_history(json.loads(Path(history_file).read_text()), folder / "history.png")
    draw_errors(images, labels, predicted, confidence, folder / "errors.png")
    ConfusionMatrixDisplay.from_predictions(labels, predicted)
    pyplot.savefig(folder / "confusion.png")
    pyplot.close("all")


def draw_history(history: dict, path: Path) -> None:
    _, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    for one, name in zip(axes, ("accuracy", "loss"), strict=True):
        one.plot(history[name], label="training")
        one.plot(history[f"val_{name}"], label="validation")
        one.set_xlabel("epoch")
        one.set_title(name)
        one.legend()
    pyplot.savefig(path)


def draw_errors(images, labels, predicted, confidence, path: Path) -> None:
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong])][:25]
    _, axes = pyplot.subplots(5, 5, figsize=(10, 10))
    for one in axes.flat:
        one.axis("off")
    for one, place in zip(axes.flat, worst, strict=False):
        one.imshow(images[place])
        one.set_title(f"{labels[place]}, not {predicted[place]} ({confidence[place]:.0%})")
    pyplot.savefig(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
