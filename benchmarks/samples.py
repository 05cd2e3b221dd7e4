"""What the benchmarks train on: Fashion-MNIST or, where it is not installed, digits, as datasets."""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from processes import ROOT

sys.path.insert(0, str(ROOT))

from generate_raw_dataset import idx_splits
from pipeline.artifacts import safe_pickle
from pipeline.raw_data.raw_dataset import one_hot

IDX = Path("/usr/share/datasets/fashion-mnist")
INSTALLED = IDX.is_dir()
NAME = "Fashion-MNIST" if INSTALLED else "digits"
NOTE = (
    ""
    if INSTALLED
    else "\nFashion-MNIST is not there (`apt install dataset-fashion-mnist`): digits, repeated."
)
CLASSES = 10


def dataset(train: int, test: int, size: int) -> dict:
    """So many images of each split, as a dataset pickle holds them."""
    splits = idx_splits(IDX) if INSTALLED else _digits()
    return {
        split: _arrays(*splits[split], count, size)
        for split, count in (("train", train), ("test", test))
    }


def _digits() -> dict:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * (255 / 16)).astype(np.uint8)
    return {
        "train": (images[360:], found.target[360:]),
        "test": (images[:360], found.target[:360]),
    }


def _arrays(images: np.ndarray, labels: np.ndarray, count: int, size: int) -> dict:
    labels = np.resize(labels, count).astype(np.int64)  # which repeats what is too short
    images = [_resized(image, size) for image in images[:count]]
    images = np.resize(np.stack(images), (count, size, size))
    rgb = np.repeat(images[..., None], 3, axis=3)
    return {"img": rgb, "label": labels, "class": one_hot(labels, CLASSES)}


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    """As ingestion does it."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def drop(content: dict, folder: Path, number: int) -> float:
    """Rename a dataset into `folder`, one pixel unlike those of other numbers; returns when."""
    content["train"]["img"][0, 0, 0] = number
    counts = {split: len(part["label"]) for split, part in content.items()}
    name = f"2022-06-08 20:57:20.{number:06}"
    return rename_into_place(folder / f"{name}.pkl", content, {"counts": counts})


def rename_into_place(path: Path, content: object, description: dict) -> float:
    """Publish a pickle, its last step a rename; returns when that began."""
    beside = path.parent.with_name("beside") / path.name
    beside.parent.mkdir(exist_ok=True)
    safe_pickle.publish(beside, content, description)
    beside.with_suffix(".json").rename(path.with_suffix(".json"))
    began = time.time()
    beside.rename(path)
    return began
