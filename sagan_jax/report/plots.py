"""Plots of a run, from arrays to PNG files: score histogram, ROC, loss curves.

Matplotlib is used through its Figure objects alone: no window, no global state, safe beside a caller's own pyplot.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sagan_jax.atomic_file import replacing
from sagan_jax.errors import UserError
from sagan_jax.judging.metrics import Labels, ScoreArray, auroc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
NORMAL, ABNORMAL = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion: colour-blind readers tell them apart
_COLOURS = (NORMAL, ABNORMAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_TITLES = {"generator": "Generator", "discriminator": "Discriminator", "validation": "Held-out normal images"}
_OTHER = "Training"
_COUNTED = ("calibration_images", "held_out_exceeding")
_NO_LOSS = ("epoch", "seconds", "images_per_second", "waiting_for_images", "reference_auroc", *_COUNTED)


class Histogram(NamedTuple):
    """Score distributions of both classes over shared bins."""

    edges: Float[np.ndarray, " edge"]
    normal: Int[np.ndarray, " bin"]
    abnormal: Int[np.ndarray, " bin"]
    hidden: int  # images whose score lies outside the bins
    logarithmic: bool  # bins of one ratio, not of one width


def histogram(scores: ScoreArray, labels: Labels) -> Histogram:
    """Counts of normal and abnormal images over shared bins that a few extreme scores cannot stretch.

    The bins cover the 0.5th to the 99.5th percentile of either class and a quarter more on both sides where there are
    scores. The percentiles are each class's own, so that a few abnormal images far to the right stay in the picture.
    Positive scores whose upper end is over 20 times as far from their median as the lower end get logarithmic bins
    between just the percentiles.

    Args:
        scores: Finite anomaly scores of both classes.
        labels: True = abnormal.
    """
    scores = np.asarray(scores, dtype=np.float64)
    classes = scores[~labels], scores[labels]
    low = float(min(np.percentile(part, 0.5) for part in classes))
    high = float(max(np.percentile(part, 99.5) for part in classes))
    median = float(np.median(scores))
    logarithmic = low > 0 and high - median > 20 * (median - low)
    if not logarithmic:
        quarter = (high - low) / 4
        low, high = max(scores.min(), low - quarter), min(scores.max(), high + quarter)
        if high - low <= 1e-6 * max(abs(low), abs(high)):  # one score for all, or nearly
            margin = abs(low) / 2 or 0.5
            low, high = low - margin, high + margin
    bins = min(60, max(20, math.isqrt(scores.size)))
    edges = (np.geomspace if logarithmic else np.linspace)(low, high, bins + 1)
    normal, abnormal = (np.histogram(part, edges)[0] for part in classes)
    return Histogram(edges, normal, abnormal, int(scores.size - normal.sum() - abnormal.sum()), logarithmic)


def score_histogram(
    path: Path, scores: ScoreArray, labels: Labels, *, title: str, threshold: float | None = None
) -> None:
    """Draws the score distributions of normal and abnormal images (the paper's Fig. 3), with the AUROC in the title.

    Args:
        path: The PNG file to write.
        scores: Anomaly scores, higher = more abnormal.
        labels: True = abnormal; both classes must be there.
        title: Put before the AUROC.
        threshold: Drawn as a line where given.

    Raises:
        UserError: As `metrics.auroc`.
    """
    area = auroc(labels, scores)
    edges, normal, abnormal, hidden, logarithmic = histogram(scores, labels)
    figure = new_figure(960, 540)
    axes = _axes(figure)
    widths = np.diff(np.log10(edges) if logarithmic else edges)
    for name, counts, total, colour in (
        ("normal", normal, np.count_nonzero(~labels), NORMAL),
        ("abnormal", abnormal, np.count_nonzero(labels), ABNORMAL),
    ):
        density = counts / (total * widths)  # of the whole class: what is off scale is missing from the area
        axes.stairs(density, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(density, edges, color=colour, linewidth=1.5, label=f"{name} ({total:,})")
    if threshold is not None:
        outside = "" if edges[0] <= threshold <= edges[-1] else " (off scale)"
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.3g}{outside}")
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("anomaly score" + (f" ({hidden:,} of {scores.size:,} images off scale)" if hidden else ""))
    axes.set_ylabel("density per factor of 10" if logarithmic else "density")
    _legend_above(axes, f"{title}: AUROC {area:.3f}", columns=3)
    save_figure(figure, path)


def roc(path: Path, labels: Labels, scores: ScoreArray) -> None:
    """Draws the ROC curve, with its AUROC in the legend.

    Args:
        path: The PNG file to write.
        labels: True = abnormal.
        scores: Higher = more abnormal.

    Raises:
        UserError: As `metrics.auroc`.
    """
    from sklearn.metrics import roc_curve

    area = auroc(labels, scores)
    false_positive_rate, recall, _ = roc_curve(labels, scores)
    figure = new_figure(720, 720, layout="compressed")
    axes = _axes(figure)
    axes.plot((0, 1), (0, 1), color="0.6", linewidth=1, linestyle=":", label="chance: 0.500")
    axes.plot(false_positive_rate, recall, **_line(0), label=f"strict: {area:.3f}")
    axes.set_box_aspect(1)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("false positive rate (normal images called abnormal)")
    axes.set_ylabel("recall (abnormal images found)")
    axes.set_title("ROC")
    axes.legend(loc="lower right", title="AUROC", alignment="left", frameon=False)
    save_figure(figure, path)


def losses(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draws the losses over the epochs: a panel each for generator, discriminator, held-out images and gradient norms.

    Args:
        path: The PNG file to write.
        history: A row per epoch, with `epoch` and the metrics of training; see `loss_panels`. A row may lack a key or
            have None for it.

    Raises:
        UserError: If no row has a number for any of these.
    """
    from matplotlib.ticker import MaxNLocator

    panels = loss_panels(history)
    if not panels:
        raise UserError("there is no loss to draw; no row has a metric of training")
    epochs = [row["epoch"] for row in history]
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(480 * columns, 420 * rows)
    for place, (title, lines) in enumerate(panels.items(), start=1):
        axes = _axes(figure, rows, columns, place)
        values = np.array([[row.get(key, math.nan) for row in history] for key in lines.values()], dtype=np.float64)
        for index, (name, line) in enumerate(zip(lines, values, strict=True)):
            axes.plot(epochs, line, **_line(index), marker="o" if len(epochs) <= 30 else None, markersize=4, label=name)
        if spans_decades(values[np.isfinite(values)]):
            axes.set_yscale("log")
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
        axes.set_xlabel("epoch")
        _legend_above(axes, title, columns=2)
    save_figure(figure, path)


def loss_panels(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Title of each panel -> name of each line in it -> its key in the rows.

    A metric's panel is told by its name: `generator_...`, `discriminator_...`, `validation_...`, `..._gradient_norm`;
    any other one is in a panel of training.
    """
    panels: dict[str, dict[str, str]] = {title: {} for title in (*_TITLES.values(), _OTHER, "Gradient norm")}
    for key in dict.fromkeys(key for row in history for key, value in row.items() if value is not None):
        if key in _NO_LOSS or key.endswith("_reinitialised"):  # a count of events, not a loss
            continue
        prefix, _, rest = key.partition("_")
        if key.endswith("_gradient_norm"):
            panels["Gradient norm"][key.removesuffix("_gradient_norm")] = key
        elif prefix in _TITLES and rest:
            panels[_TITLES[prefix]][rest.replace("_", " ")] = key
        else:
            panels[_OTHER][key.replace("_", " ")] = key
    return {title: lines for title, lines in panels.items() if lines}


def spans_decades(values: Sequence[float] | Float[np.ndarray, " value"]) -> bool:
    """Whether values are better seen on a logarithmic axis: all over 0, the greatest over 20 times the least."""
    return bool(min(values, default=0.0) > 0 and max(values) > 20 * min(values))


def new_figure(
    width: int, height: int, layout: Literal["constrained", "compressed"] | None = "constrained"
) -> "Figure":
    """An empty figure of that many pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout=layout)


def _axes(figure: "Figure", rows: int = 1, columns: int = 1, place: int = 1) -> "Axes":
    """Plain axes: no box, a faint grid behind the data."""
    axes = figure.add_subplot(rows, columns, place)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _legend_above(axes: "Axes", title: str, columns: int) -> None:
    """Title and legend over the axes, where they cover no data."""
    legend = axes.legend(
        title=title, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0.1, frameon=False, fontsize=8.5
    )
    legend.set_alignment("left")
    legend.get_title().set_fontsize(11)


def _line(index: int) -> dict[str, Any]:
    """Colour and dashes of a figure's line, so that lines differ in grey too."""
    return {"color": _COLOURS[index % len(_COLOURS)], "linestyle": _DASHES[index % len(_DASHES)], "linewidth": 1.5}


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes it as PNG; the file appears whole or not at all."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=_DPI)
