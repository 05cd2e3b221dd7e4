"""How a raw dataset is laid out, and which class each of its images has.

The layouts are tried in the order of docs/architecture.md. Two things differ from a plain first match:
a table that names the images and contradicts the folders counts more than folders, since archives of
images in several parts would be taken for classes; and the own layout counts only where one of its
groundtruth.csv is there, or nothing else fits.
"""

import re
import shlex
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import constants
from helper import printable, shown
from pipeline.problem import Problem, RawDatasetError
from pipeline.raw_data.folder_scan import FolderScan, is_below, joined
from pipeline.raw_data.groundtruth import Row, is_own_layout, own_rows
from pipeline.raw_data.table_layout import TableFiles
from pipeline.stage.text import count

SEPARATORS = (".", "_", "-", " ", "")
WRAPPINGS = 2  # folders around the dataset, as archives of code hosts have
EXPECTED = (
    "a folder for each class with its images, train/ and test/ of these, or images and a table that"
    " names the file and the class of each (README, I have my own pictures)"
)


@dataclass
class Layout:
    """How a raw dataset was understood.

    name: for people.
    rows: its images with their classes by part: "train", "test" and "validation", or, where the test
        part has yet to be held out, "train" and perhaps "validation" alone.
    listed: whether tables list every image, so that one that is missing or damaged is known.
    set_aside: images of a test part that has no labels.
    """

    name: str
    rows: dict[str, list[Row]]
    listed: bool = False
    set_aside: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    @property
    def images(self) -> int:
        return sum(map(len, self.rows.values()))


def recognize(folder: Path, look: FolderScan) -> Layout:
    """The layout of the raw dataset in `folder`.

    Raises:
        RawDatasetError: none fits, or it is not whole yet.
    """
    bases = _bases(look)
    base = bases[-1]
    own = next((some for some in bases if is_own_layout(look, some)), None)
    if own is not None:  # "" is the raw dataset's own folder
        return _own(folder, look, own)
    if troubles := [path for path, some in look.folders.items() if some.trouble]:
        raise RawDatasetError([_unreadable(look, path) for path in troubles])
    tables = TableFiles(folder, look)
    by_folder = _split_class_folders(look, base) or _class_folders(look, base)
    if by_folder and not tables.contradict(by_folder.rows):
        return by_folder
    if table := tables.read():
        name, rows, set_aside, warnings = table
        if set_aside:
            warnings.append(unlabelled(set_aside))
        return Layout(name, assign_parts(rows), True, set_aside, warnings)
    if any(joined(base, split) in look.folders for split in constants.SPLITS):
        return _own(folder, look, base)
    raise RawDatasetError([_no_layout(folder, look, base)])


def _own(folder: Path, look: FolderScan, base: str) -> Layout:
    warnings: list[Problem] = []
    rows = own_rows(folder, look, base, warnings)
    return Layout("train/ and test/ with a groundtruth.csv", rows, True, [], warnings)


def _unreadable(look: FolderScan, path: str) -> Problem:
    where = f"the folder {printable(path)}/" if path else "the folder"
    text = f"{where} cannot be read: {look.folders[path].trouble}."
    return Problem("unreadable", text, "Make it readable.", file=path)


def _bases(look: FolderScan) -> list[str]:
    """The raw dataset's own folder, and those in it that only wrap what it holds."""
    bases = [""]
    while len(bases) <= WRAPPINGS:
        base = bases[-1]
        with_images = list(_images_by_folder(look, base))
        if look.folders[base].images or len(with_images) != 1:
            break
        inner = joined(base, with_images[0])
        if look.folders[inner].images or part_of(with_images[0]):
            break
        bases.append(inner)
    return bases


def part_of(word: str) -> str:
    """The part of a dataset that a folder or a table's cell of this name means; "" for none."""
    return constants.PARTS.get(word.strip().casefold(), "")


def _images_by_folder(look: FolderScan, base: str) -> dict[str, list[str]]:
    """The images in and below each folder in `base`, without folders that have none."""
    images: dict[str, list[str]] = defaultdict(list)
    for path, folder in look.folders.items():
        if is_below(path, base) and folder.images:
            name = path[len(base) + bool(base) :].partition("/")[0]
            images[name] += [joined(path, file) for file in sorted(folder.images)]
    return dict(images)


def _split_class_folders(look: FolderScan, base: str) -> Layout | None:
    """train/<class>/ with test/<class>/ and perhaps validation/<class>/."""
    folders = {
        part: joined(base, name)
        for name in look.folders[base].subfolders
        if (part := part_of(name))
    }
    if "train" not in folders:
        return None
    classes = {part: _images_by_folder(look, path) for part, path in folders.items()}
    loose = {part: look.folders[path].images for part, path in folders.items()}
    if len(classes["train"]) < 2 or loose["train"]:
        return None
    rows, set_aside = {}, []
    for part, path in folders.items():
        # Some put the test images into one folder, as if it were a class.
        if part == "train" or set(classes[part]) & set(classes["train"]):
            rows[part] = _rows(classes[part])
        else:
            set_aside += [joined(path, file) for file in sorted(loose[part])]
            set_aside += [file for some in classes[part].values() for file in some]
    rows, warnings = assign_parts(rows), []
    if set_aside:
        warnings.append(unlabelled(set_aside))
    names = ", ".join(f"{path.rpartition('/')[2]}/" for path in folders.values())
    return Layout(f"class folders in {printable(names)}", rows, False, set_aside, warnings)


