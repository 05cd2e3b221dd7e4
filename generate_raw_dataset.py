"""Make a raw dataset to try everything with: PNG images and their labels, from a known source.

Reads   what scikit-learn brings along, Keras's downloads or IDX files on disk (--source)
Writes  data/raw_dataset/<source>/{train,test}: 000000.png ... and groundtruth.csv

    python generate_raw_dataset.py                                     digits: no network, a second
    python generate_raw_dataset.py --source cifar10 --train 5000 --test 1000
    python generate_raw_dataset.py --source idx --from FOLDER          MNIST-style files
    python generate_raw_dataset.py --source folder --from FOLDER       images of your own, in any layout
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import argparse
import contextlib
import gzip
import io
import math
import os
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import constants
from helper import UserError, flush_folder, printable, shown
from pipeline.stage.terminal import INTERRUPTED, run_script
from pipeline.stage.text import count

SOURCES = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "idx", "folder")
CLASS_NAMES = {
    "cifar10": "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck",
    "cifar100": """apple,aquarium_fish,baby,bear,beaver,bed,bee,beetle,bicycle,bottle,bowl,boy,
        bridge,bus,butterfly,camel,can,castle,caterpillar,cattle,chair,chimpanzee,clock,cloud,
        cockroach,couch,crab,crocodile,cup,dinosaur,dolphin,elephant,flatfish,forest,fox,girl,
        hamster,house,kangaroo,keyboard,lamp,lawn_mower,leopard,lion,lizard,lobster,man,maple_tree,
        motorcycle,mountain,mouse,mushroom,oak_tree,orange,orchid,otter,palm_tree,pear,pickup_truck,
        pine_tree,plain,plate,poppy,porcupine,possum,rabbit,raccoon,ray,road,rocket,rose,sea,seal,
        shark,shrew,skunk,skyscraper,snail,snake,spider,squirrel,streetcar,sunflower,sweet_pepper,
        table,tank,telephone,television,tiger,tractor,train,trout,tulip,turtle,wardrobe,whale,
        willow_tree,wolf,woman,worm""",
    "fashion_mnist": "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
}
DIGITS_TEST = 360  # a fifth of the 1,797 digits, which come without a split of their own
IDX_PREFIX = {"train": "train", "test": "t10k"}
# Each small file takes a whole block of the disk anyway, so packing harder saves nothing.
COMPRESSION = 1


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        done = generate(options)
    except UserError as problem:
        return say(1, str(problem))
    except OSError as error:  # sources turn theirs into a UserError, so this one is the output's
        reason = f"{shown(options.output)} could not be written: {error.strerror or error}"
        return say(1, f"{reason}. Make room there or choose another --output.")
    except KeyboardInterrupt:
        return say(INTERRUPTED, f"stopped; {shown(options.output)} was not written")
    print(done)
    return 0


def say(status: int, sentence: str) -> int:
    print(printable(sentence), file=sys.stderr)
    return status


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a raw dataset to try everything with.")
    add = parser.add_argument
    add(
        "--source",
        choices=SOURCES,
        default="digits",
        help="where the images come from: digits need no network, idx files and a folder of images lie on"
        " the disk, Keras downloads the others (default: %(default)s)",
    )
    add(
        "--from",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="for idx: a folder with MNIST-style IDX files; for folder: one of labelled images in any layout"
        " that ingestion takes, whose split is then kept for good",
    )
    add("--class-names", metavar="A,B,C", help="for idx: names for the labels 0, 1, 2, ...")
    add(
        "--train",
        type=int,
        metavar="N",
        help="so many training images, each class in its share (default: all)",
    )
    add(
        "--test",
        type=int,
        metavar="N",
        help=f"so many test images, likewise (default: all; for digits: {DIGITS_TEST})",
    )
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a new folder (default: data/raw_dataset/SOURCE)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        default=0,
        help="what the parts and the split are drawn with (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.source == "idx" and options.folder is None:
        parser.error("--source idx needs --from FOLDER, the folder with the IDX files")
    if options.source == "folder" and options.folder is None:
        parser.error("--source folder needs --from FOLDER, the folder of labelled images")
    if options.source not in ("idx", "folder") and options.folder:
        parser.error("--from is for --source idx and --source folder only")
    if options.source != "idx" and options.class_names is not None:
        parser.error("--class-names is for --source idx only")
    if options.source == "folder" and (options.train, options.test) != (None, None):
        parser.error("--train and --test are not for --source folder: all its images are taken")
    home = constants.DATA / constants.RAW_DATASETS
    options.output = options.output or home / options.source
    return options


def generate(options: argparse.Namespace) -> str:
    """Do what `options` ask for; return the line that says what was done."""
    began = time.perf_counter()
    refuse_existing(options.output)
    if options.source == "folder":
        return (
            f"{from_folder(options.folder, options.output)} in {time.perf_counter() - began:.1f} s"
        )
    splits = digits(options) if options.source == "digits" else parts(options)
    classes = len(set(splits["train"][1]) | set(splits["test"][1]))
    train, test = (len(splits[split][1]) for split in constants.SPLITS)
    write(options.output, splits)
    what = f"{train:,} training and {count(test, 'test image')}"
    what += f" of {count(classes, 'class', 'classes')}"
    return f"wrote {what} to {shown(options.output)} in {time.perf_counter() - began:.1f} s"


def refuse_existing(output: Path) -> None:
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        cure = "Choose another folder with --output, or move or delete this one."
        raise UserError(f"{shown(output)} exists already. {cure}")


# The sources: {"train": (images, labels), "test": (images, labels)}.


def digits(options: argparse.Namespace) -> dict:
    from sklearn.datasets import load_digits

    from pipeline.images.splitting import stratified_order

    found = load_digits()
    images = (found.images * (255 / 16)).round().astype("uint8")
    test = DIGITS_TEST if options.test is None else options.test
    check_count("--test", test, found.target, len(images) - len(found.target_names))
    train = len(images) - test if options.train is None else options.train
    check_count(
        "--train", train, found.target, len(images) - test, f" beside {count(test, 'test image')}"
    )
    order = stratified_order(found.target, options.seed)
    chosen = {"train": sorted(order[:train]), "test": sorted(order[len(order) - test :])}
    return {split: (images[rows], found.target[rows]) for split, rows in chosen.items()}


def parts(options: argparse.Namespace) -> dict:
    """The asked-for part of each split of a source that has splits of its own, labels by name."""
    import numpy

    found = idx_splits(options.folder) if options.source == "idx" else download(options.source)
    class_names = CLASS_NAMES.get(options.source, options.class_names)
    for split in constants.SPLITS:
        images, labels = found[split]
        rows = part(labels, getattr(options, split), f"--{split}", options.seed)
        if class_names is not None:
            labels = numpy.array(names(class_names, labels.max()))[labels]
        found[split] = images[rows], labels[rows]
    return found


def names(text: str, highest: int) -> list[str]:
    found = [name.strip() for name in text.split(",")]
    if not all(found) or len(set(found)) < len(found) or highest >= len(found):
        expected = f"{highest + 1} or more different names, for the labels 0 to {highest}"
        raise UserError(f'--class-names is "{text}", expected {expected}, with commas between.')
    return found


def part(labels, count: int | None, option: str, seed: int):
    from pipeline.images.splitting import stratified_order

    if count is None:
        return slice(None)
    check_count(option, count, labels, len(labels))
    return sorted(stratified_order(labels, seed)[:count])


def check_count(option: str, count: int, labels, most: int, beside: str = "") -> None:
    least = len(set(labels))
    if not least <= count <= most:
        allowed = f"{least:,} (one of each class) to {most:,}{beside}"
        raise UserError(f"{option} {count} cannot be done: expected {allowed}.")


def from_folder(folder: Path, output: Path) -> str:
    """Copy labelled images of any layout as train/ and test/, split as ingestion would split them."""
    import pandas
    from tqdm import tqdm

    from pipeline.raw_data.folder_scan import scan
    from pipeline.raw_data.ingestion_settings import IngestionSettings
    from pipeline.raw_data.layouts import recognize
    from pipeline.raw_data.raw_dataset import read

    if not folder.is_dir():
        raise UserError(f"--from {shown(folder)} is no folder. Name the folder of labelled images.")
    look = scan(folder)
    layout = recognize(folder, look)
    with tqdm(total=layout.images, leave=False, disable=None) as bar:
        settings = IngestionSettings().with_file(folder)
        raw = read(folder, look, layout, settings, bar.update, leave_out=True)
    with whole_folder(output) as whole:
        for split, files in raw.files.items():
            (whole / split).mkdir()
            names = [
                f"{number:06d}{Path(file).suffix.lower()}" for number, file in enumerate(files)
            ]
            for name, file in zip(names, files, strict=True):
                shutil.copyfile(folder / look.opened_as(file), whole / split / name)
            classes = [raw.class_names[label] for label in raw.splits[split]["label"]]
            table = pandas.DataFrame({"file": names, "label": classes})
            table.to_csv(whole / split / constants.GROUNDTRUTH, index=False)
            flush_folder(whole / split)
    train, test = (len(raw.files[split]) for split in constants.SPLITS)
    left_out = f", {len(raw.left_out):,} damaged left out" if raw.left_out else ""
    return f"wrote {train:,} training and {count(test, 'test image')}{left_out} to {shown(output)}"


def download(source: str) -> dict:
    from pipeline.artifacts.keras_import import import_keras

    datasets = import_keras().datasets
    chatter = sys.stderr if sys.stderr.isatty() else io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter):
            found = getattr(datasets, source).load_data()
    except Exception as error:  # Keras raises Exception itself when there is no network
        reason = str(error).rpartition(" -- ")[2] or type(error).__name__
        cure = "Try again, or use --source digits, which needs no network."
        raise UserError(f"the download of {source} failed: {reason.rstrip('.')}. {cure}") from None
    pairs = ((images, labels.ravel()) for images, labels in found)  # CIFAR's labels are (n, 1)
    return dict(zip(constants.SPLITS, pairs, strict=True))


def idx_splits(folder: Path) -> dict:
    found = {}
    for split, prefix in IDX_PREFIX.items():
        images = read_idx(idx_path(folder, f"{prefix}-images", 3), 3)
        labels = read_idx(idx_path(folder, f"{prefix}-labels", 1), 1)
        if len(images) != len(labels):
            counts = f"{prefix} files hold {count(len(images), 'image')} but {count(len(labels), 'label')}"
            raise UserError(f"{shown(folder)}: the {counts}, expected as many of each.")
        found[split] = images, labels
    return found


def idx_path(folder: Path, start: str, dimensions: int) -> Path:
    spellings = [f"{start}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for path in (folder / name for name in spellings):
        if path.is_file():
            return path
    raise UserError(f"{shown(folder)} has none of these files: {', '.join(spellings)}.")


def read_idx(path: Path, dimensions: int):
    """The array in an IDX file: 00 00 08 <dimensions>, each one's length as uint32, the bytes."""
    import numpy

    content = idx_content(path)
    magic, start = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    if content[:4] != magic or len(content) < start:
        found = (
            f"starts with {content[:4].hex(' ') or 'nothing'} and has {count(len(content), 'byte')}"
        )
        expected = f"{magic.hex(' ')} (IDX, bytes, {dimensions}-dimensional) and {start} or more"
        raise UserError(f"{shown(path)} {found}, expected {expected}.")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape) or 0 in shape:
        found = f"holds {count(len(content) - start, 'byte')} of data"
        expected = f"{math.prod(shape):,} ({' x '.join(map(str, shape))}), and not 0"
        raise UserError(f"{shown(path)} {found}, expected {expected}. Get the file again.")
    return numpy.frombuffer(content, numpy.uint8, offset=start).reshape(shape)


