"""raw_dataset.py: what it finds, what it says is missing, and what it reads."""

import errno
import os
import resource
import shutil
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.images import reader_processes
from pipeline.problem import RawDatasetError
from pipeline.raw_data.folder_scan import FolderScan, scan
from pipeline.raw_data.ingestion_settings import IngestionSettings
from pipeline.raw_data.layouts import recognize
from pipeline.raw_data.raw_dataset import RawDataset, find_raw_datasets, one_hot, read

SIZE = 6
NOT_PLAIN = "is not a plain file (a link, a folder or a device)."


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The files that were opened since."""
    paths, real_open = [], os.open

    def counted(path, *arguments, **options):
        paths.append(os.fspath(path))
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", counted)
    return paths


def picture(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def save(pixels: np.ndarray, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG", **options)


def make(folder: Path, train: dict[str, str], test: dict[str, str]) -> Path:
    """A raw dataset: the label of each image by its name, with pixels of its own."""
    for number, (split, labels) in enumerate([("train", train), ("test", test)]):
        for place, name in enumerate(labels):
            save(picture(1000 * number + place), folder / split / name)
        write_rows(folder, split, labels)
    return folder


def write_rows(folder: Path, split: str, labels: dict[str, str]) -> None:
    text = "".join(f"{name},{label}\n" for name, label in labels.items())
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / split / "groundtruth.csv").write_text(text)


def small(folder: Path) -> Path:
    return make(folder, {"b.png": "cat", "a.png": "dog", "c.png": "cat"}, {"a.png": "dog"})


def found_in(folder: Path, look: FolderScan | None = None) -> list[str]:
    try:
        recognize(folder, look or scan(folder))
    except RawDatasetError as error:
        return list(map(str, error.problems))
    return []


def load(
    folder: Path, size: int = SIZE, look: FolderScan | None = None, progress=lambda count: None
) -> RawDataset:
    look = look or scan(folder)
    return read(folder, look, recognize(folder, look), IngestionSettings(size), progress)


def refusals(folder: Path) -> list[str]:
    with pytest.raises(RawDatasetError) as refused:
        load(folder)
    return list(map(str, refused.value.problems))


# Which folders are raw datasets.


def test_finds_the_visible_folders_and_the_folder_itself_if_it_has_a_split(tmp_path):
    for name in ("b", "a", ".hidden", "c/train"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("no folder")
    assert find_raw_datasets(tmp_path) == [tmp_path / name for name in "abc"]
    (tmp_path / "test").mkdir()
    assert find_raw_datasets(tmp_path) == [tmp_path, *(tmp_path / name for name in "abc")]
    (tmp_path / "train").mkdir()
    assert find_raw_datasets(tmp_path) == [tmp_path, *(tmp_path / name for name in "abc")]


def test_finds_nothing_in_an_empty_folder(tmp_path):
    assert find_raw_datasets(tmp_path) == []


def test_a_link_to_a_folder_is_found_and_one_to_nowhere_is_not(tmp_path):
    place = tmp_path / "raw"
    small(tmp_path / "elsewhere")
    place.mkdir()
    (place / "link").symlink_to(tmp_path / "elsewhere")
    (place / "nowhere").symlink_to(tmp_path / "gone")
    (place / "circle").symlink_to("circle")
    (place / "long").symlink_to("x" * 300)
    (place / "train").symlink_to("train")
    assert find_raw_datasets(place) == [place / "link"]
    assert found_in(place / "link") == []


# Has anything changed?


def replace_with_same_size_and_time(path: Path) -> None:
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def move_another_over(path: Path) -> None:
    status, other = path.stat(), path.with_name("other")
    shutil.copy2(path, other)
    os.replace(other, path)
    assert path.stat().st_mtime_ns == status.st_mtime_ns


def append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)


CHANGES = {
    "content": lambda folder: save(picture(9), folder / "train/a.png"),
    "same size and time": lambda folder: replace_with_same_size_and_time(folder / "train/a.png"),
    "another moved over it": lambda folder: move_another_over(folder / "train/a.png"),
    "a byte more": lambda folder: append(folder / "test/groundtruth.csv", b"\n"),
    "time only": lambda folder: os.utime(folder / "test/a.png"),
    "renamed": lambda folder: (folder / "train/a.png").rename(folder / "train/z.png"),
    "swapped": lambda folder: [
        (folder / "train" / one).rename(folder / "train" / other)
        for one, other in [("a.png", "x"), ("b.png", "a.png"), ("x", "b.png")]
    ],
    "added": lambda folder: (folder / "train/new.txt").write_text(""),
    "removed": lambda folder: (folder / "train/b.png").unlink(),
    "moved to the other split": lambda folder: (folder / "train/b.png").rename(
        folder / "test/b.png"
    ),
    "a folder added": lambda folder: (folder / "train/more").mkdir(),
    "a link added": lambda folder: (folder / "train/link.png").symlink_to("a.png"),
    "a split removed": lambda folder: shutil.rmtree(folder / "test"),
    "the splits swapped": lambda folder: [
        (folder / one).rename(folder / other)
        for one, other in [("train", "x"), ("test", "train"), ("x", "test")]
    ],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_fingerprint_changes_with(tmp_path, change):
    small(tmp_path)
    before = scan(tmp_path).fingerprint()
    change(tmp_path)
    assert scan(tmp_path).fingerprint() != before


def test_the_fingerprint_stays_while_nothing_changes(tmp_path):
    folder = small(tmp_path / "one")
    (folder / "train/more").mkdir()
    before = scan(folder).fingerprint()
    load(folder)
    (folder / "README.md").write_text("beside the splits")
    (folder / ".DS_Store").write_text("")
    assert scan(folder).fingerprint() == before
    folder.rename(tmp_path / "other")
    assert scan(tmp_path / "other").fingerprint() == before


def test_files_that_come_and_go_while_it_looks_do_not_hide_the_folder(tmp_path):
    folder = small(tmp_path)
    for number in range(300):
        (folder / "train" / f"{number}.txt").write_text("")
    stop = threading.Event()

    def copy_on():
        for number in range(10**9):
            if stop.is_set():
                return
            place = folder / "train" / f".{number % 50}.partial"
            place.touch()
            place.unlink()

    copier = threading.Thread(target=copy_on)
    copier.start()
    try:
        for _ in range(60):
            split = scan(folder).folders["train"]
            assert len(split.images) == 3
    finally:
        stop.set()
        copier.join()


# What is missing or wrong.


def test_a_whole_raw_dataset_has_no_problem(tmp_path):
    assert found_in(small(tmp_path)) == []


def test_says_which_split_is_not_there_yet(tmp_path):
    folder = small(tmp_path)
    shutil.rmtree(folder / "test")
    assert found_in(folder) == ["test: there is no folder test/ yet."]
    (folder / "test").symlink_to("test")
    assert found_in(folder) == ["test: there is no folder test/ yet."]


def test_says_that_a_folder_cannot_be_looked_into(tmp_path, monkeypatch):
    folder, real_scandir = small(tmp_path), os.scandir

    def refuse(path):
        if str(path).endswith("test"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found_in(folder) == [
        "test: the folder test/ cannot be read: Permission denied. Make it readable."
    ]


def test_says_that_the_csv_is_not_there_yet(tmp_path):
    folder = small(tmp_path)
    (folder / "train/groundtruth.csv").unlink()
    assert found_in(folder) == [
        'train/groundtruth.csv is not there yet. It needs a row "file,label" for each image.'
    ]


def test_says_how_many_images_are_not_there_yet(tmp_path):
    folder = small(tmp_path)
    write_rows(folder, "train", {f"{number:06}.png": "dog" for number in range(1234)})
    for number in range(3):
        save(picture(number), folder / "train" / f"{number:06}.png")
    for name in "abc":
        (folder / "train" / f"{name}.png").unlink()
    assert found_in(folder) == [
        "train: 1,231 of 1,234 listed images are not there yet, first 000003.png (row 4)."
    ]


def test_says_one_missing_image_in_good_english(tmp_path):
    folder = small(tmp_path)
    (folder / "train/c.png").unlink()
    assert found_in(folder) == [
        "train: 1 of 3 listed images is not there yet, first c.png (row 3)."
    ]


def test_says_which_images_have_no_row_yet(tmp_path):
    folder = small(tmp_path)
    save(picture(1), folder / "train/new\n.PNG")
    (folder / "train/notes.txt").write_text("other files may lie there")
    assert found_in(folder) == [
        r"train: 1 of 4 images has no row in groundtruth.csv yet, first new\n.PNG."
    ]
    save(picture(1), folder / "train/0.png")
    assert found_in(folder) == [
        "train: 2 of 5 images have no row in groundtruth.csv yet, first 0.png."
    ]


def test_says_all_at_once(tmp_path):
    folder = small(tmp_path)
    (folder / "train/a.png").rename(folder / "train/z.png")
    write_rows(folder, "test", {"a.png": "cow"})
    assert found_in(folder) == [
        "train: 1 of 3 listed images is not there yet, first a.png (row 2).",
        "train: 1 of 3 images has no row in groundtruth.csv yet, first z.png.",
        'test: no training image has the label "cow" (1 image, first test/a.png, row 1).'
        " Add training images of each class, or correct the labels.",
    ]
    write_rows(folder, "train", {"a.png": "", "b.txt": "cat"})
    assert found_in(folder) == [
        "train/groundtruth.csv: 1 row has no label, first a.png (row 1). Add it.",
        'train/groundtruth.csv: 1 row names no image, first "b.txt" (row 2). An image is known by its'
        " extension, such as .png or .jpg.",
    ]


IN_PLACE_OF_A_FILE = {
    "a link to outside": lambda path: path.symlink_to("/etc/passwd"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("put", IN_PLACE_OF_A_FILE.values(), ids=IN_PLACE_OF_A_FILE)
class TestInPlaceOfAFile:
    def test_it_is_named_and_not_opened_for_an_image(self, tmp_path, put, opened):
        folder = small(tmp_path)
        (folder / "train/a.png").unlink()
        put(folder / "train/a.png")
        opened.clear()
        assert found_in(folder) == [
            f"train/groundtruth.csv, row 2: a.png {NOT_PLAIN} Copy the image itself there."
        ]
        csvs = [str(folder / split / "groundtruth.csv") for split in ("train", "test")]
        assert [path for path in opened if path not in csvs] == []

    def test_it_is_named_and_not_opened_for_the_csv(self, tmp_path, put, opened):
        folder = small(tmp_path)
        (folder / "train/groundtruth.csv").unlink()
        put(folder / "train/groundtruth.csv")
        opened.clear()
        assert found_in(folder) == [f"train/groundtruth.csv {NOT_PLAIN} Put the file itself there."]
        assert opened == [str(folder / "test/groundtruth.csv")]

    def test_it_does_not_deceive_a_read_that_took_stock_before(self, tmp_path, put):
        folder = small(tmp_path)
        stock = scan(folder)
        (folder / "train/a.png").unlink()
        put(folder / "train/a.png")
        with pytest.raises(RawDatasetError) as refused:
            load(folder, look=stock)
        said = str(refused.value)
        assert said.startswith("train/a.png (row 2) cannot be read: ")
        assert said.endswith(". Replace the image.")


def test_a_row_cannot_reach_a_file_outside_its_split(tmp_path, opened):
    folder = small(tmp_path / "raw")
    save(picture(5), tmp_path / "secret.png")
    save(picture(5), tmp_path / "train/secret.png")
    paths = ["../../secret.png", str(tmp_path / "secret.png"), "../train/../../secret.png"]
    paths += [str(tmp_path / "train/secret.png"), "../../train/secret.png", "..\\secret.png"]
    for path in paths:
        write_rows(folder, "train", {"a.png": "dog", "b.png": "cat", "c.png": "cat", path: "cat"})
        opened.clear()
        assert "secret.png" in " ".join(found_in(folder))
        assert "secret.png" in " ".join(refusals(folder))
        assert {Path(name).parent for name in opened} <= {folder / "train", folder / "test"}


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    folder = small(tmp_path)
    for name in ("a.png", "groundtruth.csv"):
        with open(folder / "train" / name, "wb") as file:
            file.truncate(2**30 + 1)  # a hole: it takes no room on the disk
    tracemalloc.start()
    assert found_in(folder) == [
        "train/groundtruth.csv cannot be read: it has 1,073,741,825 bytes, at most 1,073,741,824"
        " are allowed."
        " Make it readable."
    ]
    write_rows(folder, "train", {"a.png": "dog", "b.png": "cat", "c.png": "cat"})
    assert refusals(folder) == [
        "train/a.png (row 1) cannot be read: it has 1,073,741,825 bytes, at most 268,435,456 are"
        " allowed."
        " Replace the image."
    ]
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_too_many_open_files_are_no_fault_of_the_raw_dataset(tmp_path):
    folder = small(tmp_path)
    stock = scan(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # those that are open stay open
    try:
        for look in (scan, lambda folder: found_in(folder, stock)):
            with pytest.raises(OSError, match="Too many open files"):
                look(folder)
        with pytest.raises(OSError, match="Too many open files"):
            load(folder, look=stock)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        def use_all(count: int) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

        with pytest.raises(OSError, match="Too many open files"):
            load(folder, look=stock, progress=use_all)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert load(folder).class_names == ["cat", "dog"]


# What is read.


def test_reads_pixels_labels_and_names_in_the_order_of_the_csv(tmp_path):
    raw = load(small(tmp_path))
    assert raw.class_names == ["cat", "dog"]
    assert raw.files == {
        "train": ["train/b.png", "train/a.png", "train/c.png"],
        "test": ["test/a.png"],
    }
    assert {name: set(split) for name, split in raw.splits.items()} == {
        "train": {"img", "label", "class"},
        "test": {"img", "label", "class"},
    }
    train, test = raw.splits["train"], raw.splits["test"]
    assert (train["img"].dtype, train["img"].shape) == (np.uint8, (3, SIZE, SIZE, 3))
    assert (train["label"].dtype, train["label"].shape) == (np.int64, (3,))
    assert (train["class"].dtype, train["class"].shape) == (np.float32, (3, 2))
    np.testing.assert_array_equal(train["img"], [picture(0), picture(1), picture(2)])
    np.testing.assert_array_equal(train["label"], [0, 1, 0])
    np.testing.assert_array_equal(train["class"], [[1, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(test["img"], [picture(1000)])
    np.testing.assert_array_equal(test["class"], [[0, 1]])


def test_whole_number_labels_stay_as_they_are(tmp_path):
    raw = load(make(tmp_path, {"a.png": "1", "b.png": "0"}, {"c.png": "1"}))
    np.testing.assert_array_equal(raw.splits["train"]["label"], [1, 0])
    assert raw.splits["test"]["class"].tolist() == [[0, 1]]
    assert raw.class_names == ["0", "1"]


def test_one_hot_of_no_label_is_empty():
    assert one_hot(np.array([], np.int64), 3).shape == (0, 3)


def test_progress_counts_each_image_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_processes, "MOST_AT_ONCE", 2)
    folder, counts = small(tmp_path), []
    load(folder, progress=counts.append)
    assert counts == [2, 1, 1]


def test_a_later_change_of_the_folder_does_not_change_what_was_read(tmp_path):
    raw = load(small(tmp_path))
    shutil.rmtree(tmp_path / "train")
    np.testing.assert_array_equal(raw.splits["train"]["img"][0], picture(0))


# What is refused.


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])


def test_a_damaged_image_is_named_with_file_and_row(tmp_path):
    folder = small(tmp_path)
    damage(folder / "train/a.png")
    assert found_in(folder) == []
    assert refusals(folder) == [
        "train/a.png (row 2) is cut off: it has no end (IEND). Replace the image."
    ]


def test_a_damaged_image_is_named_whatever_is_wrong(tmp_path):
    folder = small(tmp_path)
    (folder / "train/a.png").write_bytes(b"")
    stock = scan(folder)
    (folder / "test/a.png").unlink()
    with pytest.raises(RawDatasetError) as refused:
        load(folder, look=stock)
    assert list(map(str, refused.value.problems)) == [
        "train/a.png (row 2) is empty. Replace the image.",
        "test/a.png (row 1) cannot be read: No such file or directory. Replace the image.",
    ]


@pytest.mark.parametrize("at_once", [1, 4, 256])
def test_all_damaged_images_are_named_and_summed_up(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(reader_processes, "MOST_AT_ONCE", at_once)
    folder = make(tmp_path, {f"{n}.png": "0" for n in range(9)}, {"t.png": "0"})
    for path in [*folder.glob("train/[1-8].png"), folder / "test/t.png"]:
        damage(path)
    with pytest.raises(RawDatasetError) as refused:
        load(folder)
    cut_off = "is cut off: it has no end (IEND). Replace the image."
    assert list(map(str, refused.value.problems)) == [
        *(f"train/{n}.png (row {n + 1}) {cut_off}" for n in range(1, 9)),
        f"test/t.png (row 1) {cut_off}",
    ]
    first = " ".join(f"train/{n}.png (row {n + 1}) {cut_off}" for n in range(1, 6))
    assert str(refused.value) == f"{first} And 4 more."


def test_a_csv_that_became_wrong_is_refused(tmp_path):
    folder = small(tmp_path)
    write_rows(folder, "test", {"a.png": "cow"})
    assert refusals(folder) == [
        'test: no training image has the label "cow" (1 image, first test/a.png, row 1).'
        " Add training images of each class, or correct the labels."
    ]


# What makes two raw datasets the same.


def recompress(folder: Path) -> None:
    for path in folder.glob("*/*.png"):
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "written again")
        with Image.open(path) as image:
            image.load()
        image.save(path, "PNG", compress_level=0, pnginfo=text)


def rename_images(folder: Path) -> None:
    for split in ("train", "test"):
        csv = folder / split / "groundtruth.csv"
        csv.write_text(csv.read_text().replace(".png", "_new.png"))
        for path in list((folder / split).glob("*.png")):
            path.rename(path.with_stem(f"{path.stem}_new"))


SAME = {
    "all times": lambda folder: [os.utime(path, (1, 1)) for path in folder.glob("*/*")],
    "how the PNGs are compressed": recompress,
    "the images' names": rename_images,
    "a header row": lambda folder: (folder / "test/groundtruth.csv").write_text(
        "file,label\r\ntrain\\..\\test\\a.png,dog\r\n"
    ),
    "files beside": lambda folder: (folder / "train/notes.txt").write_text("more"),
}
DIFFERENT = {
    "a pixel": lambda folder: save(
        picture(0) ^ np.eye(SIZE, dtype=np.uint8)[0, 0], folder / "train/b.png"
    ),
    "a label": lambda folder: write_rows(
        folder, "train", {"b.png": "cat", "a.png": "dog", "c.png": "dog"}
    ),
    "a class name": lambda folder: write_rows(
        folder, "train", {"b.png": "cau", "a.png": "dog", "c.png": "cau"}
    ),
    "the order": lambda folder: write_rows(
        folder, "train", {"c.png": "cat", "a.png": "dog", "b.png": "cat"}
    ),
    "an image less": lambda folder: [
        (folder / "train/c.png").unlink(),
        write_rows(folder, "train", {"b.png": "cat", "a.png": "dog"}),
    ],
    "train and test swapped": lambda folder: [
        save(picture(1000), folder / "train/a.png"),
        save(picture(1), folder / "test/a.png"),
    ],
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_content_is_the_same_after_changing(tmp_path, change):
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    change(other)
    assert load(one).digest == load(other).digest


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT)
def test_the_content_is_another_after_changing(tmp_path, change):
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    change(other)
    assert load(one).digest != load(other).digest


def test_the_content_is_another_in_another_size(tmp_path):
    folder = small(tmp_path)
    assert len({load(folder, size).digest for size in (SIZE, SIZE + 1, 32)}) == 3


# What spoils results silently.


def texts(folder: Path) -> dict[str, tuple[int, str]]:
    return {warning.kind: (warning.count, warning.text) for warning in load(folder).warnings}


def test_there_is_no_warning_when_all_is_fine(tmp_path):
    folder = make(
        tmp_path,
        {f"{n}.png": "cat" if n % 2 else "dog" for n in range(20)},
        {"a.png": "cat", "b.png": "dog"},
    )
    assert texts(folder) == {}


def test_warns_of_test_images_that_stand_in_train(tmp_path):
    folder = make(
        tmp_path, {f"{n}.png": "0" for n in range(10)}, {"a.png": "0", "b.png": "0", "c.png": "0"}
    )
    save(picture(4), folder / "test/b.png", compress_level=0)
    save(picture(7), folder / "test/c.png")
    assert texts(folder)["in_train_and_test"] == (
        2,
        "test images that stand in train too (equal pixels): 2, first test/b.png = train/4.png:"
        " the test accuracy will look better than it is.",
    )


def test_warns_of_equal_images_with_different_labels(tmp_path):
    folder = make(
        tmp_path, {f"{n:02}.png": str(n % 2) for n in range(20)}, {"a.png": "0", "b.png": "1"}
    )
    save(picture(4), folder / "train/09.png")
    save(picture(4), folder / "train/11.png")
    save(picture(6), folder / "train/08.png")
    assert texts(folder)["different_labels"] == (
        1,
        "images that stand there with different labels (equal pixels): 1, first train/04.png and"
        " train/09.png: no model can get these right.",
    )


def test_warns_of_classes_with_few_training_images(tmp_path):
    labels = ["cat"] * 9 + ["dog"] * 10 + ["ant"]
    folder = make(tmp_path, {f"{n}.png": label for n, label in enumerate(labels)}, {"a.png": "dog"})
    assert texts(folder)["few_images"] == (
        2,
        "classes with under 10 training images: 2 of 3, first ant with 1: they will hardly"
        " be learned.",
    )
