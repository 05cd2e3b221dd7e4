"""A page of small images, each with its class and how sure the model is, as a PNG."""

from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.analysis.drawing import (
    BLUE,
    FAINT,
    GREY,
    MARGIN,
    ORANGE,
    RED,
    Heading,
    axes_at,
    house_style,
    new_figure,
    png,
    text_width,
    write,
)
from pipeline.prediction.classification import Prediction, Predictions
from pipeline.prediction.model_choice import Model
from pipeline.stage.text import count, figure, percent

COLUMNS = 8
SIDE, GAP = 1.35, 0.25  # inches, of an image, and between two
CAPTION = 0.62  # inches, below an image
LEAST_COLUMNS = 5  # wide enough for the heading
MOST_NAMED = 6  # classes in the heading
UNSURE = 0.5  # below, the bar is orange: something else is likelier than this class


def contact_sheet(title: str, found: Predictions, model: Model) -> bytes:
    """The images that the model is least sure of, the least sure first; before all others those that are
    unlike all training images."""
    with house_style():
        shown = list(found.least_sure)
        across = max(LEAST_COLUMNS, min(COLUMNS, round((1.6 * len(shown)) ** 0.5)))
        down = -(-len(shown) // across)
        width = across * (SIDE + GAP) - GAP + 2 * MARGIN
        heading = Heading(width, title, _counts(found), _source(len(shown), found, model))
        top = heading.height + 0.25 * heading.scale
        picture = new_figure(width, top + down * (SIDE + CAPTION) + 0.15)
        heading.draw(picture)
        for place, number in enumerate(shown):
            x = MARGIN + place % across * (SIDE + GAP)
            y = top + place // across * (SIDE + CAPTION)
            _draw(picture, x, y, found.least_sure[number], found.rows[number])
        about = {"Run": model.run, "Dataset": model.dataset, "Content": found.content}
        return png(picture, about)


def _counts(found: Predictions) -> str:
    """Such as "12 images: cats 7, dogs 5"."""
    classes = Counter(row.class_name for row in found.rows if not row.problem).most_common()
    named = [f"{name} {number:,}" for name, number in classes[:MOST_NAMED]]
    if len(classes) > MOST_NAMED:
        named.append(f"{count(len(classes) - MOST_NAMED, 'more class', 'more classes')}")
    if found.unlike:
        named.append(f"unlike all training images {found.unlike:,}")
    if found.damaged:
        named.append(f"damaged {len(found.damaged):,}")
    return f"{count(len(found.rows), 'image')}: {', '.join(named)}"


def _source(shown: int, found: Predictions, model: Model) -> str:
    classified = len(found.rows) - len(found.damaged)
    which = f"the {shown} least sure" if shown < classified else "the least sure first"
    if found.unlike:
        which += ", after those unlike all training images (red)"
    accuracy = figure(model.accuracy, ".3f")
    by = f"by {model.title}, validation accuracy {accuracy}"
    return f"{which}; {by}" if shown > 1 else by


def _draw(picture: Figure, x: float, y: float, image: np.ndarray, row: Prediction) -> None:
    axes = axes_at(picture, x, y, SIDE, SIDE)
    axes.imshow(image, interpolation="nearest")  # pixels as the model saw them, not smoothed
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    if row.unlike:
        axes.spines[:].set(edgecolor=RED, linewidth=2.5)
    confidence = row.confidence or 0.0
    _bar(axes_at(picture, x, y + SIDE + 0.035, SIDE, 0.05), confidence)
    sure = percent(confidence)
    room = SIDE - text_width(sure, 9.5) - 0.06
    write(picture, x, y + SIDE + 0.13, row.class_name, room, weight="bold")
    write(picture, x + SIDE - text_width(sure, 9.5), y + SIDE + 0.13, sure, SIDE, color=GREY)
    write(picture, x, y + SIDE + 0.32, row.file.rpartition("/")[2], SIDE, fontsize=7.5, color=GREY)


def _bar(axes: Axes, share: float) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=FAINT, linewidth=0))
    axes.add_patch(
        Rectangle((0, 0), share, 1, facecolor=BLUE if share >= UNSURE else ORANGE, linewidth=0)
    )
