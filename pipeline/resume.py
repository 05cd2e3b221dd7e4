"""Keep what a training needs to go on from its last whole epoch, in `<run>/resume.state`."""

import hashlib
import json
import pickle
from pathlib import Path

from helper import whole_file
from pipeline import safe_pickle

FILE = "resume.state"


class NothingToResume(Exception):
    """There is nothing, it is damaged, or it is of another run: the training begins afresh."""


def save(folder: Path, key: str, epochs: int, state: dict) -> None:
    """Replace what is kept for the run `key` by `state` after `epochs`: plain values and arrays.

    Two lines go before it, the digest of all that follows and some JSON, not into a file beside:
    the two could not be replaced at one stroke.
    """
    head = json.dumps({"key": key, "epochs": epochs}).encode() + b"\n"
    content = pickle.dumps({"key": key, **state}, protocol=safe_pickle.PROTOCOL)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / FILE) as file:
        # Not joined before: that would copy many megabytes, twice, after each epoch.
        file.writelines([_digest(head, content), b"\n", head, content])


def load(folder: Path, key: str) -> dict:
    """What was saved last for the run `key`.

    Raises:
        NothingToResume: nothing, or nothing whole.
    """
    try:
        digest, _, content = (folder / FILE).read_bytes().partition(b"\n")
        if digest != _digest(content):
            raise NothingToResume
        state = safe_pickle.loads(content.partition(b"\n")[2], FILE)
    except (OSError, safe_pickle.PickleError):
        raise NothingToResume from None
    if not isinstance(state, dict) or state.get("key") != key:
        raise NothingToResume
    return state


def epochs_done(folder: Path, key: str) -> int:
    """How many epochs are kept for the run `key`, without reading all that is kept."""
    try:
        with open(folder / FILE, "rb") as file:
            file.readline(1000)
            head = json.loads(file.readline(1000))
        return head["epochs"] if head["key"] == key else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def forget(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)


def _digest(*parts: bytes) -> bytes:
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest().encode()
