import logging
import re
import warnings

import numpy as np
import pytest
from matplotlib import rcParams

from pipeline.analysis import drawing, plots
from pipeline.stage import text
from testkit.pictures import (
    HOSTILE,
    METADATA,
    has_colour,
    margin_is_white,
    opened,
    pixels,
    texts_of,
)

pytestmark = pytest.mark.slow

NAN = float("nan")


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def history(epochs: int) -> dict[str, list[float]]:
    falling = np.exp(-np.arange(epochs) / (epochs / 3 + 1))
    return {
        "loss": list(2 * falling),
        "val_loss": list(2 * falling + 0.3),
        "accuracy": list(1 - 0.8 * falling),
        "val_accuracy": list(0.95 - 0.8 * falling),
    }


def history_png(values: dict, best: int | None = None, title: str = "a run") -> bytes:
    return plots.history_plot(values, best, title, METADATA)


def errors_png(
    count: int,
    names=("cat", "dog"),
    wrong: int | None = None,
    total: int = 60,
    shape=(32, 32, 3),
    title="a run",
    files=(),
) -> bytes:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    true = np.arange(count) % len(names)
    confidence = np.linspace(0.9999, 0.4, count)
    wrong = count if wrong is None else wrong
    predicted = (true + 1) % len(names)
    return plots.errors_plot(
        images, true, predicted, confidence, names, title, METADATA, wrong, total, files
    )


def matrix_of(classes: int) -> np.ndarray:
    """90 right and a few mistaken images of each class."""
    return 90 * np.eye(classes, dtype=int) + 4 * np.eye(classes, k=1, dtype=int)


def confusion_png(matrix: np.ndarray, names=None, title="a run") -> bytes:
    names = names or [f"class {i}" for i in range(len(matrix))]
    return plots.confusion_plot(matrix, names, title, METADATA)


def all_pngs() -> list[bytes]:
    return [history_png(history(3), 2), errors_png(0), errors_png(3), confusion_png(matrix_of(3))]


NOTE = "Note: " + "ended early in epoch 5: the loss became NaN; " * 5


def noted(note: str) -> list[bytes]:
    image, one = np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, int)
    errors = image, one, one + 1, one + 0.5, ("cat", "dog"), "a run", {}
    none = image[:0], one[:0], one[:0], one[:0], ("cat", "dog"), "a run", {}
    return [
        plots.history_plot(history(3), 2, "a run", {}, note),
        plots.errors_plot(*errors, 1, 9, note=note),
        plots.errors_plot(*none, 0, 9, note=note),
        *(plots.confusion_plot(matrix_of(n), ["c"] * n, "a run", {}, note) for n in (3, 30, 120)),
    ]


def test_a_note_is_on_each_picture_and_whole():
    for with_note, without in zip(noted(NOTE), noted(""), strict=True):
        lines = len(drawing.wrapped(NOTE, opened(without).width / drawing.DPI - 0.8, 10.5))
        taller = (opened(with_note).height - opened(without).height) / drawing.DPI
        scale = drawing.heading_scale(opened(without).width / drawing.DPI)
        assert taller == pytest.approx(0.23 * lines * scale, abs=0.02)
        assert has_colour(with_note, drawing.RED)
        assert margin_is_white(with_note)


def test_a_test_part_that_was_held_out_is_said_on_the_matrix():
    facts = plots.confusion_subtitles(matrix_of(2), 2, held_out=True)
    assert facts[1] == "the test images are held out from all, by content"


def test_metadata_can_be_read_back():
    for png in all_pngs():
        text = opened(png).text
        assert {key: text[key] for key in METADATA} == METADATA


@pytest.mark.parametrize("name", ["🐈 👩\u200d👧", "W" * 300, "=cmd|' /C calc'!A0"])
def test_a_caption_is_cut_in_its_name_alone(name):
    with drawing.house_style():
        figure = drawing.new_figure(3, 3)
        plots.write_caption(figure, 0, 0, 1.8, name, name, "50.0 %")
        true, predicted, _ = texts_of(figure)
        assert max(drawing.text_width(text, 9.5) for text in (true, predicted)) <= 1.8
    assert re.fullmatch(r"true: (\\U|WW|=c).*", true)
    assert re.fullmatch(r"predicted: (\\U|WW|=c).*", predicted)


def test_half_a_character_in_the_metadata_is_spelled_out():
    png = plots.history_plot(history(2), 1, "a run", {"Dataset": "half \ud800"})
    assert opened(png).text["Dataset"] == "half \\ud800"


