from pipeline import run_warnings
from pipeline.raw_data import data_warnings

EARLY = {"ended_early": {"text": "ended early in epoch 5: the loss became NaN"}}


def test_what_a_run_and_its_dataset_warn_of_is_one_sentence_the_gravest_first():
    dataset = {
        "cropped": {"count": 90, "text": "images that are not square"},
        "not_in_test": {"count": 1},
        "in_train_and_test": {"count": 1399},
    }
    assert run_warnings.on_picture(EARLY | {"no_validation": {}}, dataset) == (
        "Note: ended early in epoch 5: the loss became NaN; no validation: the best epoch is chosen by"
        " what it was fitted on; 1,399 test images are in train, too; 1 class is not in the test"
        " part; 1 more warning in the run's .json."
    )
    assert run_warnings.on_picture({}, {"a": {}, "b": {}}) == "Note: 2 warnings in the run's .json."
    assert run_warnings.on_picture({}, {}) == ""


def test_whatever_a_description_holds_is_no_error():
    strange = {"ended_early": {"text": 3}, "no_validation": None}
    assert run_warnings.of_run(strange) == (run_warnings.NO_VALIDATION,)
    assert run_warnings.of_dataset({"in_train_and_test": "here", "few_images": {"count": "9"}}) == (
        "1 test image is in train, too",
        "1 class has under 10 training images",
    )


def test_the_kinds_are_those_that_raw_data_gives():
    source = data_warnings.__loader__.get_source(data_warnings.__name__)
    assert [kind for kind in run_warnings.COUNTED if f'_warning("{kind}", ' not in source] == []


def test_each_mark_has_its_footnote():
    said = run_warnings.of_run(EARLY | {"no_validation": {}})
    assert list(run_warnings.marks(said)) == list(run_warnings.FOOTNOTES)
