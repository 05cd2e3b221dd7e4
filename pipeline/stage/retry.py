"""Trouble with the disk: what it is called, and trying again until it is over."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import constants
from helper import UnusableFile, UserError, shown
from pipeline.data_folder import DataFolder
from pipeline.stage.lock import lock_held, stay_alone

Given = TypeVar("Given")

DISK_TROUBLE: dict[int | None, str] = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "the disk quota is used up. Free some space",
    errno.EROFS: "the file system is read-only. Make it writable",
    errno.EACCES: "this account may not. Change the permissions",
    errno.EPERM: "this account may not. Change the permissions",
    errno.EIO: "the disk reported an error. Check it",
    errno.EMFILE: "too many files are open. Close other programs or raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open. Close other programs",
    errno.ENOENT: "the folder is gone. Make it again",
    errno.EISDIR: "a folder has its name. Move it away",
    errno.EEXIST: "a file has the name of a folder. Move it away",
    errno.ENOTDIR: "a file has the name of a folder. Move it away",
}


def is_disk_trouble(error: OSError) -> bool:
    return error.errno in DISK_TROUBLE or isinstance(error, UnusableFile)


def is_in_the_way(error: OSError) -> bool:
    """Whether it is something with the name of a file or folder, that only a person moves away."""
    return error.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTDIR) or isinstance(
        error, UnusableFile
    )


def disk_trouble(error: OSError) -> str:
    """One sentence for an error that goes away when somebody makes room or gives a permission."""
    where = (
        shown(Path(os.fsdecode(error.filename)))
        if isinstance(error.filename, str | bytes)
        else "the data folder"
    )
    where = where.removesuffix(".partial")
    trouble = DISK_TROUBLE.get(error.errno) or f"{error.strerror}. Move it away"
    return f"cannot read or write {where}: {trouble}"


def retry_until_disk_works(
    action: Callable[[], Given], say: Callable[[str], None], once: bool = False
) -> Given:
    """What `action` gives, as soon as the disk lets it; say what stands in the way once per reason.

    What was computed is in memory meanwhile, so nothing has to be done again. Before each try the
    lock is looked at: only who works alone may write.

    Raises:
        UserError: with `once`, after the first try.
        Displaced: another process may be at work in the data folder.
    """
    reported, made_again = None, False
    while True:
        stay_alone()
        try:
            given = action()
        except OSError as error:
            if not is_disk_trouble(error):
                raise
            if error.errno == errno.ENOENT and (lock := lock_held()) and not made_again:
                made_again = True
                with suppress(OSError):  # a folder of the tree may be gone, without all others
                    DataFolder(Path(lock.path).parent).make()
                continue
            if once:
                raise UserError(f"{disk_trouble(error)}.") from None
            if (trouble := disk_trouble(error)) != reported:
                say(f"{trouble}; trying again every {constants.RETRY:g} s.")
                reported = trouble
            time.sleep(constants.RETRY)
        else:
            if reported:
                say("the disk works again")
            return given