def test_the_same_numbers_give_the_same_bytes():
    assert all_pngs() == all_pngs()


def test_pictures_are_white_with_something_on_them_and_nothing_cut_off():
    for png in all_pngs():
        assert (pixels(png)[0, 0] == 255).all()
        assert 0.005 < (pixels(png).min(axis=-1) < 250).mean() < 0.9
        assert margin_is_white(png)


def test_matplotlib_settings_of_others_are_left_as_they_were():
    before = dict(rcParams)
    all_pngs()
    assert dict(rcParams) == before


@pytest.mark.parametrize("title", HOSTILE)
def test_any_title_is_drawn_within_the_picture(title):
    for png in (
        history_png(history(2), 1, title),
        errors_png(0, title=title),
        errors_png(1, title=title),
        confusion_png(matrix_of(2), title=title),
    ):
        assert margin_is_white(png)


def test_any_class_name_is_drawn_within_the_picture(caplog):
    with caplog.at_level(logging.WARNING):
        for png in (errors_png(9, HOSTILE), confusion_png(matrix_of(9), HOSTILE)):
            assert margin_is_white(png)
    assert not caplog.records


# History.


@pytest.mark.parametrize("epochs", [1, 2, 12, 350])
def test_history_of_any_length_shows_both_curves_and_the_best_epoch(epochs):
    png = history_png(history(epochs), epochs)
    assert has_colour(png, drawing.BLUE)
    assert has_colour(png, drawing.ORANGE)
    assert png != history_png(history(epochs), None)
    assert margin_is_white(png)


def test_history_without_validation_shows_one_curve():
    png = history_png({key: values for key, values in history(5).items() if "val" not in key}, 3)
    assert has_colour(png, drawing.BLUE)
    assert not has_colour(png, drawing.ORANGE)


def axes_of(values: dict, best: int | None, metric: str):
    with drawing.house_style():
        axes = drawing.axes_at(drawing.new_figure(6, 4), 1, 1, 4, 2)
        plots.draw_metric(axes, values, metric, max(map(len, values.values())), best)
        axes.figure.canvas.draw()
    return axes


def legend_of(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_history_says_the_best_epochs_validation_value_in_words():
    axes = axes_of({"accuracy": [0.1, 0.2], "val_accuracy": [0.3, 0.45]}, 2, "accuracy")
    assert legend_of(axes) == ["accuracy", "validation accuracy", "best epoch 2: 0.45"]


def test_history_falls_back_to_the_training_value_of_the_best_epoch():
    assert legend_of(axes_of({"loss": [0.5, 0.25]}, 2, "loss")) == ["loss", "best epoch 2: 0.25"]


def test_history_says_how_many_values_are_not_numbers():
    axes = axes_of({"loss": [1.0, NAN, float("inf")]}, 2, "loss")
    assert legend_of(axes) == ["loss (2 not a number)", "best epoch 2"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 350])
def test_history_ticks_are_whole_epochs_from_one_on(epochs):
    axes = axes_of(history(epochs), 1, "loss")
    left, right = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert ticks
    assert all(tick == int(tick) >= 1 for tick in ticks)
    assert left < 1
    assert right > epochs


def test_history_scale_holds_every_value_and_no_impossible_accuracy():
    low, high = axes_of({"accuracy": [0.0, 1.0]}, 1, "accuracy").get_ylim()
    assert -0.05 < low < 0
    assert 1 < high < 1.05


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"loss": []},
        {"loss": [NAN], "accuracy": [NAN]},
        {"loss": [NAN, NAN, 1.0, NAN], "val_loss": [NAN] * 4, "accuracy": [0.5] * 4},
        {"loss": [float("inf"), -float("inf"), 3e38], "accuracy": [0.0, 0.0, 0.0]},
        {"loss": [0.0, 0.0], "val_accuracy": [1.0, 1.0]},
        {"loss": [1.0, 0.5, 0.2], "val_loss": [1.0]},
    ],
)
def test_history_with_missing_or_unusable_values_is_still_a_picture(values):
    for best in (None, 1, 3):
        assert margin_is_white(history_png(values, best))


