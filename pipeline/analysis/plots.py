"""Pictures of one run: numbers in, PNG out."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.analysis.drawing import (
    BLUE,
    EMPTY,
    FAINT,
    GREEN,
    GREY,
    INK,
    MARGIN,
    ORANGE,
    RED,
    RIGHT,
    STYLE,
    Heading,
    axes_at,
    fit,
    house_style,
    is_dark,
    new_figure,
    png,
    text_width,
    write,
)
from pipeline.analysis.table_plots import Column, Section, table_plot
from pipeline.stage.text import count, percent
from pipeline.statistics import class_metrics
from pipeline.statistics.intervals import with_interval

WRONG = LinearSegmentedColormap.from_list("wrong", ["#fdecd6", "#f2b268", "#a8431c"])

MANY_EPOCHS = 40  # from here on a large dot at each epoch would hide the line
MANY_CLASSES = 20  # from here on zeros in the cells would hide the counts
PAIRS_FROM = 100  # classes; a matrix of so many could not be read, nor opened by some viewers
MOST_PAIRS = 40


def history_plot(
    history: dict[str, list[float]],
    best_epoch: int | None,
    title: str,
    metadata: dict[str, str],
    note: str = "",
) -> bytes:
    """Accuracy and loss by epoch, training and validation, as a PNG.

    Args:
        history: up to four lists of one number per epoch, "accuracy", "val_accuracy", "loss" and
            "val_loss"; any may be missing, any number may be nan.
        best_epoch: counted from 1, or None to mark none.
        note: what the reader has to know in order not to be misled.
    """
    with house_style():
        epochs = max((len(values) for values in history.values()), default=0)
        best = "" if best_epoch is None else f", best epoch {best_epoch}"
        heading = Heading(11.5, title, count(epochs, "epoch") + best, note=note)
        figure = new_figure(11.5, heading.height + 4.28)
        heading.draw(figure)
        for x, metric in ((0.95, "accuracy"), (6.55, "loss")):
            axes = axes_at(figure, x, heading.height + 1.03, 4.55, 2.45)
            draw_metric(axes, history, metric, epochs, best_epoch)
        return png(figure, metadata)


def draw_metric(
    axes: Axes, history: dict[str, list[float]], metric: str, epochs: int, best: int | None
) -> None:
    """One panel: the metric and its validation counterpart, and their best epoch."""
    drawn = np.array([])
    for prefix, words, colour in (("", "", BLUE), ("val_", "validation ", ORANGE)):
        values = np.array(history.get(prefix + metric, []), dtype=float)
        if len(values):
            draw_line(axes, values, words + metric, colour)
            drawn = np.append(drawn, values)
    if best is not None:
        mark_best(axes, history.get(f"val_{metric}") or history.get(metric) or [], best)
    limit_axes(axes, drawn, epochs, metric == "accuracy")
    axes.set_title(metric.capitalize(), loc="left", y=1.22, fontsize=12, weight="bold")
    axes.set_xlabel("epoch")
    axes.yaxis.set_major_formatter("{x:.4g}")  # the default may write "1e6" over the legend
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    if axes.lines:
        # Above the panel, where it hides nothing whatever the curves do.
        place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.99), "borderpad": 0.2}
        axes.legend(**place, ncols=2, columnspacing=1.5, frameon=False)


def draw_line(axes: Axes, values: np.ndarray, name: str, colour: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, np.nan)
        name += f" ({len(values) - finite.sum()} not a number)"
    # A number between two nans has no line to either side: without its dot it could not be seen.
    dot = {"markersize": 5 if len(values) < MANY_EPOCHS else 2.2, "markeredgewidth": 0}
    epochs = np.arange(1, len(values) + 1)
    axes.plot(epochs, values, "o-", color=colour, linewidth=1.8, label=name, **dot)


def mark_best(axes: Axes, values: list[float], best: int) -> None:
    """A dashed line at the epoch, a ring at its value, and the value in words."""
    label = f"best epoch {best}"
    if best <= len(values) and np.isfinite(values[best - 1]):
        label += f": {values[best - 1]:.4g}"
        ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.6}
        axes.plot(best, values[best - 1], "o", color=INK, zorder=3, **ring)
    axes.axvline(best, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label=label)


def limit_axes(axes: Axes, values: np.ndarray, epochs: int, share: bool) -> None:
    """Room around the values, and ticks at whole epochs only. `share`: nothing lies beyond 0..1."""
    axes.set_xlim(0.5, max(1.5, epochs + 0.5, 1.01 * epochs))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    values = values[np.isfinite(values)]
    if not len(values):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=GREY)
        return
    low, high = values.min(), values.max()
    room = max(0.08 * (high - low), 0.02 if share else 0.05 * abs(high), 1e-6)
    low, high = low - room, high + room
    axes.set_ylim((max(low, -0.02), min(high, 1.02)) if share else (low, high))


def errors_plot(
    images: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    class_names: Sequence[str],
    title: str,
    metadata: dict[str, str],
    total_wrong: int,
    total: int,
    files: Sequence[str] = (),
    note: str = "",
) -> bytes:
    """A grid of mistaken test images in the order given, as a PNG.

    Args:
        images: uint8 (n, height, width, 3), the most confident mistake first; 25 fill a page.
        true, predicted: int (n,), positions in `class_names`.
        confidence: float (n,), 0 to 1.
        total_wrong, total: how many of how many test images are wrong, shown here or not.
        files: their names, or none where they are not known.
    """
    with house_style():
        if len(images) == 0:
            return png(no_errors(title, total, note), metadata)
        tested = f"test accuracy {with_interval((total - total_wrong) / total, total)}"
        rows = -(-len(images) // 5)
        columns = -(-len(images) // rows)
        side = {1: 3.0, 2: 2.5}.get(columns, 1.8)
        tall = side * min(1, images.shape[1] / images.shape[2])
        cell = max(side + 0.4, 6.4 / columns)
        caption = 0.95 + 0.19 * bool(files)
        width = columns * cell + 2 * MARGIN - 0.3
        subtitle = errors_subtitle(len(images), total_wrong, total)
        heading = Heading(width, title, subtitle, tested, note=note)
        figure = new_figure(width, heading.height + rows * (tall + caption) + 0.35)
        heading.draw(figure)
        for i, image in enumerate(images):
            x = MARGIN + i % columns * cell
            y = heading.height + 0.2 + i // columns * (tall + caption)
            draw_image(axes_at(figure, x, y, side, tall), image)
            words = class_names[true[i]], class_names[predicted[i]], percent(confidence[i])
            write_caption(figure, x, y + tall + 0.08, cell - 0.4, *words, *files[i : i + 1])
        return png(figure, metadata)


def errors_subtitle(shown: int, wrong: int, total: int) -> str:
    which = ", the most confident first" if wrong > 1 else ""
    if shown < wrong:
        which = f"; the {shown} most confident" if shown > 1 else "; the most confident one"
    verb = "is" if wrong == 1 else "are"
    return f"{wrong} of {count(total, 'test image')} {verb} wrong ({percent(wrong / total)}){which}"


def no_errors(title: str, total: int, note: str = "") -> Figure:
    tested = f"test accuracy {with_interval(1.0, total)}"
    subtitle = f"0 of {count(total, 'test image')} are wrong"
    heading = Heading(6.8, title, subtitle, tested, note=note)
    figure = new_figure(6.8, heading.height + 1.55)
    heading.draw(figure)
    text = f"No mistakes were made among {count(total, 'test image')}."
    y = heading.height + 0.3
    write(figure, MARGIN, y, "\N{CHECK MARK}", 1, fontsize=26, color=GREEN)
    write(figure, MARGIN + 0.55, y + 0.12, text, 5.5, fontsize=13)
    return figure


def draw_image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, interpolation="nearest")  # pixels as the model saw them, not smoothed
    axes.set_anchor("SW")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)


def write_caption(
    figure: Figure,
    x: float,
    y: float,
    room: float,
    true: str,
    predicted: str,
    confidence: str,
    file: str = "",
) -> None:
    write(figure, x, y, with_head("true: ", true, room), room)
    write(figure, x, y + 0.19, with_head("predicted: ", predicted, room), room, color=RED)
    write(figure, x, y + 0.38, f"confidence: {confidence}", room, color=GREY)
    if file:
        write(figure, x, y + 0.57, with_head("file: ", file, room), room, color=GREY)


def with_head(head: str, name: str, room: float) -> str:
    """`head` whole, and as much of `name` as there is room for beside it."""
    size = STYLE["font.size"]
    return head + fit(name, room - text_width(head, size) - 0.02, size)


def confusion_plot(
    matrix: np.ndarray,
    class_names: Sequence[str],
    title: str,
    metadata: dict[str, str],
    note: str = "",
    held_out: bool = False,
) -> bytes:
    """Which class is taken for which, and each class's recall, as a PNG.

    Args:
        matrix: int (classes, classes), rows true, columns predicted. Of 100 classes and more the pairs
            that are mistaken most often are listed instead.
        note: what the reader has to know in order not to be misled.
        held_out: whether the test images were drawn from all, as no test part was given.
    """
    matrix = np.asarray(matrix, dtype=int)
    shown = classes_that_occur(matrix)
    if len(shown) >= PAIRS_FROM:
        return worst_pairs_plot(matrix, class_names, title, metadata, note, held_out)
    with house_style():
        cell = float(np.clip(6.5 / len(shown), 0.26, 1.3))
        size = min(10.0, 3.5 + 16 * cell)
        names = [fit(class_names[i], 1.9, size) for i in shown]
        widest = max(text_width(name, size) for name in names)
        slanted = widest > 0.9 * cell
        left, side = MARGIN + 0.4 + widest, cell * len(shown)
        below = 0.75 * widest if slanted else 0.2
        width = max(left + side + 0.9 + MARGIN, 7.2)
        heading = Heading(
            width, title, *confusion_subtitles(matrix, len(shown), held_out), note=note
        )
        top = heading.height + 0.5
        figure = new_figure(width, top + side + below + 0.6 + MARGIN)
        heading.draw(figure)
        axes = axes_at(figure, left, top, side, side)
        draw_cells(axes, matrix, shown, cell)
        name_classes(axes, names, size, slanted)
        draw_recall(axes, matrix, shown, size)
        return png(figure, metadata)


def classes_that_occur(matrix: np.ndarray) -> np.ndarray:
    """Those with a test image, or that one was taken for; all where there is no image."""
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return np.flatnonzero(occurs if occurs.any() else np.ones(len(matrix), bool))


def confusion_facts(matrix: np.ndarray, shown: int, held_out: bool) -> list[str]:
    right, total = int(matrix.trace()), int(matrix.sum())
    accuracy = with_interval(right / max(total, 1), total)
    facts = [f"{right:,} of {count(total, 'test image')} right, accuracy {accuracy}"]
    if held_out:
        facts.append("the test images are held out from all, by content")
    if shown < len(matrix):
        left_out = count(len(matrix) - shown, "class", "classes")
        facts.append(f"{left_out} without test images left out")
    if not total:
        return facts
    if class_metrics.is_unequal(matrix):
        balanced, f1 = class_metrics.balanced_accuracy(matrix), class_metrics.macro_f1(matrix)
        guess = class_metrics.guessing_accuracy(matrix)
        facts.append(f"balanced accuracy {balanced:.3f}, macro F1 {f1:.3f}")
        facts.append(f"always guessing the largest class gives {guess:.3f}")
    if class_metrics.is_no_better_than_guessing(matrix):
        facts.append(class_metrics.GUESSING)
    return facts


def confusion_subtitles(matrix: np.ndarray, shown: int, held_out: bool = False) -> list[str]:
    colours = "blue: right, orange: mistaken; the darker, the larger the share of its row"
    return [*confusion_facts(matrix, shown, held_out), colours]


def worst_pairs(matrix: np.ndarray) -> list[tuple[int, int]]:
    """True and predicted class of mistakes, those with the most images first, then by their share."""
    mistakes = matrix - np.diag(matrix.diagonal())
    true, predicted = np.nonzero(mistakes)
    counts, images = mistakes[true, predicted], matrix.sum(axis=1)[true]
    order = np.lexsort((-counts / images, -counts))[:MOST_PAIRS]
    return [(int(true[pair]), int(predicted[pair])) for pair in order]


def worst_pairs_plot(
    matrix: np.ndarray,
    class_names: Sequence[str],
    title: str,
    metadata: dict[str, str],
    note: str = "",
    held_out: bool = False,
) -> bytes:
    """Which class is taken for which most often, with bars for the share of the true class."""
    pairs, images = worst_pairs(matrix), matrix.sum(axis=1)
    number = int((matrix - np.diag(matrix.diagonal()) > 0).sum())
    shown = len(classes_that_occur(matrix))
    which = f"{len(pairs)} of {count(number, 'pair')} of {count(shown, 'class', 'classes')}"
    section = Section(
        "Pairs mistaken most often" if pairs else "No mistakes",
        which if pairs else "",
        [
            (class_names[true], class_names[predicted], f"{matrix[true, predicted]}",
             f"{images[true]}", percent(matrix[true, predicted] / images[true]))
            for true, predicted in pairs
        ],
        [[matrix[true, predicted] / images[true]] for true, predicted in pairs],
    )  # fmt: skip
    columns = [Column("true class", right=False), Column("predicted class", right=False)]
    columns += [Column("mistaken"), Column("of"), Column("share", bar=True)]
    facts = confusion_facts(matrix, shown, held_out)
    return table_plot(title, facts, columns, [section], metadata, note)


def draw_cells(axes: Axes, matrix: np.ndarray, shown: np.ndarray, cell: float) -> None:
    """Counts, on colours by their share of the row: a big class does not outshine a small one."""
    counts = matrix[np.ix_(shown, shown)]
    shares = counts / np.maximum(matrix.sum(axis=1)[shown], 1)[:, None]
    # The square root lifts a mistake of 2 % out of the background.
    colours = WRONG(np.sqrt(shares))[..., :3]
    diagonal = np.arange(len(shown))
    colours[diagonal, diagonal] = RIGHT(shares.diagonal())[:, :3]
    colours[counts == 0] = to_rgb(EMPTY)
    edges = np.arange(len(shown) + 1) - 0.5
    axes.pcolormesh(edges, edges, colours, edgecolors="white", linewidth=min(1.5, 4 * cell))
    axes.set(xlim=edges[[0, -1]], ylim=edges[[-1, 0]])
    dark = is_dark(colours)
    size = min(12, 72 * cell * 0.36, 72 * cell * 0.85 / (0.64 * len(str(counts.max()))))
    for row, column in np.ndindex(counts.shape):
        number = counts[row, column]
        if number or len(shown) < MANY_CLASSES:
            colour = "white" if dark[row, column] else INK if number else "#a6b1bd"
            place = {"ha": "center", "va": "center", "fontsize": size}
            axes.text(column, row, str(number), color=colour, **place)


def name_classes(axes: Axes, names: list[str], size: float, slanted: bool) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=size, labelcolor=INK)
    axes.set_yticks(range(len(names)), names)
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(names)), names, **slant)
    axes.set_ylabel("true class", fontsize=size + 1)
    axes.set_xlabel("predicted class", fontsize=size + 1)


def draw_recall(axes: Axes, matrix: np.ndarray, shown: np.ndarray, size: float) -> None:
    """Beside each row, the share of the class's test images that were recognised."""
    right = len(shown) - 0.5
    place = {"textcoords": "offset points", "annotation_clip": False, "fontsize": size}
    axes.annotate("recall", (right, -0.5), (10, 6), va="bottom", color=GREY, **place)
    for row, i in enumerate(shown):
        images = matrix[i].sum()
        text = percent(matrix[i, i] / images) if images else "\N{EN DASH}"
        axes.annotate(text, (right, row), (10, 0), va="center", **place)
