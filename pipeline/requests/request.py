"""A request: what a person asks of runs, as one small JSON file in `data/requests`.

    {"request": "cancel", "run": "2022-06-08 20:57:20.868637__cnn__quick"}

The page writes such files, `run_queue.py` does, and so may anybody. Names in them are values: no path is
made of one.
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

import constants
from helper import UnusableFile, UserError, printable, read_file, write_json
from pipeline.data_folder import DataFolder
from pipeline.json_values import json_object, text_in, texts_in
from pipeline.stage.text import cannot_read

SUFFIX = ".json"
KEYS = {"request", "run", "runs", "dataset", "model", "set", "priority", "note"}


class Action(StrEnum):
    PRIORITY = "priority"
    CANCEL = "cancel"
    STOP = "stop"
    RETRY = "retry"
    HIDE = "hide"
    UNHIDE = "unhide"
    NOTE = "note"


class BadRequest(UserError):
    """What is wrong with a request, and what to do."""


@dataclass(frozen=True)
class Request:
    """`runs` are names or keys of runs; None: all that are of `dataset`, `model` and `hyperparameter_set`,
    as far as these are given."""

    action: Action
    runs: tuple[str, ...] | None = None
    dataset: str | None = None
    model: str | None = None
    hyperparameter_set: str | None = None
    priority: int = 0
    note: str = ""

    @classmethod
    def of(cls, said: dict) -> "Request":
        """
        Raises:
            BadRequest: `said` is none.
        """
        action, runs = _action_in(said), _runs_in(said)
        for key in said:
            if key not in KEYS:
                raise BadRequest(f"unknown key {_quoted(key)}.{_did_you_mean(key, KEYS)}")
        chosen = {key: text_in(said, key) for key in ("dataset", "model", "set")}
        for key, name in chosen.items():
            if key in said and name is None:
                raise BadRequest(f'"{key}" is {_quoted(said[key])}, expected a name.')
        if runs is None and not any(chosen.values()):
            raise BadRequest(
                'it names no run. Add "run": a name as in run_queue.py --json; or "dataset", "model",'
                ' "set".'
            )
        priority = _priority_in(said) if action is Action.PRIORITY else 0
        note = _note_in(said) if action is Action.NOTE else ""
        dataset, model, hyperparameter_set = chosen.values()
        return cls(action, runs, dataset, model, hyperparameter_set, priority, note)

    @classmethod
    def in_file(cls, path: Path) -> "Request":
        """
        Raises:
            BadRequest: there is none in the file.
            OSError: it cannot be read for now.
        """
        try:
            content = read_file(path, constants.MOST_REQUEST_BYTES)
        except UnusableFile as error:
            raise BadRequest(cannot_read(error)) from None
        said = json_object(content)
        if not said:
            raise BadRequest(
                'it is no JSON object. Write one, such as {"request": "cancel", "run": "..."}.'
            )
        return cls.of(said)


def write_request(data: Path, action: Action, runs: Iterable[str], **more: object) -> Path:
    """Ask for `action` on the runs with these names or keys; the training stage carries it out."""
    content = {"request": action.value, "runs": list(runs), **more}
    Request.of(content)  # a fault is told to whoever asks, not only in the log
    folder = DataFolder(data).requests
    folder.mkdir(parents=True, exist_ok=True)
    # In the order in which they were asked, and never two under one name.
    path = folder / f"{time.time_ns()}-{secrets.token_hex(4)}{SUFFIX}"
    write_json(path, content)
    return path


def _action_in(said: dict) -> Action:
    if "request" not in said:
        raise BadRequest(f'it has no "request". Add one of {_all_of(Action)}.')
    action = text_in(said, "request")
    if action is None or action not in [*Action]:
        raise BadRequest(
            f'"request" is {_quoted(said["request"])}, expected one of {_all_of(Action)}.'
        )
    return Action(action)


def _runs_in(said: dict) -> tuple[str, ...] | None:
    names = [*texts_in(said, "runs")]
    if "runs" in said and (not names or names != said["runs"]):
        raise BadRequest(f'"runs" is {_quoted(said["runs"])}, expected a list of names.')
    if "run" in said:
        if (name := text_in(said, "run")) is None:
            raise BadRequest(f'"run" is {_quoted(said["run"])}, expected a name.')
        names.append(name)
    return tuple(names) or None


def _priority_in(said: dict) -> int:
    most, priority = constants.MOST_PRIORITY, said.get("priority")
    if type(priority) is not int or not -most <= priority <= most:
        was = _quoted(priority) if "priority" in said else "missing"
        raise BadRequest(f'"priority" is {was}, expected a whole number from {-most} to {most}.')
    return priority


def _note_in(said: dict) -> str:
    note = text_in(said, "note")
    if note is None:
        was = _quoted(said["note"]) if "note" in said else "missing"
        raise BadRequest(f'"note" is {was}, expected a line of text.')
    if len(note) > constants.LONGEST_NOTE:
        raise BadRequest(
            f'"note" has {len(note):,} characters, at most {constants.LONGEST_NOTE} are allowed.'
        )
    return " ".join(note.split())


def _all_of(actions: type[Action]) -> str:
    return ", ".join(actions)


def _did_you_mean(key: str, known: Iterable[str]) -> str:
    close = get_close_matches(key, known, 1)
    return f' Did you mean "{close[0]}"?' if close else f" Known are {', '.join(sorted(known))}."


def _quoted(value: object) -> str:
    text = printable(value)
    return f'"{text[:100]}..."' if len(text) > 100 else f'"{text}"'
