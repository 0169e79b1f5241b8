"""Pictures of a run, from arrays to PNG files: score histogram, ROC, loss curves, gallery of images.

Matplotlib is used through its Figure objects alone: no window, no global state, safe beside anybody's own pyplot.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from sagan_jax.atomic_file import replacing
from sagan_jax.errors import UserError
from sagan_jax.judging.metrics import Labels, ScoreArray, auroc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

DPI = 150
NORMAL, ABNORMAL = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion: colour-blind readers tell them apart
COLOURS = (NORMAL, ABNORMAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
_TITLES = {"generator": "Generator", "discriminator": "Discriminator", "validation": "Held-out normal images"}
_OTHER = "Training"
_NO_LOSS = ("epoch", "seconds", "images_per_second", "waiting_for_images", "reference_auroc")


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
        UserError: If the AUROC cannot be had (see `metrics.auroc`).
    """
    area = auroc(labels, scores)
    edges, normal, abnormal, hidden, logarithmic = histogram(scores, labels)
    figure = _figure(960, 540)
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
    _save(figure, path)


def roc(path: Path, curves: Mapping[str, tuple[Labels, ScoreArray]]) -> None:
    """Draws ROC curves, each with its AUROC in the legend.

    Args:
        path: The PNG file to write.
        curves: Name of each curve -> its labels and scores.

    Raises:
        UserError: If there is no curve, or an AUROC cannot be had (see `metrics.auroc`).
    """
    from sklearn.metrics import roc_curve

    if not curves:
        raise UserError("there is no ROC curve to draw; give at least one name with its labels and scores")
    beside = len(curves) > 4  # many names would cover the curves
    figure = _figure(1020 if beside else 720, 720, layout="compressed")
    axes = _axes(figure)
    axes.plot((0, 1), (0, 1), color="0.6", linewidth=1, linestyle=":", label="chance: 0.500")
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        area = auroc(labels, scores)
        false_positive_rate, recall, _ = roc_curve(labels, scores)
        axes.plot(false_positive_rate, recall, **_line(index), label=f"{name}: {area:.3f}")
    axes.set_box_aspect(1)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("false positive rate (normal images called abnormal)")
    axes.set_ylabel("recall (abnormal images found)")
    axes.set_title("ROC")
    if beside:
        figure.legend(loc="outside right center", title="AUROC", alignment="left", frameon=False)
    else:
        axes.legend(loc="lower right", title="AUROC", alignment="left", frameon=False)
    _save(figure, path)


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
    figure = _figure(480 * columns, 420 * rows)
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
    _save(figure, path)


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


def extremes(scores: ScoreArray, count: int) -> tuple[Int[np.ndarray, " highest"], Int[np.ndarray, " lowest"]]:
    """The images with the highest scores (highest first) and those with the lowest (lowest first).

    No image is in both, so of fewer than `2 * count` images there are fewer of each. Equal scores keep their order. The
    extremes of the extremes are the same images, so a caller need only reconstruct these for `gallery`.

    Args:
        scores: Finite, higher = more abnormal.
        count: How many of each.
    """
    order = np.argsort(-scores, kind="stable")
    highest = order[: min(count, math.ceil(scores.size / 2))]
    lowest = order[max(scores.size - count, highest.size) :]
    return highest, lowest[np.argsort(scores[lowest], kind="stable")]