# Errors.


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 25])
def test_errors_of_any_number_are_all_drawn_in_their_order(count):
    """Read row by row: each image has a red of its own, which no text has."""
    reds = np.linspace(255, 135, count).astype(np.uint8)
    images = np.zeros((count, 4, 4, 3), np.uint8)
    images[..., 0] = reds[:, None, None]
    labels = np.zeros(count, int)
    png = plots.errors_plot(
        images, labels, labels + 1, reds / 256, ["cat", "dog"], "", {}, count, 60
    )
    drawn = pixels(png)
    corners = []
    for red in reds:
        rows, columns = np.nonzero((drawn == (red, 0, 0)).all(axis=-1))
        assert len(rows) > 40_000
        corners.append((rows.min(), columns.min()))
    assert corners == sorted(corners)
    assert len(set(corners)) == count
    assert margin_is_white(png)


def test_errors_caption_has_both_classes_and_the_confidence():
    with drawing.house_style():
        figure = drawing.new_figure(6, 4)
        plots.write_caption(figure, 1, 1, 3, "cat", "dog", text.percent(0.973))
        assert texts_of(figure) == ["true: cat", "predicted: dog", "confidence: 97.3 %"]
        plots.write_caption(figure, 1, 2, 3, "cat", "dog", "97.3 %", "000123.png")
    assert texts_of(figure)[-1] == "file: 000123.png"


@pytest.mark.parametrize("count", [1, 7, 25])
def test_file_names_stand_under_their_images_within_the_margins(count):
    files = ["000001.png", "W" * 300, "a\n\x1b[31m猫.png", "", "$x^2$"] * 5
    png = errors_png(count, files=files[:count])
    assert margin_is_white(png)
    assert opened(png).size > opened(errors_png(count)).size
    assert opened(png).size[0] == opened(errors_png(count)).size[0]
    assert png != errors_png(count, files=["another.png"] * count)


@pytest.mark.parametrize(
    ("shown", "wrong", "total", "words"),
    [
        (1, 1, 60, "1 of 60 test images is wrong (1.7 %)"),
        (1, 1, 1, "1 of 1 test image is wrong (100.0 %)"),
        (
            1,
            2,
            60,
            "2 of 60 test images are wrong (3.3 %); the most confident one",
        ),
        (
            3,
            3,
            60,
            "3 of 60 test images are wrong (5.0 %), the most confident first",
        ),
        (
            25,
            80,
            400,
            "80 of 400 test images are wrong (20.0 %); the 25 most confident",
        ),
    ],
)
def test_errors_heading_says_how_many_of_how_many(shown, wrong, total, words):
    assert plots.errors_subtitle(shown, wrong, total) == words
    assert errors_png(shown, wrong=wrong, total=total) != errors_png(shown, wrong=wrong, total=999)


def test_no_errors_are_said_in_words():
    with drawing.house_style():
        texts = texts_of(plots.no_errors("a run", 60))
    assert texts[:3] == [
        "a run",
        "0 of 60 test images are wrong",
        "test accuracy 1.000 (0.940-1.000 of 60)",
    ]
    assert texts[-1] == "No mistakes were made among 60 test images."
    assert margin_is_white(errors_png(0))


def test_few_errors_make_a_compact_picture():
    areas = [np.prod(opened(errors_png(count)).size) for count in (0, 1, 2, 25)]
    assert max(areas[:3]) < areas[3] / 3


def test_small_pixels_stay_crisp():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = image[0, 1, 1] = (0, 255, 0)
    png = plots.errors_plot(image, [0], [1], [0.5], ["cat", "dog"], "a run", {}, 1, 9)
    red, green, blue = np.moveaxis(pixels(png).astype(int), -1, 0)
    pure = (red < 5) & (blue < 5) & (green > 250)
    blurred = (red < 5) & (blue < 5) & (green > 60) & (green < 200)
    assert pure.sum() > 20_000
    assert blurred.sum() < 0.02 * pure.sum()


@pytest.mark.parametrize("shape", [(8, 60, 3), (60, 8, 3), (1, 1, 3), (300, 200, 3)])
def test_errors_of_any_shape_fit(shape):
    assert margin_is_white(errors_png(4, shape=shape))


def test_long_class_names_end_before_the_next_image():
    names = ["a class with a very long name of sixty or more characters, the first", "W" * 300]
    gaps = pixels(errors_png(5, names))
    left = [round(drawing.DPI * (drawing.MARGIN + column * 2.2)) for column in range(1, 5)]
    below_heading = round(drawing.DPI * 1.3)
    for x in left:
        assert (gaps[below_heading:, x - 30 : x - 4] == 255).all()


# Confusion.


def cell_texts(matrix: np.ndarray) -> list[str]:
    """The counts in the cells and the recall beside the rows."""
    with drawing.house_style():
        axes = drawing.axes_at(drawing.new_figure(6, 6), 1, 1, 4, 4)
        plots.draw_cells(axes, matrix, np.arange(len(matrix)), 0.5)
        plots.draw_recall(axes, matrix, np.arange(len(matrix)), 8)
    return texts_of(axes)


