import random
import re
import tomllib

import pytest

import constants
from pipeline.artifacts.hyperparameters import (
    SETTINGS,
    HyperparameterError,
    Settings,
    read_hyperparameters,
)

SHIPPED = constants.HYPERPARAMETERS / "default.toml"
DEFAULTS = Settings().as_plain()


@pytest.fixture
def read(tmp_path):
    def read_text(text: str | bytes) -> dict:
        path = tmp_path / "fast.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_hyperparameters(path).as_plain()

    return read_text


@pytest.fixture
def error_of(read, tmp_path):
    """The sentence that a text is refused with, without the folder."""

    def error_of_text(text: str | bytes) -> str:
        with pytest.raises(HyperparameterError) as refused:
            read(text)
        return str(refused.value).replace(f"{tmp_path}/", "")

    return error_of_text


def test_the_shipped_set_names_each_setting_that_has_no_plain_off():
    shipped = read_hyperparameters(SHIPPED).as_plain()
    assert shipped == {**DEFAULTS, "augmentation.shift": 0.05}
    named = set(tomllib.loads(SHIPPED.read_text("utf-8"))) - {"augmentation"}
    assert named == {key for key in DEFAULTS if not key.startswith("augmentation.")}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("default", "cdf3fc128c89f32f6dc3e57f90b19f1078ca927d276cdb203a1a0fa792366351"),
        ("quick", "f4d1c383931c9ca58b9a6655750e20df5177ef6c396262667accf41b98347d32"),
    ],
)
def test_what_is_trained_with_a_shipped_set_stays_trained(name, digest):
    assert read_hyperparameters(SHIPPED.with_stem(name)).digest() == digest


def test_the_digest_is_of_what_makes_a_difference_to_the_training():
    assert Settings(priority=7).digest() == Settings().digest()
    others = {Settings(**{name: None}).digest() for name in vars(Settings()) if name != "priority"}
    assert len(others | {Settings().digest()}) == len(DEFAULTS)


def test_settings_are_told_from_their_plain_form_again_with_numbers_of_their_type():
    settings = Settings.of({"learning_rate": 1, "augmentation.crop": 0, "epochs": 3})
    assert Settings.of(settings.as_plain()) == settings
    assert [type(value) for value in settings.as_plain().values()] == [
        type(value) for value in DEFAULTS.values()
    ]
    assert settings.augmentation_crop == 0.0
    assert list(DEFAULTS) == list(SETTINGS)


@pytest.mark.parametrize(
    "text",
    ["augmentation.shift = 0.2", "[augmentation]\nshift = 0.2", "augmentation = {shift = 0.2}"],
)
def test_a_setting_with_a_dot_can_stand_in_a_table(read, text):
    assert read(text) == {**DEFAULTS, "augmentation.shift": 0.2}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "augmentation.shfit = 0.2",
            'unknown key "augmentation.shfit". Did you mean "augmentation.shift"?',
        ),
        ("augmentation = 0.2", 'unknown key "augmentation". Did you mean "augmentation.'),
        (
            "augmentation.flip = true",
            'augmentation.flip is True, expected one of "none", "horizontal"',
        ),
        (
            "[augmentation.shift]\nx = 1",
            "augmentation.shift is {'x': 1}, expected a number, 0 or more",
        ),
    ],
)
def test_a_wrong_setting_in_a_table_is_named_in_full(read, text, sentence):
    with pytest.raises(HyperparameterError, match=re.escape(sentence)):
        read(text)


def test_missing_keys_are_filled_in(read):
    assert read("") == DEFAULTS
    assert read("# only a comment\n") == DEFAULTS
    assert read("epochs = 3\npriority = -2") == {**DEFAULTS, "epochs": 3, "priority": -2}


def test_each_setting_has_the_type_of_its_default(read):
    found = read("learning_rate = 1\nlabel_smoothing = 0\nvalidation_split = 0")
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in DEFAULTS.items()
    }
    assert (found["learning_rate"], found["label_smoothing"]) == (1.0, 0.0)