def gallery(
    path: Path,
    images: UInt8[np.ndarray, "image height width channel"],
    reconstructed: Shaped[np.ndarray, "image height width channel"],
    maps: Float[np.ndarray, "image height width"],
    scores: ScoreArray,
    labels: Labels,
    *,
    count: int = 8,
) -> None:
    """Draws the images with the highest and the lowest scores, each over its reconstruction and its anomaly map.

    Args:
        path: The PNG file to write.
        images: Grey or RGB; all of a test set, or only its `extremes`.
        reconstructed: uint8, or float in [-1, 1] (clipped to it).
        maps: Per-pixel anomaly, 0 or more; one colour scale for all, up to the 99.5th percentile of those shown.
        scores: Anomaly scores, higher = more abnormal.
        labels: True = abnormal.
        count: How many of the highest and how many of the lowest.

    Raises:
        UserError: If there is no image, or `count` is under 1.
    """
    if not scores.size or count < 1:
        raise UserError(
            f"there is nothing to show of {scores.size} images with a count of {count}; both must be at least 1"
        )
    highest, lowest = extremes(scores, count)
    blocks = {"Highest anomaly scores": highest}
    if lowest.size:
        blocks["Lowest anomaly scores"] = lowest
    shown = maps[np.concatenate((highest, lowest))]
    heat = heat_scale(shown)
    rows = {
        "input": lambda index: rgb(images[index]),
        "reconstruction": lambda index: rgb(reconstructed[index]),
        "anomaly map": lambda index: heat.to_rgba(maps[index], bytes=True),
    }

    # All lengths are pixels of the picture. Small images are enlarged by a whole number: each pixel a square.
    _, height, width, _ = images.shape
    small = width <= 48
    zoom = round(96 / width) if small else 96 / width
    smoothing = "nearest" if small else "auto"
    tile_width, tile_height = round(zoom * width), round(zoom * height)
    left, heading, gap, caption, scale = 160, 44, 6, 48, 60
    block_height = heading + len(rows) * (tile_height + gap) + caption
    strip = highest.size * (tile_width + gap) - gap
    total_width, total_height = max(450, left + strip + 24), len(blocks) * block_height + scale
    figure = _figure(total_width, total_height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, total_width), ylim=(total_height, 0), autoscale_on=False)
    axes.set_axis_off()
    for top, (title, members) in zip(range(0, 2 * block_height, block_height), blocks.items(), strict=False):
        axes.text(left, top + heading / 2, title, va="center", fontsize=11)
        for row, (name, tile) in enumerate(rows.items()):
            y = top + heading + row * (tile_height + gap)
            axes.text(left - 12, y + tile_height / 2, name, va="center", ha="right", fontsize=9)
            for column, index in enumerate(members):
                x = left + column * (tile_width + gap)
                box = (x, x + tile_width, y + tile_height, y)
                axes.imshow(tile(index), extent=box, aspect="auto", interpolation=smoothing)
        y = top + block_height - caption
        for column, index in enumerate(members):
            x = left + column * (tile_width + gap) + tile_width / 2
            name, colour = ("abnormal", ABNORMAL) if labels[index] else ("normal", NORMAL)
            axes.text(x, y, f"{scores[index]:#.3g}".rstrip("."), va="top", ha="center", fontsize=8)
            axes.text(x, y + 18, name, va="top", ha="center", fontsize=8, color=colour)
    axes.text(left - 12, total_height - 42, "map scale", va="center", ha="right", fontsize=9)
    bar = figure.add_axes((left / total_width, 34 / total_height, strip / total_width, 16 / total_height))
    beyond = shown.max() > (heat.norm.vmax or 0)
    figure.colorbar(heat, cax=bar, orientation="horizontal", extend="max" if beyond else "neither")
    bar.tick_params(labelsize=8)
    _save(figure, path)


def heat_scale(maps: Float[np.ndarray, "image height width"]) -> "ScalarMappable":
    """One colour scale for the maps that are seen together: from 0 to their 99.5th percentile."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, float(np.percentile(maps, 99.5)) or float(maps.max()) or 1.0), "inferno")


def rgb(image: Shaped[np.ndarray, "height width channel"]) -> UInt8[np.ndarray, "height width 3"]:
    """A uint8 image, or a float one in [-1, 1], grey or not, as uint8 RGB."""
    if image.dtype != np.uint8:
        image = np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _figure(width: int, height: int, layout: Literal["constrained", "compressed"] | None = "constrained") -> "Figure":
    """An empty figure of that many pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)


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
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.5}


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