@pytest.mark.parametrize("classes", [1, 2, 10, 100])
def test_confusion_of_few_and_many_classes_is_a_picture_of_reasonable_size(classes):
    png = confusion_png(matrix_of(classes))
    assert margin_is_white(png)
    assert len(png) < 3_000_000
    assert max(opened(png).size) < 5000


def test_confusion_of_a_model_that_guesses_among_a_hundred_classes_stays_below_3_mb():
    matrix = np.random.default_rng(0).multinomial(10_000, [0.01] * 100, size=100)
    assert len(confusion_png(matrix)) < 3_000_000


def test_confusion_shows_counts_recall_and_a_dash_for_a_class_without_images():
    texts = cell_texts(np.array([[30, 10, 0], [0, 0, 0], [7, 0, 21]]))
    assert texts[:9] == ["30", "10", "0", "0", "0", "0", "7", "0", "21"]
    assert texts[9:] == ["recall", "75.0 %", "\N{EN DASH}", "75.0 %"]


def test_confusion_of_many_classes_leaves_zeros_out():
    texts = cell_texts(matrix_of(30))
    assert "0" not in texts
    assert texts.count("90") == 30
    assert texts.count("4") == 29


def test_confusion_heading_says_how_many_are_right():
    facts, _ = plots.confusion_subtitles(np.array([[30, 10], [7, 21]]), 2)
    assert facts == "51 of 68 test images right, accuracy 0.750 (0.636-0.838 of 68)"


def test_one_mistake_in_five_hundred_is_visible_beside_the_diagonal():
    right = np.diag([499, 499])
    wrong = right.copy()
    wrong[0, 1] = 1
    changed = np.abs(pixels(confusion_png(right)).astype(int) - pixels(confusion_png(wrong)))
    cell = (1.2 * drawing.DPI) ** 2
    assert (changed.max(axis=-1) > 20).sum() > 0.8 * cell


def test_the_larger_its_share_of_the_row_the_darker_a_cell():
    with drawing.house_style():
        axes = drawing.axes_at(drawing.new_figure(6, 6), 1, 1, 4, 4)
        plots.draw_cells(axes, np.array([[60, 10, 30], [0, 900, 100], [1, 0, 99]]), np.arange(3), 1)
    light = np.asarray(axes.collections[0].get_array()).mean(axis=-1)
    assert light[1, 0] > light[2, 0] > light[0, 1] > light[0, 2]
    assert light[0, 0] > light[1, 1] > light[2, 2]
    assert light[0, 1] == light[1, 2]


def test_classes_that_do_not_occur_are_left_out_and_counted():
    matrix = np.zeros((7, 7), int)
    matrix[1, 1], matrix[1, 5], matrix[3, 3] = 20, 2, 19
    shown = plots.classes_that_occur(matrix)
    assert shown.tolist() == [1, 3, 5]
    _, left_out, *_ = plots.confusion_subtitles(matrix, len(shown))
    assert left_out == "4 classes without test images left out"
    few = confusion_png(matrix[np.ix_(shown, shown)], [f"class {i}" for i in shown])
    assert opened(confusion_png(matrix)).width == opened(few).width


def test_of_a_hundred_classes_and_more_the_worst_pairs_are_listed():
    matrix = 50 * np.eye(130, dtype=int)
    matrix[120, 7], matrix[3, 4], matrix[4, 3] = 30, 5, 5
    matrix[4, 4] = 10
    assert plots.worst_pairs(matrix) == [(120, 7), (4, 3), (3, 4)]
    assert margin_is_white(confusion_png(matrix, HOSTILE * 15))
    assert margin_is_white(confusion_png(50 * np.eye(100, dtype=int)))
    noise = np.random.default_rng(0).multinomial(10_000, [0.01] * 100, size=100)
    assert len(plots.worst_pairs(noise)) == plots.MOST_PAIRS


def test_unequal_classes_and_guessing_are_said_on_the_picture():
    facts = plots.confusion_subtitles(np.array([[95, 0], [5, 0]]), 2)
    assert facts[1:4] == [
        "balanced accuracy 0.500, macro F1 0.487",
        "always guessing the largest class gives 0.950",
        "no better than guessing",
    ]


def test_confusion_of_an_empty_test_set_is_a_picture():
    assert margin_is_white(confusion_png(np.zeros((3, 3), int)))