WHOLE = "a whole number, 1 or more and at most 100000."
RATE = "a number, more than 0 and at most 10."
REFUSED = [
    ('epochs = "ten"', f'epochs is "ten", expected {WHOLE}'),
    ("epochs = 0", f"epochs is 0, expected {WHOLE}"),
    ("epochs = -1", f"epochs is -1, expected {WHOLE}"),
    ("epochs = 100_001", f"epochs is 100001, expected {WHOLE}"),
    ("epochs = 2.0", f"epochs is 2.0, expected {WHOLE}"),
    ("epochs = true", f"epochs is True, expected {WHOLE}"),
    ("epochs = [3]", f"epochs is [3], expected {WHOLE}"),
    ("[epochs]\nof = 3", f"epochs is {{'of': 3}}, expected {WHOLE}"),
    ("epochs = 07:32:00", f"epochs is 07:32:00, expected {WHOLE}"),
    ("epochs = nan", f"epochs is nan, expected {WHOLE}"),
    (
        "epochs = 0x" + "f" * 5000,
        f"epochs is a number of thousands of digits, expected {WHOLE}",
    ),
    (
        "batch_size = 65537",
        "batch_size is 65537, expected a whole number, 1 or more and at most 65536.",
    ),
    ("learning_rate = 0", f"learning_rate is 0, expected {RATE}"),
    ("learning_rate = -0.0", f"learning_rate is -0.0, expected {RATE}"),
    ("learning_rate = nan", f"learning_rate is nan, expected {RATE}"),
    ("learning_rate = inf", f"learning_rate is inf, expected {RATE}"),
    ("learning_rate = -inf", f"learning_rate is -inf, expected {RATE}"),
    ("learning_rate = 1e400", f"learning_rate is inf, expected {RATE}"),
    ("learning_rate = true", f"learning_rate is True, expected {RATE}"),
    ("learning_rate = 10.000001", f"learning_rate is 10.000001, expected {RATE}"),
    (
        "label_smoothing = 1.0",
        "label_smoothing is 1.0, expected a number, 0 or more and less than 1.",
    ),
    (
        "validation_split = 0.91",
        "validation_split is 0.91, expected a number, 0 or more and at most 0.9.",
    ),
    ("seed = -1", "seed is -1, expected a whole number, 0 or more and at most 2147483647."),
    (
        "seed = 2147483648",
        "seed is 2147483648, expected a whole number, 0 or more and at most 2147483647.",
    ),
    (
        "priority = 1000001",
        "priority is 1000001, expected a whole number, -1000000 or more and at most 1000000.",
    ),
    (
        'optimizer = "Adam"',
        'optimizer is "Adam", expected one of "adam", "adamw", "sgd", "rmsprop".',
    ),
    ("optimizer = 1", 'optimizer is 1, expected one of "adam", "adamw", "sgd", "rmsprop".'),
    (
        'precision = ["auto"]',
        "precision is ['auto'], expected one of"
        ' "auto", "float32", "mixed_bfloat16", "mixed_float16".',
    ),
    ("learning_rat = 1", 'unknown key "learning_rat". Did you mean "learning_rate"?'),
    ("Epochs = 1", 'unknown key "Epochs". Did you mean "epochs"?'),
    ("[training]\nepochs = 1", f'unknown key "training". Known keys: {", ".join(SETTINGS)}.'),
    ('"a\\n\\u001b" = 1', rf'unknown key "a\n\x1b". Known keys: {", ".join(SETTINGS)}.'),
    ('optimizer = "\\u202e"', None),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED, ids=[text[:30] for text, _ in REFUSED])
def test_a_wrong_set_is_refused_with_file_key_what_was_found_and_what_is_allowed(
    error_of, text, sentence
):
    error = error_of(text)
    assert error.isprintable()
    assert error.startswith("fast.toml: ")
    if sentence:
        assert error == f"fast.toml: {sentence}"


def test_a_long_value_is_cut_and_stays_quoted(error_of):
    error = error_of(f'optimizer = "{"a" * 1000}"')
    assert error.startswith(f'fast.toml: optimizer is "{"a" * 57}...", expected one of')


def test_the_ends_of_each_range_belong_to_it_or_not_as_the_sentence_says(read):
    kept = {
        "epochs": [1, 100_000],
        "batch_size": [1, 65_536],
        "learning_rate": [5e-324, 10],
        "fine_tune_after": [0, 100_000],
        "fine_tune_learning_rate": [5e-324, 10],
        "augmentation.shift": [0, 0.5],
        "augmentation.crop": [0, 0.5],
        "label_smoothing": [0, 0.9999],
        "weight_decay": [0, 1],
        "validation_split": [0, 0.9],
        "early_stopping_patience": [0, 100_000],
        "seed": [0, 2147483647],
        "priority": [-1_000_000, 1_000_000],
    }
    assert kept.keys() == {key for key, setting in SETTINGS.items() if not setting.choices}
    for key, values in kept.items():
        for value in values:
            assert read(f"{key} = {value}")[key] == value


