"""What makes the figures of a run mislead, in so few words that a picture or a table has room for them."""

import constants
from pipeline.json_values import table_in, text_in, whole_in
from pipeline.stage.text import count

# By kind, of one and of several; the gravest first. What a dataset has is as pipeline/raw_data says it.
COUNTED = {
    "in_train_and_test": ("test image is in train, too", "test images are in train, too"),
    "near_in_train_and_test": (
        "test image looks nearly as one in train",
        "test images look nearly as one in train",
    ),
    "different_labels": ("image has two labels", "images have two labels"),
    "near_different_labels": (
        "pair looks nearly alike and has two labels",
        "pairs look nearly alike and have two labels",
    ),
    "unequal_classes": (
        "class has under a tenth of the largest one's images",
        "classes have under a tenth of the largest one's images",
    ),
    "few_images": (
        f"class has under {constants.FEW_IMAGES} training images",
        f"classes have under {constants.FEW_IMAGES} training images",
    ),
    "not_in_validation": ("class is not in validation", "classes are not in validation"),
    "not_in_test": ("class is not in the test part", "classes are not in the test part"),
}
NO_VALIDATION = "no validation: the best epoch is chosen by what it was fitted on"
# Where there is room for a sign only, and what it stands for.
EARLY_MARK, NO_VALIDATION_MARK = "\N{DAGGER}", "\N{DOUBLE DAGGER}"
FOOTNOTES = {
    EARLY_MARK: "ended early: the best epoch until then counts",
    NO_VALIDATION_MARK: NO_VALIDATION,
}


def of_run(warnings: dict) -> tuple[str, ...]:
    """Of `warnings` by kind, as a checkpoint has them, those that bear on its figures."""
    early = text_in(table_in(warnings, "ended_early"), "text")
    return (*([early] if early else []), *([NO_VALIDATION] if "no_validation" in warnings else []))


def marks(said: tuple[str, ...]) -> str:
    """A sign for each of what `of_run` says."""
    return "".join(NO_VALIDATION_MARK if text == NO_VALIDATION else EARLY_MARK for text in said)


def of_dataset(warnings: dict) -> tuple[str, ...]:
    """Of `warnings` by kind, as a dataset has them, those that bear on the figures of its runs."""
    return tuple(
        count(whole_in(table_in(warnings, kind), "count") or 1, *words)
        for kind, words in COUNTED.items()
        if kind in warnings
    )


def on_picture(trained: dict, dataset: dict) -> str:
    """All in a sentence, those without room by their number; "" where there is none."""
    said = (*of_run(trained), *of_dataset(dataset))
    if left := len(trained) + len(dataset) - len(said):
        more = count(left, "more warning" if said else "warning")
        said = (*said, f"{more} in the run's .json")
    return f"Note: {'; '.join(said)}." if said else ""
