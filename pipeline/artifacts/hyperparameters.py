"""Read a hyperparameter set: a TOML file of settings, checked against what is allowed. Data, never code."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import constants
from helper import UserError, digest_of, printable, read_file, shown


class HyperparameterError(UserError):
    """A set that cannot be used: names the file, the key, what was found and what is allowed."""


@dataclass(frozen=True)
class Setting:
    """One key: its default, and either the words it may be or the range that a number must lie in."""

    default: str | int | float
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = float("inf")
    below: bool = False  # the most itself is not allowed
    above: bool = False  # the least itself is not allowed

    def allowed(self) -> str:
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        least = f"more than {self.least:.10g}" if self.above else f"{self.least:.10g} or more"
        if self.most == float("inf"):
            return f"{kind}, {least}"
        return f"{kind}, {least} and {'less than' if self.below else 'at most'} {self.most:.10g}"

    def accepts(self, value: object) -> bool:
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if isinstance(value, bool) or not isinstance(
            value, int if isinstance(self.default, int) else int | float
        ):
            return False
        inside = self.least <= value <= self.most  # False for nan
        return (
            inside
            and not (self.above and value == self.least)
            and not (self.below and value == self.most)
        )


def _setting(default: str | int | float, **allowed: Any) -> Any:
    return field(default=default, metadata={"setting": Setting(default, **allowed)})


@dataclass(frozen=True)
class Settings:
    """All settings of a hyperparameter set, defaults filled in: how a model is trained, and how soon.

    In files and records a setting has its key, which is the name here but for `augmentation.`.
    """

    epochs: int = _setting(20, least=1, most=100_000)
    batch_size: int = _setting(64, least=1, most=65_536)
    optimizer: str = _setting("adam", choices=("adam", "adamw", "sgd", "rmsprop"))
    learning_rate: float = _setting(0.002, above=True, most=10.0)
    learning_rate_schedule: str = _setting("cosine", choices=("constant", "cosine"))
    fine_tune_after: int = _setting(0, most=100_000)
    fine_tune_learning_rate: float = _setting(0.00001, above=True, most=10.0)
    augmentation_flip: str = _setting(
        "none", choices=("none", "horizontal", "vertical", "horizontal_and_vertical")
    )
    augmentation_shift: float = _setting(0.0, most=0.5)
    augmentation_crop: float = _setting(0.0, most=0.5)
    label_smoothing: float = _setting(0.1, most=1.0, below=True)
    weight_decay: float = _setting(0.0, most=1.0)
    class_weight: str = _setting("none", choices=("none", "balanced"))
    validation_split: float = _setting(0.1, most=0.9)
    early_stopping_patience: int = _setting(6, most=100_000)
    precision: str = _setting(
        "auto", choices=("auto", "float32", "mixed_bfloat16", "mixed_float16")
    )
    seed: int = _setting(0, most=2**31 - 1)
    priority: int = _setting(0, least=-1_000_000, most=1_000_000)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """From checked values by key; a number becomes an int or a float, as its default is."""
        known = {name: key for name, key in KEYS.items() if key in values}
        arguments: dict[str, Any] = {
            name: type(SETTINGS[key].default)(values[key]) for name, key in known.items()
        }
        return cls(**arguments)

    def as_plain(self) -> dict[str, str | int | float]:
        """By key, as records and descriptions hold them."""
        return {key: getattr(self, name) for name, key in KEYS.items()}

    def digest(self) -> str:
        """Of what makes a difference to the training: not the priority, nor a default spelled out."""
        return digest_of(
            {
                key: value
                for key, value in self.as_plain().items()
                if key != "priority" and value != SETTINGS[key].default
            }
        )


KEYS = {
    setting.name: setting.name.replace("augmentation_", "augmentation.")
    for setting in fields(Settings)
}
SETTINGS: dict[str, Setting] = {
    KEYS[setting.name]: setting.metadata["setting"] for setting in fields(Settings)
}


def read_hyperparameters(path: Path) -> Settings:
    """The settings of the set in `path`.

    Raises:
        HyperparameterError: no TOML, an unknown key, or a value of a wrong type or out of range.
    """
    content = read_file(path, constants.MOST_SET_BYTES)
    _check_dots(path, content)
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise HyperparameterError(
            f"{shown(path)} is no TOML file ({_shortened(printable(error), 200)}). Correct that line."
        ) from None
    values = dict(_flat(table))
    for key, value in values.items():
        _check(shown(path), key, value)
    return Settings.of(values)


def _check_dots(path: Path, content: bytes) -> None:
    """Before it is parsed: of a key with n dots, tomllib keeps each beginning, n * n / 2 names."""
    for number, line in enumerate(content.split(b"\n"), 1):
        dots = line.count(b".")
        if dots > constants.MOST_DOTS:
            raise HyperparameterError(
                f"{shown(path)}, line {number}: {dots:,} dots, at most {constants.MOST_DOTS} are allowed"
                " in a line. Shorten it."
            )


def _flat(table: dict, before: str = "") -> Iterator[tuple[str, object]]:
    """Keys and values, those of a known table by their dotted names."""
    for key, value in table.items():
        name = before + key
        if isinstance(value, dict) and any(known.startswith(f"{name}.") for known in SETTINGS):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _check(file: str, key: str, value: object) -> None:
    if key not in SETTINGS:
        near = difflib.get_close_matches(key, SETTINGS, n=1)
        help_text = f'Did you mean "{near[0]}"?' if near else f"Known keys: {', '.join(SETTINGS)}."
        raise HyperparameterError(
            f'{file}: unknown key "{_shortened(printable(key))}". {help_text}'
        )
    if not SETTINGS[key].accepts(value):
        raise HyperparameterError(
            f"{file}: {key} is {_in_short(value)}, expected {SETTINGS[key].allowed()}."
        )


def _in_short(value: object) -> str:
    try:
        text = printable(value)
    except ValueError:  # Python does not spell out a number of more than 4300 digits
        text = "a number of thousands of digits"
    text = _shortened(text)
    return f'"{text}"' if isinstance(value, str) else text


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