def test_each_named_choice_is_taken(read):
    for key, setting in SETTINGS.items():
        for choice in setting.choices:
            assert read(f'{key} = "{choice}"')[key] == choice


def test_broken_toml_is_refused_with_its_line(error_of):
    assert error_of("epochs = 1\nbatch_size = \n") == (
        "fast.toml is no TOML file (Invalid value (at line 2, column 14)). Correct that line."
    )
    assert "at line 3" in error_of("epochs = 1\n\nepochs = 2\n")


BROKEN = [
    b"epochs = 1 # \xff",
    b"\x00",
    b"epochs = " + b"9" * 5000,
    b"epochs = " + b"[" * 5000,
    b"epochs = 1\x1b",
    b"\xff\xfee\x00",
    b"import os",
    b"<html>",
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:20]))
def test_what_is_no_toml_is_refused_in_one_printable_line(error_of, content):
    error = error_of(content)
    assert error.startswith("fast.toml is no TOML file (")
    assert error.endswith("). Correct that line.")
    assert error.isprintable()


def test_a_set_that_went_while_we_looked_is_no_wrong_set(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_hyperparameters(tmp_path / "none.toml")


@pytest.mark.slow
def test_mutated_sets_give_settings_or_a_sentence_and_nothing_else(read):
    draw = random.Random(20220608)
    shipped = SHIPPED.read_bytes()
    pieces = [b"=", b'"', b"[", b"]", b"{", b"}", b"nan", b"-", b"1e999", b"\n", b"true", b"\xff"]
    pieces += [b"0x" + b"f" * 5000, b"9" * 5000, b"'''", b".", b"\x00", b"1979-05-27", b"epochs"]
    outcomes = {"settings": 0, "refused": 0}
    for _ in range(1500):
        text = bytearray(shipped)
        for _ in range(draw.randint(1, 4)):
            start = draw.randrange(len(text))
            end = start + draw.choice([0, 0, 1, 1, 5, 30])
            text[start:end] = draw.choice([b"", bytes([draw.randrange(256)]), draw.choice(pieces)])
        try:
            found = read(bytes(text))
        except HyperparameterError as error:
            assert str(error).isprintable()
            outcomes["refused"] += 1
        else:
            assert found.keys() == SETTINGS.keys()
            assert all(SETTINGS[key].accepts(value) for key, value in found.items())
            outcomes["settings"] += 1
    assert min(outcomes.values()) > 100, outcomes


# What would take too much memory is refused before it is parsed.


def test_a_set_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.toml"
    path.write_text("#" * (constants.MOST_SET_BYTES + 1))
    with pytest.raises(OSError, match="it has 65,537 bytes, at most 65,536 are allowed"):
        read_hyperparameters(path)
    path.write_text("#" * constants.MOST_SET_BYTES)
    assert read_hyperparameters(path).epochs == 20


@pytest.mark.parametrize(
    "text", ["a{}=1", '"#"{}=1', "[a{}]", "[[a{}]]", 'x = ["""\n#""", {{a{}=1}}]', "x = 1{}"]
)
def test_a_key_of_thousands_of_dots_is_refused_before_it_is_parsed(tmp_path, text, monkeypatch):
    monkeypatch.setattr(tomllib, "loads", None)
    path = tmp_path / "dots.toml"
    path.write_text("epochs = 3\n" + text.format(".a" * 65))
    with pytest.raises(HyperparameterError, match=r"line [23]: 65 dots, at most 64 are allowed"):
        read_hyperparameters(path)


@pytest.mark.parametrize("nested", ["[", "{a="])
def test_values_nested_thousands_of_times_are_refused(tmp_path, nested):
    path = tmp_path / "deep.toml"
    path.write_text("a = " + nested * 20_000)
    with pytest.raises(HyperparameterError, match=r"deep\.toml is no TOML file"):
        read_hyperparameters(path)
