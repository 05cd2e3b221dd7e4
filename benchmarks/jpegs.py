"""How fast are folders of JPEGs ingested, beside what people write for that?

python benchmarks/jpegs.py                      two minutes; QUICK=1: half a minute
python benchmarks/jpegs.py FOLDER SIZE          on your own: FOLDER holds one folder of <class>/*.jpg

With pip install -r benchmarks/requirements.txt; whom it does not find it leaves out.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from ingestion_peers import BATCH, CORES, filled, on_all_cores, pickled
from peer_runs import PeerRun, measure
from processes import ROOT
from tables import NOT_INSTALLED, QUICK, alternating, installed, markdown, progress, ratio, spread

ROUNDS = 3
CLASSES = 10
QUALITY = 90
# How many, their height and width, the size in the dataset, how many times as fast as OpenCV's loop.
SETS = (
    (1_400, 375, 500, 128, 2.0),
    (6_000 if QUICK else 60_000, 32, 32, 32, 1.2),
)


def main() -> int:
    print("## How fast are folders of JPEGs ingested?\n")
    if len(sys.argv) == 3:
        (folder,) = filter(Path.is_dir, Path(sys.argv[1]).resolve().iterdir())
        compare(folder, int(sys.argv[2]), None)
    else:
        for count, height, width, size, wanted in SETS:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name) / "photographs"
                progress(f"making {count:,} JPEGs of {width} x {height}")
                make_photographs(folder, count, height, width)
                print(f"{count:,} JPEGs of {width} x {height}, made {size} x {size}:\n")
                compare(folder, size, wanted)
    print(METHOD)
    return 0


METHOD = f"""All read `<class>/*.jpg`, on {CORES} cores, and make a pickle of arrays. They take turns,
each time as a new process whose imports do not count; medians (least-most) of {ROUNDS} rounds. Only this
project checks each file to its last byte, looks for changes, for equal and near duplicates, holds out a
test part and flushes the result to the disk. OpenCV's loop is `imread` and `resize` by areas, and squeezes;
with `IMREAD_REDUCED_COLOR_*` it decodes as small as JPEG allows, as this project does. Ratio: how many
times as fast this project is."""


def make_photographs(folder: Path, count: int, height: int, width: int) -> None:
    """Different cuts of scikit-learn's two photographs, in class folders."""
    with ProcessPoolExecutor() as pool:
        for number in range(CLASSES):
            (folder / f"class_{number}").mkdir(parents=True)
            pool.submit(
                save_cuts, folder / f"class_{number}", number, count // CLASSES, height, width
            )


def save_cuts(folder: Path, seed: int, count: int, height: int, width: int) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs, random = load_sample_images().images, np.random.default_rng(seed)
    for number in range(count):
        photograph = photographs[random.integers(len(photographs))]
        top = random.integers(photograph.shape[0] - height + 1)
        left = random.integers(photograph.shape[1] - width + 1)
        cut = photograph[top : top + height, left : left + width]
        Image.fromarray(cut).save(folder / f"{number:05}.jpg", quality=QUALITY)


def files_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("*/*.jpg"))


def labels_of(files: list[str]) -> np.ndarray:
    classes = [Path(file).parent.name for file in files]
    return np.unique(classes, return_inverse=True)[1]


def this_project(folder: Path, made: Path, size: int) -> Callable[[], Path]:
    sys.path.insert(0, str(ROOT))
    import data_ingestion

    options = ["--once", "--poll", "--settle", "0", "--image-size", str(size)]

    def work() -> Path:
        data_ingestion.main([*options, "--input-data", str(folder.parent), "--data", str(made)])
        (path,) = (made / "dataset").glob("*.pkl")
        return path

    return work


def opencv(folder: Path, made: Path, size: int, reduced: bool) -> Callable[[], Path]:
    import cv2

    cv2.setNumThreads(1)
    flag = reduced_flag(folder, size) if reduced else cv2.IMREAD_COLOR

    def read(_: str) -> tuple[np.ndarray, np.ndarray]:
        files = files_of(folder)
        images = np.empty((len(files), size, size, 3), np.uint8)
        for index, file in enumerate(files):
            image = cv2.imread(file, flag)
            if image.shape[:2] != (size, size):
                image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            images[index] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return images, labels_of(files)

    return lambda: pickled(made, read, ["train"])


def reduced_flag(folder: Path, size: int) -> int:
    """OpenCV's flag to decode JPEGs like the first one as small as they may be for `size`."""
    import cv2

    short = min(cv2.imread(files_of(folder)[0]).shape[:2])
    factor = max((factor for factor in (2, 4, 8) if short >= factor * size), default=1)
    return getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}") if factor > 1 else cv2.IMREAD_COLOR


