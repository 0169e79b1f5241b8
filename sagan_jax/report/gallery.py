"""The gallery of a run's images, from arrays to a PNG file, and how images and maps become colours."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from sagan_jax.errors import UserError
from sagan_jax.judging.metrics import Labels, ScoreArray
from sagan_jax.report.plots import ABNORMAL, NORMAL, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable


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
    figure = new_figure(total_width, total_height, layout=None)
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
    save_figure(figure, path)


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
