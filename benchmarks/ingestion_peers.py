"""Who reads images into a pickle of arrays: this project, others, and what no one can be faster than.

python benchmarks/ingestion_peers.py NAME FOLDER SIZE      one of them, once: prints JSON

FOLDER holds raw_dataset/photographs, and by_class/ with the same files; the pickle comes into made/.
Each imports what it needs, which does not count, and gives the work, which gives the pickle's path.
"""

import mmap
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from peer_runs import measure
from photographs import SPLITS, rows_of
from processes import ROOT

BATCH = 256
CORES = len(os.sched_getaffinity(0))


def this_project(folder: Path, size: int) -> Callable[[], Path]:
    sys.path.insert(0, str(ROOT))
    import data_ingestion

    places = ["--input-data", str(folder / "raw_dataset"), "--data", str(folder / "made")]

    def work() -> Path:
        options = ["--once", "--poll", "--settle", "0", "--image-size", str(size)]
        data_ingestion.main([*places, *options])
        (path,) = (folder / "made" / "dataset").glob("*.pkl")
        return path

    return work


def opencv_loop(folder: Path, size: int) -> Callable[[], Path]:
    import cv2

    cv2.setNumThreads(1)

    def read(split: str) -> tuple[np.ndarray, np.ndarray]:
        paths, labels = rows(folder, split)
        images = np.empty((len(paths), size, size, 3), np.uint8)
        for place, path in enumerate(paths):
            image = cv2.imread(path)
            if image.shape[:2] != (size, size):
                image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            images[place] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return images, labels

    return lambda: pickled(folder / "made", read)


def tf_data(folder: Path, size: int) -> Callable[[], Path]:
    import tensorflow as tf

    tf.data.Dataset.range(1)  # the first one takes long to make

    def decoded(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.io.decode_png(tf.io.read_file(path), channels=3), label

    def read(split: str) -> tuple[np.ndarray, np.ndarray]:
        files = tf.data.Dataset.from_tensor_slices(rows(folder, split))
        images = files.map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        batches = images.batch(BATCH).prefetch(tf.data.AUTOTUNE)
        return filled(batches.as_numpy_iterator(), len(files), size)

    return lambda: pickled(folder / "made", read)


def keras_from_directory(folder: Path, size: int) -> Callable[[], Path]:
    import keras

    def read(split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = keras.utils.image_dataset_from_directory(
            folder / "by_class" / split,
            image_size=(size, size),
            batch_size=BATCH,
            shuffle=False,
            verbose=False,
        )
        return filled(batches.as_numpy_iterator(), len(batches.file_paths), size)

    return lambda: pickled(folder / "made", read)


def hugging_face(folder: Path, size: int) -> Callable[[], Path]:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hugging_face")}
    import datasets

    datasets.disable_progress_bars()

    def work() -> Path:
        found = datasets.load_dataset(
            "imagefolder", data_dir=folder / "by_class", cache_dir=folder / "made" / "cache"
        )

        def read(split: str) -> tuple[np.ndarray, np.ndarray]:
            images = found[split].with_format("numpy")
            batches = ((some["image"], some["label"]) for some in images.iter(BATCH))
            return filled(batches, len(images), size)

        return pickled(folder / "made", read)

    return work


def only_reading(folder: Path, size: int) -> Callable[[], None]:
    def work() -> None:
        for split in SPLITS:
            for path in rows(folder, split)[0]:
                with open(path, "rb", buffering=0) as file:
                    file.read()

    return work


def only_decoding(folder: Path, size: int) -> Callable[[], None]:
    import pyspng

    def decode(paths: list[str], room: np.ndarray) -> None:
        for image, path in zip(room, paths, strict=True):
            with open(path, "rb", buffering=0) as file:
                image[:] = pyspng.load(file.read())

    def work() -> None:
        on_all_cores(decode, [path for split in SPLITS for path in rows(folder, split)[0]], size)

    return work


def on_all_cores(
    decode: Callable[[list[str], np.ndarray], None], paths: list[str], size: int
) -> None:
    """Decode all files into one array (count, size, size, 3), each process a part of them."""
    room = np.frombuffer(mmap.mmap(-1, len(paths) * size * size * 3), np.uint8)
    room = room.reshape(-1, size, size, 3)
    fork = multiprocessing.get_context("fork")
    parts = [slice(start, None, CORES) for start in range(CORES)]
    each = [fork.Process(target=decode, args=(paths[part], room[part])) for part in parts]
    for process in each:
        process.start()
    for process in each:
        process.join()


PEERS = {  # by name: the library it needs, and how many times as fast this project wants to be
    "this project": (this_project, None, None),
    "OpenCV, a loop in one thread": (opencv_loop, "cv2", 1.2),
    "tf.data with decode_png, tuned": (tf_data, "tensorflow", 1.0),
    "Keras, image_dataset_from_directory": (keras_from_directory, "keras", 2.0),
    "Hugging Face, imagefolder": (hugging_face, "datasets", 2.0),
    "limit: the files' bytes, one thread": (only_reading, None, None),
    "limit: bytes and pyspng, all cores": (only_decoding, "pyspng", None),
}


def rows(folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    return rows_of(folder / "raw_dataset" / "photographs", split)


def filled(batches: Iterable, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels, start = np.empty((count, size, size, 3), np.uint8), [], 0
    for some, their_labels in batches:
        images[start : start + len(some)] = some
        labels.extend(their_labels)
        start += len(some)
    return images, np.array(labels)


def pickled(made: Path, read: Callable[[str], tuple], splits: Iterable[str] = SPLITS) -> Path:
    content = {split: dict(zip(("img", "label"), read(split), strict=True)) for split in splits}
    path = made / "arrays.pkl"
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=5)
    return path


if __name__ == "__main__":
    name, place, side = sys.argv[1:]
    measure(PEERS[name][0](Path(place), int(side)))
