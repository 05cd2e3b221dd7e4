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

    def digest(self, seeded: bool = True) -> str:
        """Of what makes a difference to the training: not the priority, nor a default spelled out.

        With `seeded` false it is the same for all seeds.
        """
        ignored = ("priority",) if seeded else ("priority", "seed")
        return digest_of(
            {
                key: value
                for key, value in self.as_plain().items()
                if key not in ignored and value != SETTINGS[key].default
            }
        )


KEYS = {
    setting.name: setting.name.replace("augmentation_", "augmentation.")
    for setting in fields(Settings)
}
SEEDS = "seeds"  # in a file instead of "seed"; no setting, since each run has one seed
SETTINGS: dict[str, Setting] = {
    KEYS[setting.name]: setting.metadata["setting"] for setting in fields(Settings)
}

# What each setting is, for people: hyperparameters/README.md and the page's form say it.
MEANINGS = {
    "epochs": "how often each training image is seen",
    "batch_size": "images per step",
    "optimizer": "Keras's optimizer; `sgd` with Nesterov momentum 0.9",
    "learning_rate": "the rate, or its highest value in a schedule",
    "learning_rate_schedule": "`cosine`: up over the first tenth of all steps, then down to 0",
    "fine_tune_after": "after this many epochs, train the layers that a model file has frozen, too; 0:"
    " never",
    "fine_tune_learning_rate": "the rate from then on, in a schedule of its own",
    "augmentation.flip": "mirror training images at random",
    "augmentation.shift": "move training images at random by up to this part of their width and height",
    "augmentation.crop": "cut off up to this part of the width and of the height at random, and enlarge the"
    " rest",
    "label_smoothing": "share of the target given to all classes alike; makes the loss larger, not the"
    " accuracy smaller",
    "weight_decay": "Keras's decoupled weight decay",
    "class_weight": "`balanced`: in the loss, all classes count alike, however many images each has",
    "validation_split": "part of train that is held out, from each class the same part and at least"
    " one image; not used where the dataset has a validation part of its own",
    "early_stopping_patience": "stop after this many epochs without a lower validation loss; 0: never",
    "precision": "`auto`: half precision where the hardware computes in it",
    "seed": "of everything that is drawn",
    "priority": "a higher one is trained earlier",
}


def read_hyperparameters(path: Path) -> dict[str, Settings]:
    """The settings of the set in `path`: one, or one for each of its `seeds`.

    By what a name made of the set's ends in: "", or "__seed7" and so on. All but the seed is alike, and
    each is the same as if the file said `seed = 7`.

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
    named = values.pop(SEEDS, None)
    for key, value in values.items():
        _check(shown(path), key, value)
    if named is None:
        return {"": Settings.of(values)}
    seeds = _checked_seeds(shown(path), named, "seed" in values)
    return {f"__seed{seed}": Settings.of({**values, "seed": seed}) for seed in seeds}


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
        known = [*SETTINGS, SEEDS]
        near = difflib.get_close_matches(key, known, n=1)
        help_text = f'Did you mean "{near[0]}"?' if near else f"Known keys: {', '.join(known)}."
        raise HyperparameterError(
            f'{file}: unknown key "{_shortened(printable(key))}". {help_text}'
        )
    if not SETTINGS[key].accepts(value):
        raise HyperparameterError(
            f"{file}: {key} is {_in_short(value)}, expected {SETTINGS[key].allowed()}."
        )


def _checked_seeds(file: str, seeds: object, beside_seed: bool) -> list[int]:
    if beside_seed:
        raise HyperparameterError(
            f"{file}: seed and seeds are both set. Keep seeds for a run of each, or seed for one run."
        )
    most, allowed = constants.MOST_SEEDS, SETTINGS["seed"].allowed()
    if not isinstance(seeds, list) or not 0 < len(seeds) <= most:
        length = f"a list of {len(seeds):,}" if isinstance(seeds, list) else _in_short(seeds)
        raise HyperparameterError(
            f"{file}: seeds is {length}, expected a list of 1 to {most} seeds, such as [0, 1, 2]."
        )
    for number, seed in enumerate(seeds):
        if not SETTINGS["seed"].accepts(seed):
            raise HyperparameterError(
                f"{file}: seeds has {_in_short(seed)}, expected of each {allowed}."
            )
        if seed in seeds[:number]:
            raise HyperparameterError(f"{file}: seeds has {seed} twice. Name each once.")
    return seeds


def _in_short(value: object) -> str:
    try:
        text = printable(value)
    except ValueError:  # Python does not spell out a number of more than 4300 digits
        text = "a number of thousands of digits"
    text = _shortened(text)
    return f'"{text}"' if isinstance(value, str) else text


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
