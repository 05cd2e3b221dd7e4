"""Keep what a training needs to go on from its last whole epoch, in `<run>/resume.state`."""

import hashlib
import json
import pickle
from pathlib import Path

from helper import open_regular, whole_file
from pipeline.artifacts import safe_pickle
from pipeline.json_values import json_object, seconds_in, table_in, text_in, whole_in
from pipeline.training.time_left import Durations, Progress

FILE = "resume.state"
LONGEST_LINE = 1000  # bytes


class NothingToResume(Exception):
    """There is nothing, it is damaged, or it is of another run: the training begins afresh."""


def save(folder: Path, key: str, epochs: int, state: dict) -> None:
    """Replace what is kept for the run `key` by `state` after `epochs`: plain values and arrays.

    Two lines go before it, the digest of all that follows and some JSON, not into a file beside:
    the two could not be replaced at one stroke.
    """
    best = {"best_epoch": state["best"][0]} if "best" in state else {}
    durations = {"durations": state["durations"]} if "durations" in state else {}
    head = json.dumps({"key": key, "epochs": epochs, **best, **durations}).encode() + b"\n"
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
        with open(folder / FILE, "rb", opener=open_regular) as file:
            digest, _, content = file.read().partition(b"\n")
        if digest != _digest(content):
            raise NothingToResume
        state = safe_pickle.loads(content.partition(b"\n")[2], FILE)
    except (OSError, safe_pickle.PickleError):
        raise NothingToResume from None
    if not isinstance(state, dict) or text_in(state, "key") != key or not _is_whole(state):
        raise NothingToResume
    return state


def is_whole(folder: Path, key: str) -> bool:
    """Whether the run `key` can go on from what is kept."""
    try:
        load(folder, key)
    except NothingToResume:
        return False
    return True


def _is_whole(state: dict) -> bool:
    """As far as it is not for Keras to say: it is from a trainer, or a test that keeps less."""
    lengths = table_in(state, "logs")
    return all(whole_in(lengths, name) is not None for name in lengths) and (
        "seconds" not in state or seconds_in(state, "seconds") is not None
    )


def progress(folder: Path, key: str) -> Progress:
    """How far what is kept for the run `key` is, without reading all of it."""
    try:
        with open(folder / FILE, "rb", opener=open_regular) as file:
            file.readline(LONGEST_LINE)
            head = json_object(file.readline(LONGEST_LINE))
    except OSError:
        return Progress()
    if text_in(head, "key") != key:
        return Progress()
    durations = Durations.of(table_in(head, "durations"))
    return Progress(whole_in(head, "epochs") or 0, whole_in(head, "best_epoch") or 0, durations)


def forget(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)


def _digest(*parts: bytes) -> bytes:
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.hexdigest().encode()
