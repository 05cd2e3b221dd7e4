"""What does each of many raw datasets cost that are dropped at once? And do all of them arrive?

python benchmarks/many_folders.py        some minutes; with QUICK=1: one
"""

import hashlib
import sys
import tempfile
import time
from pathlib import Path

from processes import ROOT, Script
from records import put_raw_dataset
from tables import QUICK, markdown, progress

sys.path.insert(0, str(ROOT))

import constants

COUNTS = (100, 300) if QUICK else (100, 300, 1000, 3000)
IMAGES = 5  # in each split


def main() -> int:
    rows, all_arrived = [], True
    for count in COUNTS:
        progress(f"{count:,} folders")
        with tempfile.TemporaryDirectory() as folder:
            datasets, seconds, cpu = measure(Path(folder), count)
            flushing = flush(Path(folder), count)
        all_arrived = all_arrived and datasets == count
        each = [f"{1000 * some / count:.1f}" for some in (seconds, cpu, flushing)]
        rows.append([f"{count:,}", f"{datasets:,}", f"{seconds:.1f}", *each])
    head = ["folders", "datasets", "seconds", "ms each", "CPU ms each", "limit: ms each"]
    print("## What does each of many raw datasets cost that are dropped at once?\n")
    print(markdown(head, rows))
    print(f"""
From the first of so many renames into place to the last dataset, after the second that a folder has to
settle for; {2 * IMAGES} tiny images in each folder. CPU: of the whole stage, from its start on. Limit: a
loop that writes as many files as large as these datasets, descriptions and tables, and flushes each of
them and its folder to the disk, as the stage does.""")
    return 0 if all_arrived else 1


def measure(folder: Path, count: int) -> tuple[int, float, float]:
    """Datasets at the end, seconds until then, and seconds of CPU time."""
    data, built = folder / "data", folder / "built"
    for number in range(count):
        put_raw_dataset(built / f"{number:05}", number, images=IMAGES)
    script = Script("data_ingestion.py", "--data", data)
    try:
        script.wait_for("watching")
        began = time.time()
        for raw_dataset in sorted(built.iterdir()):
            raw_dataset.rename(data / constants.RAW_DATASETS / raw_dataset.name)
        for _ in range(count):
            ended = script.wait_for("ingested as dataset")
        cpu = script.cpu_seconds()
    finally:
        script.stop()
    datasets = list((data / constants.DATASETS).glob("*.pkl"))
    contents = {hashlib.sha256(path.read_bytes()).digest() for path in datasets}
    return len(contents), ended - began - constants.SETTLE, cpu


def flush(folder: Path, count: int) -> float:
    """Seconds to write as many files, flushed, as `count` datasets are."""
    from helper import whole_file

    sizes = [path.stat().st_size for path in (folder / "data" / constants.DATASETS).iterdir()]
    contents = [bytes(size) for size in sorted(sizes)[:: max(1, len(sizes) // 3)][:3]]
    (folder / "limit").mkdir()
    began = time.perf_counter()
    for number in range(count):
        for part, content in enumerate(contents):
            with whole_file(folder / "limit" / f"{number}.{part}") as file:
                file.write(content)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
