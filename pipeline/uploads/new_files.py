"""A hyperparameter set or a model that the page writes: whole, checked, and never over another."""

import re
from collections.abc import Mapping
from pathlib import Path

import constants
from helper import UserError, printable
from pipeline.artifacts.hyperparameters import SETTINGS, HyperparameterError, read_hyperparameters
from pipeline.uploads.incoming import put_new_file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\.py")


def as_toml(values: Mapping[str, str | int | float]) -> str:
    """The file of a hyperparameter set: only what is not as it would be without a line."""
    lines = [
        f"{key} = {_spelled(values[key])}"
        for key, setting in SETTINGS.items()
        if key in values and values[key] != setting.default
    ]
    return "\n".join(
        ["# Made by the page. hyperparameters/README.md explains each key.", *lines, ""]
    )


def _spelled(value: str | int | float) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def put_set(folder: Path, name: str, values: Mapping[str, str | int | float]) -> Path:
    """
    Raises:
        UserError: the name is taken or none, or a value is not allowed.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f'"{printable(name[:80])}" is no name for a set: expected letters, digits, "_", "-" and ".".'
        )
    for key, value in values.items():
        if key not in SETTINGS or not SETTINGS[key].accepts(value):
            allowed = SETTINGS[key].allowed() if key in SETTINGS else "a key of a set"
            raise HyperparameterError(
                f"{printable(key)} is {printable(value)}, expected {allowed}."
            )
    path = folder / f"{name}.toml"
    put_new_file(path, as_toml(values).encode(), read_hyperparameters)
    return path


def put_model(folder: Path, name: str, content: bytes) -> Path:
    """Training runs what is in it, so whoever may do this may do anything with this account.

    Raises:
        UserError: the name is taken or none, or it is no Python with a build_model.
    """
    if not MODEL_NAME.fullmatch(name):
        raise UserError(
            f'"{printable(name[:80])}" is no name for a model: expected letters, digits and "_", then .py.'
        )
    if len(content) > constants.MOST_MODEL_BYTES:
        raise UserError(f"{name} has more than {constants.MOST_MODEL_BYTES:,} bytes.")
    if b"def build_model" not in content:
        raise UserError(
            f"{name} has no build_model(input_shape, num_classes). Copy the example in models/README.md."
        )
    path = folder / name
    put_new_file(path, content, lambda partial: None)
    return path
