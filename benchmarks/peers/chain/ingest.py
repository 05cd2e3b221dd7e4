"""Peer of chain.py: a folder of labelled PNGs into one file. As one would write it: no checks.

python ingest.py raw_folder dataset.npz
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main(raw: str, dataset: str) -> None:
    arrays = {}
    for split in ("train", "test"):
        folder = Path(raw) / split
        with open(folder / "groundtruth.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        images = [
            np.asarray(Image.open(folder / row["file"]).convert("RGB").resize((32, 32)))
            for row in rows
        ]
        arrays[f"{split}_images"] = np.stack(images)
        arrays[f"{split}_labels"] = np.array([int(row["label"]) for row in rows])
    np.savez(dataset, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