def idx_content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{shown(path)}: {reason}, expected a whole gzip file.") from None
    except OSError as error:
        raise UserError(f"{shown(path)} could not be read: {error.strerror}.") from None


# Writing.


def write(output: Path, splits: dict) -> None:
    from tqdm import tqdm

    count = sum(len(labels) for _, labels in splits.values())
    with whole_folder(output) as folder, tqdm(total=count, leave=False, disable=None) as bar:
        for split in constants.SPLITS:
            write_split(folder / split, *splits[split], bar)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a hidden folder that becomes `path` when the block ends, or vanishes if it fails."""
    path = path.resolve()
    partial = path.with_name(f".{path.name}.partial")
    if partial.exists():  # left by an earlier try that was killed
        shutil.rmtree(partial)
    try:
        partial.mkdir(parents=True)
        yield partial
        os.sync()  # once for all: fsync for each of 60,000 files takes half a minute
        partial.rename(path)  # refuses a `path` that has got content since we looked
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    flush_folder(path.parent)


def write_split(folder: Path, images, labels, bar) -> None:
    """Write `images`, uint8 (count, height, width) or (count, height, width, 3), as PNG files."""
    import pandas
    from PIL import Image

    folder.mkdir()
    files = [f"{number:06d}.png" for number in range(len(images))]
    # In one thread: processes take as long to start as they save.
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(folder / file, compress_level=COMPRESSION)
        bar.update()
    table = pandas.DataFrame({"file": files, "label": labels})
    table.to_csv(folder / constants.GROUNDTRUTH, index=False)
    flush_folder(folder)


if __name__ == "__main__":
    sys.exit(run_script(main))