def torchvision_folder(folder: Path, made: Path, size: int) -> Callable[[], Path]:
    import torch
    from torchvision import datasets, transforms

    resize = transforms.Compose([transforms.Resize((size, size)), transforms.PILToTensor()])

    def read(_: str) -> tuple[np.ndarray, np.ndarray]:
        images = datasets.ImageFolder(str(folder), resize)
        batches = torch.utils.data.DataLoader(images, BATCH, num_workers=CORES)
        arrays = ((some.permute(0, 2, 3, 1).numpy(), labels.numpy()) for some, labels in batches)
        return filled(arrays, len(images), size)

    return lambda: pickled(made, read, ["train"])


def keras_directory(folder: Path, made: Path, size: int) -> Callable[[], Path]:
    import keras

    def read(_: str) -> tuple[np.ndarray, np.ndarray]:
        batches = keras.utils.image_dataset_from_directory(
            folder, image_size=(size, size), batch_size=BATCH, shuffle=False, verbose=False
        )
        return filled(batches.as_numpy_iterator(), len(batches.file_paths), size)

    return lambda: pickled(made, read, ["train"])


def hugging_face(folder: Path, made: Path, size: int) -> Callable[[], Path]:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(made / "hugging_face")}
    import datasets

    datasets.disable_progress_bars()

    def read(_: str) -> tuple[np.ndarray, np.ndarray]:
        images = datasets.load_dataset("imagefolder", data_dir=folder, cache_dir=made / "cache")
        images = images["train"]
        rows = ((row["image"].resize((size, size)), row["label"]) for row in images)
        batches = ((np.asarray(image.convert("RGB"))[None], [label]) for image, label in rows)
        return filled(batches, len(images), size)

    return lambda: pickled(made, read, ["train"])


def only_reading(folder: Path, made: Path, size: int) -> Callable[[], None]:
    def work() -> None:
        for path in files_of(folder):
            with open(path, "rb", buffering=0) as file:
                file.read()

    return work


def only_decoding(folder: Path, made: Path, size: int) -> Callable[[], None]:
    """OpenCV's decoding as small as JPEG allows, on all cores, and nothing else."""
    import cv2

    cv2.setNumThreads(1)
    flag = reduced_flag(folder, size)

    def decode(files: list[str], room: np.ndarray) -> None:
        for image, file in zip(room, files, strict=True):
            image[:] = cv2.resize(cv2.imread(file, flag), (size, size))

    return lambda: on_all_cores(decode, files_of(folder), size)


US = "this project"
OPENCV = "OpenCV, a loop in one thread"
PEERS = {  # by name, with the library that each needs
    US: (this_project, None),
    OPENCV: (partial(opencv, reduced=False), "cv2"),
    "the same, decoded as small as JPEG allows": (partial(opencv, reduced=True), "cv2"),
    "torchvision, ImageFolder in all cores": (torchvision_folder, "torchvision"),
    "Keras, image_dataset_from_directory": (keras_directory, "keras"),
    "Hugging Face, imagefolder": (hugging_face, "datasets"),
    "limit: the files' bytes, one thread": (only_reading, None),
    "limit: the same, all cores, only decoding": (only_decoding, "cv2"),
}
HEADER = ["", "seconds", "images/s", "ratio", "wanted", "CPU seconds", "memory"]


def compare(folder: Path, size: int, wanted: float | None) -> None:
    runs: dict[str, list[PeerRun]] = {}

    def measured(name: str) -> float:
        with tempfile.TemporaryDirectory() as made:
            runs.setdefault(name, []).append(PeerRun("jpegs.py", name, folder, size, made))
        return runs[name][-1].seconds

    names = [name for name, (_, library) in PEERS.items() if not library or installed(library)]
    times = alternating({name: partial(measured, name) for name in names}, ROUNDS)
    count, rows = len(files_of(folder)), []
    for name in PEERS:
        if name not in times:
            rows.append([name, NOT_INSTALLED, *[""] * (len(HEADER) - 2)])
            continue
        rows.append(
            [
                name,
                spread(times[name]),
                spread([count / seconds for seconds in times[name]], ",.0f"),
                f"{ratio(times[US], times[name]):.2f}",
                f"{wanted:.1f}" if wanted and name == OPENCV else "",
                spread([run.cpu for run in runs[name]]),
                f"{max(run.peak for run in runs[name]) / 1e6:.0f} MB",
            ]
        )
    print(markdown(HEADER, rows))
    array = count * size**2 * 3 / 1e6
    print(
        f"\nThe images alone are {array:.0f} MB; wanted are at most {1.3 * array + 200:.0f} MB.\n"
    )


if __name__ == "__main__":
    if len(sys.argv) == 5:
        name, place, side, made = sys.argv[1:]
        measure(PEERS[name][0](Path(place), Path(made), int(side)))
    else:
        sys.exit(main())
