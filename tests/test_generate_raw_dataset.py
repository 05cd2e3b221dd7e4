"""generate_raw_dataset.py: what it writes, what it refuses and what it leaves behind."""

import gzip
import itertools
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy
import pandas
import pytest
from PIL import Image

import constants
import generate_raw_dataset
from testkit.processes import patience, unmeasured

SCRIPT = Path(generate_raw_dataset.__file__)
RANDOM = numpy.random.default_rng(7)


def generate(*arguments: object) -> int:
    return generate_raw_dataset.main([str(argument) for argument in arguments])


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def read(folder: Path) -> tuple[list[numpy.ndarray], list]:
    table = pandas.read_csv(folder / constants.GROUNDTRUTH)
    assert list(table) == ["file", "label"]
    assert sorted(path.name for path in folder.iterdir()) == [*table["file"], constants.GROUNDTRUTH]
    return [numpy.array(Image.open(folder / name)) for name in table["file"]], list(table["label"])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def idx(array: numpy.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def idx_folder(
    folder: Path, count: int = 40, side: int = 5, spelling: str = "-", end: str = ""
) -> Path:
    """IDX files with `count` images of four classes for training and half as many for testing."""
    folder.mkdir(parents=True)
    for prefix, size in (("train", count), ("t10k", count // 2)):
        images = RANDOM.integers(0, 256, (size, side, side), numpy.uint8)
        labels = numpy.arange(size, dtype=numpy.uint8) % 4
        for kind, array in (("images", images), ("labels", labels)):
            content = gzip.compress(idx(array), 1, mtime=0) if end else idx(array)
            (folder / f"{prefix}-{kind}{spelling}idx{array.ndim}-ubyte{end}").write_bytes(content)
    return folder


def stand_in(monkeypatch, source: str, shape: tuple[int, ...], classes: int, column: bool = False):
    """Small arrays of the real dtypes and ranks in the place of one of Keras's downloads."""
    size = 2 * classes
    labels = (numpy.arange(size) % classes).astype(numpy.uint8)
    labels = labels.reshape(-1, 1) if column else labels
    train, test = (RANDOM.integers(0, 256, (size, *shape), numpy.uint8) for _ in constants.SPLITS)
    loader = SimpleNamespace(load_data=lambda: ((train, labels), (test, labels)))
    keras = SimpleNamespace(datasets=SimpleNamespace(**{source: loader}))
    monkeypatch.setitem(sys.modules, "keras", keras)
    return train


# Digits: what a first try gets.


@pytest.mark.slow
def test_digits_become_a_stratified_raw_dataset(tmp_path, capsys):
    assert generate("--output", tmp_path / "d") == 0
    said = capsys.readouterr()
    assert said.out.startswith("wrote 1,437 training and 360 test images of 10 classes to ")
    assert said.err == ""  # no progress bar where there is no terminal
    train, test = (read(tmp_path / "d" / split) for split in constants.SPLITS)
    assert (len(train[0]), len(test[0])) == (1437, 360)
    whole = numpy.bincount(train[1] + test[1])
    assert numpy.abs(numpy.bincount(test[1]) - whole / 5).max() <= 1
    assert train[0][0].shape == (8, 8)
    assert (numpy.min(train[0]), numpy.max(train[0])) == (0, 255)


@pytest.mark.slow
def test_every_digit_is_in_exactly_one_split(tmp_path):
    from sklearn.datasets import load_digits

    generate("--output", tmp_path / "d")
    written = [image for split in constants.SPLITS for image in read(tmp_path / "d" / split)[0]]
    expected = (load_digits().images * 255 / 16).round().astype(numpy.uint8)
    assert sorted(map(bytes, written)) == sorted(map(bytes, expected))


def test_the_seed_decides_the_split_and_nothing_else_does(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate("--train", 100, "--test", 50, "--seed", seed, "--output", tmp_path / name)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a").keys() == tree(tmp_path / "c").keys()
    assert tree(tmp_path / "a") != tree(tmp_path / "c")


@pytest.mark.parametrize("count", [10, 11, 57])
def test_a_part_has_each_class_in_its_share(tmp_path, count):
    generate("--train", count, "--test", count, "--output", tmp_path / "d")
    for split in constants.SPLITS:
        labels = read(tmp_path / "d" / split)[1]
        assert len(labels) == count
        assert set(numpy.bincount(labels)) <= {count // 10, count // 10 + 1}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--train", "0"], "--train 0 cannot be done: expected 10 (one of each class) to 1,437"),
        (["--train", "-5"], "--train -5 cannot be done"),
        (["--test", "9"], "--test 9 cannot be done: expected 10 (one of each class) to 1,787."),
        (["--test", "1790"], "--test 1790 cannot be done"),
        (["--train", "1500"], "to 1,437 beside 360 test images."),
    ],
)
def test_an_impossible_count_is_one_sentence(tmp_path, capsys, arguments, sentence):
    assert generate(*arguments, "--output", tmp_path / "d") == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# The output appears whole, or not at all.


def test_an_existing_folder_is_refused_and_left_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert generate("--output", tmp_path) == 1
    assert (
        f"{tmp_path} exists already. Choose another folder with --output" in capsys.readouterr().err
    )
    assert tree(tmp_path) == {"mine.txt": b"mine"}


def test_a_folder_filled_meanwhile_is_left_as_it_is(tmp_path):
    with pytest.raises(OSError), generate_raw_dataset.whole_folder(tmp_path / "d") as partial:
        (partial / "new.txt").touch()
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "mine.txt").touch()
    assert list(tree(tmp_path)) == ["d/mine.txt"]


def test_an_empty_folder_is_used(tmp_path):
    assert generate("--train", 20, "--test", 20, "--output", tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(constants.SPLITS)


def test_ctrl_c_leaves_nothing_but_one_line(tmp_path):
    folder = idx_folder(tmp_path / "idx", count=60_000, side=4)
    output = tmp_path / "out" / "d"
    arguments = command("--source", "idx", "--from", folder, "--output", output)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + patience()
    while not (tmp_path / "out" / ".d.partial" / "train" / "000000.png").exists():
        assert process.poll() is None and time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    said = process.communicate()
    assert said == ("", f"stopped; {output} was not written\n")
    assert process.returncode == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupt_between_two_images_leaves_nothing(tmp_path, monkeypatch, capsys):
    save, numbers = Image.Image.save, itertools.count()

    def interrupt(image, *arguments, **keywords):
        if next(numbers) == 1450:  # the training images are whole by then
            raise KeyboardInterrupt
        save(image, *arguments, **keywords)

    monkeypatch.setattr(Image.Image, "save", interrupt)
    assert generate("--output", tmp_path / "d") == 130
    assert capsys.readouterr().err == f"stopped; {tmp_path / 'd'} was not written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_refuses_a_file_leaves_nothing_but_one_line(tmp_path):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # images fit, their list does not

    done = subprocess.run(
        command("--output", tmp_path / "d"),
        preexec_fn=small_files_only,
        env=unmeasured(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    cure = "Make room there or choose another --output."
    assert done.stderr == f"{tmp_path / 'd'} could not be written: File too large. {cure}\n"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_try_left_is_cleared_away(tmp_path):
    left = tmp_path / ".d.partial" / "train"
    left.mkdir(parents=True)
    (left / "999999.png").touch()
    assert generate("--train", 20, "--test", 20, "--output", tmp_path / "d") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
    read(tmp_path / "d" / "train")


# IDX files.


@pytest.mark.parametrize(("spelling", "end"), [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")])
def test_idx_files_are_read_in_every_spelling(tmp_path, spelling, end):
    folder = idx_folder(tmp_path / "idx", spelling=spelling, end=end)
    assert generate("--source", "idx", "--from", folder, "--output", tmp_path / "d") == 0
    path = folder / f"t10k-images{spelling}idx3-ubyte{end}"
    content = gzip.decompress(path.read_bytes()) if end else path.read_bytes()
    images, labels = read(tmp_path / "d" / "test")
    assert b"".join(image.tobytes() for image in images) == content[16:]
    assert labels == [0, 1, 2, 3] * 5


def test_idx_classes_get_the_names_that_are_given(tmp_path):
    folder = idx_folder(tmp_path / "idx")
    arguments = ["--source", "idx", "--from", folder, "--output", tmp_path / "d"]
    assert generate(*arguments, "--class-names", 'cat, dog,a "red" owl,dog;2', "--train", 8) == 0
    names = ["cat", "dog", 'a "red" owl', "dog;2"]
    assert sorted(read(tmp_path / "d" / "train")[1]) == sorted(names * 2)
    assert read(tmp_path / "d" / "test")[1] == names * 5


@pytest.mark.parametrize("names", ["a,b,c", "a,a,b,c", "a,,b,c", ""])
def test_class_names_that_do_not_fit_are_refused(tmp_path, capsys, names):
    folder = idx_folder(tmp_path / "idx")
    arguments = ["--source", "idx", "--from", folder, "--output", tmp_path / "d"]
    assert generate(*arguments, "--class-names", names) == 1
    assert f'is "{names}", expected 4 or more different names' in capsys.readouterr().err


IMAGES = numpy.zeros((20, 5, 5), numpy.uint8)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "train-images-idx3-ubyte",
            idx(IMAGES)[:-7],
            "493 bytes of data, expected 500 (20 x 5 x 5)",
        ),
        ("train-images-idx3-ubyte", idx(IMAGES) + b"1", "holds 501 bytes of data, expected 500"),
        ("train-images-idx3-ubyte", idx(IMAGES)[:9], "and has 9 bytes, expected 00 00 08 03"),
        ("train-images-idx3-ubyte", b"", "starts with nothing and has 0 bytes"),
        ("train-images-idx3-ubyte", idx(IMAGES[:0]), "expected 0 (0 x 5 x 5), and not 0"),
        ("t10k-images-idx3-ubyte", idx(IMAGES.ravel()), "starts with 00 00 08 01"),
        ("t10k-images-idx3-ubyte", b"\x89PNG" + bytes(99), "starts with 89 50 4e 47"),
        ("train-labels-idx1-ubyte", idx(IMAGES[:, 0, 0]), "hold 40 images but 20 labels"),
        (
            "t10k-images-idx3-ubyte.gz",
            gzip.compress(idx(IMAGES), mtime=0)[:-9],
            "expected a whole gzip file",
        ),
        ("t10k-images-idx3-ubyte.gz", b"plain", "expected a whole gzip file"),
    ],
)
def test_a_damaged_idx_file_is_named_with_what_was_expected(
    tmp_path, capsys, name, content, sentence
):
    folder = idx_folder(tmp_path / "idx")
    (folder / name.removesuffix(".gz")).unlink()
    (folder / name).write_bytes(content)
    assert generate("--source", "idx", "--from", folder, "--output", tmp_path / "d") == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert str(folder) in said
    assert said.count("\n") == 1


def test_a_folder_without_idx_files_is_told_what_to_hold(tmp_path, capsys):
    assert generate("--source", "idx", "--from", tmp_path / "no", "--output", tmp_path / "d") == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'no'} has none of these files: train-images-idx3-ubyte, " in said


# Keras's downloads.


def test_cifar10_keeps_its_colours_and_gets_its_names(tmp_path, monkeypatch):
    images = stand_in(monkeypatch, "cifar10", (32, 32, 3), 10, column=True)
    assert generate("--source", "cifar10", "--output", tmp_path / "d") == 0
    written, labels = read(tmp_path / "d" / "train")
    assert numpy.array_equal(written, images)
    assert Image.open(tmp_path / "d" / "train" / "000000.png").mode == "RGB"
    assert labels[:4] == ["airplane", "automobile", "bird", "cat"]


def test_cifar100_has_a_hundred_names(tmp_path, monkeypatch):
    stand_in(monkeypatch, "cifar100", (32, 32, 3), 100, column=True)
    assert generate("--source", "cifar100", "--test", 100, "--output", tmp_path / "d") == 0
    labels = read(tmp_path / "d" / "train")[1]
    assert labels == sorted(set(labels)) * 2  # the source numbers its classes by name
    assert (labels[0], labels[47], labels[99]) == ("apple", "maple_tree", "worm")
    assert set(read(tmp_path / "d" / "test")[1]) == set(labels)


def test_mnist_keeps_its_numbers(tmp_path, monkeypatch):
    images = stand_in(monkeypatch, "mnist", (28, 28), 10)
    assert generate("--source", "mnist", "--output", tmp_path / "d") == 0
    written, labels = read(tmp_path / "d" / "train")
    assert numpy.array_equal(written, images)
    assert labels == [*range(10), *range(10)]


@pytest.mark.slow
def test_fashion_mnist_comes_out_of_keras_without_tensorflows_chatter(tmp_path):
    cache = idx_folder(tmp_path / "datasets" / "fashion-mnist", side=28, end=".gz")
    arguments = command("--source", "fashion_mnist", "--output", tmp_path / "d")
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote 40 training and 20 test images of 4 classes to ")
    images, labels = read(tmp_path / "d" / "test")
    content = gzip.decompress((cache / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert b"".join(image.tobytes() for image in images) == content[16:]
    assert labels == ["T-shirt/top", "Trouser", "Pullover", "Dress"] * 5


@pytest.mark.slow
def test_without_a_network_one_sentence_names_the_way_out(tmp_path):
    nowhere = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "", "KERAS_HOME": str(tmp_path)}
    arguments = command("--source", "cifar10", "--output", tmp_path / "d")
    done = subprocess.run(arguments, env=os.environ | nowhere, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("the download of cifar10 failed: ")
    assert "Connection refused" in done.stderr
    assert done.stderr.endswith("use --source digits, which needs no network.\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "d").exists()


# The command line.


@pytest.mark.parametrize(
    "arguments",
    ["--source imagenet", "--source idx", "--from x", "--class-names a,b", "--seed x", "--train x"],
)
def test_wrong_arguments_exit_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        generate(*arguments.split())
    assert ended.value.code == 2


def test_importing_it_imports_nothing_heavy():
    heavy = {"numpy", "pandas", "PIL", "sklearn", "keras", "tensorflow", "tqdm"}
    code = f"import sys, generate_raw_dataset; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


def test_the_default_output_lies_where_ingestion_looks():
    options = generate_raw_dataset.parse(["--source", "mnist"])
    assert options.output == constants.ROOT / "data" / "raw_dataset" / "mnist"
