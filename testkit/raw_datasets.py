"""Raw datasets of a few images, made in milliseconds."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


def make_raw_dataset(
    folder: Path, train: int = 60, test: int = 15, names: bool = False, seed: int = 0
) -> Path:
    """A raw dataset of noisy images in three colours, which any model can tell apart."""
    draw = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        rows = ["file,label"]
        for number in range(count):
            name = list(COLOURS)[number % 3]
            pixels = np.clip(draw.normal(COLOURS[name], 30, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{number:06d}.png")
            rows.append(f"{number:06d}.png,{name if names else number % 3}")
        (folder / split / "groundtruth.csv").write_text("\n".join(rows) + "\n")
    return folder