def assign_parts(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The parts as they are used: validation is the test part where there is no other."""
    rows = {part: some for part, some in rows.items() if some}
    if "test" not in rows and "validation" in rows:
        rows["test"] = rows.pop("validation")
    return rows


def unlabelled(files: list[str]) -> Problem:
    first = printable(files[0])
    text = (
        f"{count(len(files), 'image')} of a test part without labels,"
        f" first {first}: set aside, the test accuracy is measured on others."
    )
    return Problem.about("unlabelled", text, files)


def _class_folders(look: FolderScan, base: str) -> Layout | None:
    """<class>/, no split."""
    classes = _images_by_folder(look, base)
    if len(classes) < 2 or any(map(part_of, classes)):
        return None
    warnings = []
    if loose := sorted(look.folders[base].images):
        verb = "lies" if len(loose) == 1 else "lie"
        text = (
            f"{count(len(loose), 'image')} {verb} beside the class folders, first"
            f" {printable(loose[0])}: left out, as nothing says which class."
        )
        files = tuple(joined(base, file) for file in loose[: constants.MOST_EXAMPLES])
        warnings.append(Problem("beside classes", text, count=len(loose), files=files))
    if empty := [name for name in look.folders[base].subfolders if name not in classes]:
        verb = "has" if len(empty) == 1 else "have"
        text = (
            f"{count(len(empty), 'folder')} beside the class folders {verb} no image,"
            f" first {printable(empty[0])}/: no class."
        )
        warnings.append(Problem("empty folders", text, count=len(empty)))
    return Layout("class folders", {"train": _rows(classes)}, False, [], warnings)


def _rows(classes: dict[str, list[str]]) -> list[Row]:
    return [Row(None, file, name) for name, files in classes.items() for file in files]


def _no_layout(folder: Path, look: FolderScan, base: str) -> Problem:
    here = look.folders[base]
    counts = {name: len(files) for name, files in _images_by_folder(look, base).items()}
    if here.images and not counts:
        return _flat(folder, look, base)
    if len(counts) == 1 and not here.images:
        [name] = counts
        inner = joined(base, name)
        if part_of(name) or look.folders[inner].images:
            if _prefixes(look, inner):
                return _flat(folder, look, inner)
            return Problem(
                "layout",
                f"{count(counts[name], 'image')} in the one folder {printable(name)}/, and nothing that says"
                f" which class each of them has; expected {EXPECTED}.",
                "Give each class a folder of its own, at least two.",
            )
    if loose := [part for part in counts if part_of(part) and _prefixes(look, joined(base, part))]:
        return _flat(folder, look, joined(base, loose[0]))
    return Problem("layout", f"no layout fits: {_what_is_there(look, base)}; expected {EXPECTED}.")


def _what_is_there(look: FolderScan, base: str) -> str:
    here = look.folders[base]
    images = sum(len(folder.images) for folder in look.folders.values())
    said = []
    if names := here.subfolders:
        some = ", ".join(map(printable, names[:3])) + ", ..." * (len(names) > 3)
        said.append(f"{count(len(names), 'folder')} ({some})")
    files = sorted(set(here.files) - here.images)
    if files:
        said.append(", ".join(map(printable, files[:3])) + ", ..." * (len(files) > 3))
    if not said:
        return "it is empty"
    return f"{count(images, 'image')} in " + " and ".join(said)


def _prefixes(look: FolderScan, path: str) -> tuple[str, Counter] | None:
    """The separator of names such as "cat.0.jpg", and how many images each word before it has."""
    names = look.folders[path].images
    for separator in SEPARATORS:
        name = re.compile(rf"(\D+?){re.escape(separator)}\d.*")
        words = Counter(match[1] for match in map(name.fullmatch, names) if match)
        enough = sum(words.values()) * 10 >= len(names) * 9
        if enough and 2 <= len(words) <= max(2, len(names) // 2):
            return separator, words
    return None


def _flat(folder: Path, look: FolderScan, path: str) -> Problem:
    """Images in one folder without a table; where their names say classes, how to sort them."""
    names = look.folders[path].images
    where = f"lie in {printable(path)}/" if path else "lie in the folder itself"
    text = (
        f"{count(len(names), 'image')} {where}, not in a folder for each class, and no table says which"
        " class each has."
    )
    if not (prefixes := _prefixes(look, path)):
        return Problem("layout", text, f"Expected {EXPECTED}.")
    separator, words = prefixes
    some = ", ".join(printable(word) for word, _ in words.most_common(3))
    pattern = f"{shlex.quote(separator) if separator else ''}[0-9]*"
    quoted = shlex.quote(shown(folder / path))
    cure = (
        f"If the names say the classes ({some}), sort the images with: (cd {quoted} &&"
        f' for f in *{pattern}; do mkdir -p "${{f%%{pattern}}}" && mv "$f" "${{f%%{pattern}}}/"; done)'
    )
    return Problem("layout", text, cure, count=len(names))
