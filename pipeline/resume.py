"""Keep what a training needs to go on from its last whole epoch, in `<run>/resume.state`."""

import hashlib
import pickle
from pathlib import Path

from helper import whole_file
from pipeline import safe_pickle

FILE = "resume.state"


class NothingToResume(Exception):
    """There is nothing, it is damaged, or it is of another run: the training begins afresh."""


def save(folder: Path, key: str, state: dict) -> None:
    """Replace what is kept for the run `key` by `state`: plain values and arrays.

    The digest is inside, not in a file beside: the two could not be replaced at one stroke.
    """
    content = pickle.dumps({"key": key, **state}, protocol=safe_pickle.PROTOCOL)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / FILE) as file:
        file.write(hashlib.sha256(content).digest() + content)


def load(folder: Path, key: str) -> dict:
    """What was saved last for the run `key`.

    Raises:
        NothingToResume: nothing, or nothing whole.
    """
    try:
        content = (folder / FILE).read_bytes()
        digest, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != digest:
            raise NothingToResume
        state = safe_pickle.loads(content, FILE)
    except (OSError, safe_pickle.PickleError):
        raise NothingToResume from None
    if not isinstance(state, dict) or state.get("key") != key:
        raise NothingToResume
    return state


def forget(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)
