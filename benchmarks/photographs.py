"""Raw datasets of any size, cut from scikit-learn's two photographs: they compress as real ones do."""

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "test")
CLASSES = 10
HEIGHT, WIDTH = 427, 640  # of both photographs
AT_ONCE = 1000


def make_raw_dataset(folder: Path, count: int, size: int) -> None:
    """`count` different images of `size` x `size`, a sixth of them for test, classes in turn."""
    write_rows(folder, count)
    paths = [path for split in SPLITS for path in rows_of(folder, split)[0]]
    side = min(size, 400)
    places = 8 * (HEIGHT - side + 1) * (WIDTH - side + 1)  # each in 2 photographs, turned 4 ways
    cuts = np.random.default_rng(0).choice(places, count, replace=False).tolist()
    with ProcessPoolExecutor() as pool:
        for start in range(0, count, AT_ONCE):
            end = start + AT_ONCE
            pool.submit(save_cuts, paths[start:end], cuts[start:end], side, size)


def write_rows(folder: Path, count: int) -> None:
    for split, some in (("train", count - count // 6), ("test", count // 6)):
        (folder / split).mkdir(parents=True)
        rows = [f"{number:06}.png,{number % CLASSES}" for number in range(some)]
        (folder / split / "groundtruth.csv").write_text("\n".join(["file,label", *rows, ""]))


def rows_of(folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Paths and labels of a split."""
    with open(folder / split / "groundtruth.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [f"{folder}/{split}/{name}" for name, _ in rows], np.array([int(row[1]) for row in rows])


def save_cuts(paths: list[str], cuts: list[int], side: int, size: int) -> None:
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    for path, cut in zip(paths, cuts, strict=True):
        place, kind = divmod(cut, 8)
        top, left = divmod(place, WIDTH - side + 1)
        pixels = photographs[kind % 2][top : top + side, left : left + side]
        pixels = pixels[:: -1 if kind & 2 else 1, :: -1 if kind & 4 else 1]
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if size != side:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        # Pillow's default takes a second for twenty large ones, and makes them hardly smaller.
        image.save(path, compress_level=6 if size < 100 else 3)


def sort_by_class(folder: Path, place: Path) -> None:
    """<place>/<split>/<class>/<name>, as Keras and Hugging Face want it: links to the same files."""
    for split in SPLITS:
        for path, label in zip(*rows_of(folder, split), strict=True):
            kind = place / split / str(label)
            kind.mkdir(parents=True, exist_ok=True)
            os.link(path, kind / Path(path).name)


def link_part(folder: Path, part: Path, count: int) -> None:
    """A raw dataset of `count` images that are links to those of `folder`, again and again."""
    write_rows(part, count)
    for split in SPLITS:
        files = rows_of(folder, split)[0]
        for number, path in enumerate(rows_of(part, split)[0]):
            os.link(files[number % len(files)], path)
