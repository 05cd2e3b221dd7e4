"""What there is to classify: folders, archives and image files, and test parts without labels."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import constants
from helper import UserError, digest_of, printable, shown
from pipeline.artifacts.catalog import Catalog
from pipeline.data_folder import file_state
from pipeline.prediction.classification import ImageFiles
from pipeline.problem import RawDatasetError
from pipeline.raw_data.archives import is_archive, unpack
from pipeline.raw_data.folder_scan import FolderScan, scan
from pipeline.raw_data.layouts import recognize
from pipeline.raw_data.litter import is_litter
from pipeline.tables.file_index import is_image


@dataclass(frozen=True)
class Source:
    """One input at `path`, whose results are called `name`.

    dataset: of a test part without labels in a raw dataset, the dataset that was made of it.
    """

    name: str
    path: Path
    dataset: str = ""

    def fingerprint(self) -> str:
        """Equal as long as nothing changes.

        Raises:
            OSError: it went, or cannot be looked at for now.
        """
        if self.path.is_dir():
            return scan(self.path).fingerprint()
        return digest_of(file_state(self.path.stat()))


def sources_in(folder: Path) -> tuple[list[Source], list[Path]]:
    """What lies in `folder` to be classified, and the files there that are neither image nor archive."""
    found, stray = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:
                continue  # a link to where this account may not look
            path = folder / entry.name
            if is_litter(entry.name, is_folder):
                continue
            if is_folder or (is_file and (is_image(entry.name) or is_archive(entry.name))):
                found.append(Source(entry.name, path))
            else:
                stray.append(path)
    return sorted(found, key=lambda one: one.name), sorted(stray)


def unlabelled_in(catalog: Catalog) -> list[Source]:
    """The raw datasets that have a test part without labels, where a checkpoint of the dataset is there."""
    trained = {one.dataset for one in catalog.checkpoints}
    found = []
    for name, dataset in catalog.datasets.items():
        said = dataset.description
        if said.set_aside and said.raw_dataset and name in trained:
            path = constants.ROOT / said.raw_dataset
            if path.exists():
                found.append(Source(f"{path.name}__test", path, name))
    return found


@contextmanager
def opened(
    source: Source, unpacked: Path, progress: Callable[[int], object] = lambda files: None
) -> Iterator[ImageFiles]:
    """The images of `source`, for as long as the block runs; an archive is unpacked in the folder `unpacked`.

    Raises:
        UserError: there is none, or the archive is not to be unpacked.
        OSError: something cannot be read or written for now.
    """
    path = source.path
    if path.is_dir():
        yield _images_in(source, path)
    elif not is_archive(path.name):
        size = path.stat().st_size
        # A link to a file elsewhere is followed where a person names it or drops it.
        real = path.resolve()
        yield ImageFiles(real.parent, [path.name], [real.name], [size])
    else:
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            unpack(path, unpacked / path.name, progress)
            yield _images_in(source, unpacked / path.name)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)


def _images_in(source: Source, folder: Path) -> ImageFiles:
    look = scan(folder)
    files = _set_aside(folder, look) if source.dataset else look.images_below("")
    if troubles := [name for name, one in look.folders.items() if one.trouble]:
        where = f"{printable(source.path.name)}/{printable(troubles[0])}"
        reason = look.folders[troubles[0]].trouble
        raise UserError(f"the folder {where} cannot be read: {reason}. Make it readable.")
    if not files:
        raise UserError(f"no image is in it, expected {', '.join(constants.IMAGE_SUFFIXES)}.")
    sizes = [look.state_of(file)[0] for file in files]
    return ImageFiles(folder, files, [look.opened_as(file) for file in files], sizes)


def _set_aside(folder: Path, look: FolderScan) -> list[str]:
    try:
        return recognize(folder, look).set_aside
    except RawDatasetError as error:
        raise UserError(f"its layout is not known any more: {error}") from None


def named_by_hand(path: Path) -> Source:
    """What a person names in the command line.

    Raises:
        UserError: it is nothing that can be classified.
    """
    absolute = path.expanduser().absolute()
    if absolute.is_dir() or (
        absolute.is_file() and (is_image(absolute.name) or is_archive(absolute.name))
    ):
        return Source(printable(path), absolute)
    if not os.path.lexists(absolute):
        raise UserError(f"{shown(absolute)} is not there. Name an image, a folder or an archive.")
    raise UserError(
        f"{shown(absolute)} is no image, folder or archive; expected one of"
        f" {', '.join(constants.IMAGE_SUFFIXES)}, a folder, .zip or .tar."
    )
