"""A hyperparameter set that the form writes."""

import pytest

from helper import UserError
from pipeline.artifacts.hyperparameters import SETTINGS, Settings, read_hyperparameters
from pipeline.uploads.new_files import as_toml, put_set


def test_a_set_says_what_differs_and_is_read_back(tmp_path):
    values = {"epochs": 3, "learning_rate": 0.0005, "augmentation.flip": "horizontal", "seed": 0}
    path = put_set(tmp_path, "mine", values)
    assert path.read_text().splitlines()[1:] == [
        "epochs = 3",
        "learning_rate = 0.0005",
        'augmentation.flip = "horizontal"',
    ]
    assert read_hyperparameters(path) == {"": Settings.of(values)}
    assert [file.name for file in tmp_path.iterdir()] == ["mine.toml"]


def test_each_setting_is_read_back_as_it_was_given(tmp_path):
    other = {
        key: setting.choices[-1] if setting.choices else type(setting.default)(1)
        for key, setting in SETTINGS.items()
        if key not in ("label_smoothing", "validation_split", "augmentation.shift", "augmentation.crop")
    }  # fmt: skip
    other |= {"label_smoothing": 1e-05, "validation_split": 0.25, "augmentation.shift": 0.5}
    assert read_hyperparameters(put_set(tmp_path, "all", other)) == {"": Settings.of(other)}


def test_a_set_is_never_put_over_another(tmp_path):
    put_set(tmp_path, "mine", {"epochs": 3})
    with pytest.raises(UserError, match=r"mine\.toml is there already\. Give it another name\."):
        put_set(tmp_path, "mine", {"epochs": 4})
    assert (tmp_path / "mine.toml").read_text() == as_toml({"epochs": 3})


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "_x", "a b", "x" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="is no name for a set: expected letters"):
        put_set(tmp_path, name, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"), [("epochs", 0), ("epochs", "3"), ("optimizer", 'x"\nseed = 1'), ("other", 1)]
)
def test_a_value_that_is_not_allowed_is_refused(tmp_path, key, value):
    with pytest.raises(UserError, match=f"^{key} is .*, expected"):
        put_set(tmp_path, "mine", {key: value})
    assert list(tmp_path.iterdir()) == []
