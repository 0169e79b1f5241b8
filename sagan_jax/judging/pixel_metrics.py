"""How well maps show where an image is abnormal: pixel AUROC and AUPRO, in memory that does not grow with the pixels.

Pixels are counted per image in bins. What separates two pixels of one bin is lost, so between two edges the curves are
straight. The edges are close together where maps of normal images have most of their values, and go on far beyond
these: maps of other days may lie above all that was held out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from sagan_jax.errors import UserError, require
from sagan_jax.judging.metrics import Interval

LIMIT = 0.3  # the false positive rate AUPRO is taken to (Bergmann et al., "The MVTec anomaly detection dataset", 2021)
_LEVELS = np.concatenate([np.linspace(0, 0.999, 1000), 1 - np.geomspace(1e-3, 1e-6, 200)[1:]])  # close where it matters
_BETWEEN = np.linspace(0, 1, 300)  # of the way from the lowest of these pixels to the highest
_BEYOND = np.geomspace(1e-3, 1e4, 250)  # times the way from their median, above the highest and below the lowest
_FAR = np.geomspace(1e-30, 1e12, 169)  # the same as numbers, for that way may be next to nothing
_SAMPLED = 2**20  # normal pixels that the edges are taken from, at most
_NEIGHBOURS = np.ones((3, 3), int)  # pixels that touch at a corner are of one region

Maps = Float[np.ndarray, "image height width"]


class PixelCounts(NamedTuple):
    """Pixels by the bin of their map value, an image a row, bins rising.

    Attributes:
        normal: Pixels outside the masks.
        abnormal: Pixels inside.
        overlap: Shares of regions: each connected region of a mask adds 1 to its image's row, spread as its pixels are.
        regions: Regions of each image.
    """

    normal: Float[np.ndarray, "image bin"]
    abnormal: Float[np.ndarray, "image bin"]
    overlap: Float[np.ndarray, "image bin"]
    regions: Float[np.ndarray, " image"]


def bin_edges(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, " edge"]:
    """Edges of bins for maps of any images: quantiles of the maps of normal ones, even steps, and steps far beyond.

    Args:
        values: Pixels of maps of normal images, best those held out of training. Of very many an evenly spread part is
            used.

    Raises:
        UserError: If one is not finite.
    """
    _check_finite(values)
    pixels = values.ravel()
    quantiles = np.quantile(pixels[:: max(1, pixels.size // _SAMPLED)].astype(np.float64), _LEVELS)
    low, median, high = np.interp((0, 0.5, 1), _LEVELS, quantiles)
    down, up = (way or abs(median) or 1.0 for way in (median - low, high - median))
    above, below = (np.concatenate([way * _BEYOND, _FAR]) for way in (up, down))
    return np.unique(np.concatenate([quantiles, low + (high - low) * _BETWEEN, high + above, low - below]))


def count_pixels(
    maps: Maps, masks: Bool[np.ndarray, "image height width"], edges: Float[np.ndarray, " edge"]
) -> PixelCounts:
    """Counts the pixels of some images; see `joined` for counting a set in parts.

    Args:
        maps: Per-pixel anomaly, higher = more abnormal.
        masks: True = abnormal.
        edges: From `bin_edges`.

    Raises:
        UserError: If a pixel of a map is not finite, or the masks are not True and False.
    """
    require(masks.dtype == bool, "the dtype of the masks", str(masks.dtype), "bool, True where an image is abnormal")
    _check_finite(maps)
    bins = len(edges) + 1
    rows = []
    for values, mask in zip(maps, masks, strict=True):
        place = np.searchsorted(edges, values)
        regions = np.empty(mask.shape, np.int32)
        ndimage.label(mask, _NEIGHBOURS, output=regions)
        sizes = np.bincount(regions.ravel())
        sizes[0] = 0  # the outside is no region
        share = np.divide(1.0, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
        rows.append(
            (
                np.bincount(place[~mask], minlength=bins),
                np.bincount(place[mask], minlength=bins),
                np.bincount(place.ravel(), share[regions.ravel()], bins),
                len(sizes) - 1,
            )
        )
    return PixelCounts(*(np.array(column, np.float32) for column in zip(*rows, strict=True)))


def _check_finite(maps: np.ndarray) -> None:
    """Raises UserError for a NaN, which would be counted as more abnormal than anything, and for infinity."""
    require(bool(np.isfinite(maps).all()), "a pixel of the maps", "not finite", "a finite number")


def joined(parts: Sequence[PixelCounts]) -> PixelCounts:
    """The counts of several parts of a set as those of the set."""
    return PixelCounts(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def counted_only(counts: PixelCounts, known: Bool[np.ndarray, " image"] | None) -> PixelCounts:
    """The counts, with zeros in the rows of images without a mask; None leaves all."""
    if known is None:
        return counts
    return PixelCounts(*(field * known.reshape(-1, *[1] * (field.ndim - 1)) for field in counts))


def is_counted(counts: PixelCounts) -> Bool[np.ndarray, " image"]:
    """Which images have pixels that are counted."""
    return (counts.normal.sum(axis=1) + counts.abnormal.sum(axis=1)) > 0


def pixel_auroc(counts: PixelCounts) -> float:
    """Area under the ROC curve of all pixels of all images.

    Raises:
        UserError: If no pixel is marked as abnormal, or every pixel is.
    """
    return float(_areas(_checked(counts), np.ones((1, len(counts.regions))))[0, 0])


def aupro(counts: PixelCounts) -> float:
    """Area under the per-region overlap over the false positive rate of pixels, from 0 to 0.3, divided by 0.3.

    The per-region overlap is the mean, over the connected regions of all masks, of the share of the region that is
    found: small regions count as much as large ones.

    Raises:
        UserError: As `pixel_auroc`.
    """
    return float(_areas(_checked(counts), np.ones((1, len(counts.regions))))[0, 1])


def summarise_pixels(counts: PixelCounts, *, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Pixel AUROC and AUPRO with 95 % intervals: the percentile bootstrap over images.

    Images with and without marks are resampled apart, as in `metrics.summarise`; a pixel is never without its image.

    Args:
        counts: Of a whole test set; images that are not counted are left out.
        resamples: Bootstrap resamples, at least 1.
        seed: Of the resampling.

    Raises:
        UserError: As `pixel_auroc`, or if `resamples` is under 1.
    """
    require(resamples >= 1, "resamples", resamples, "at least 1")
    counts = PixelCounts(*(field[is_counted(_checked(counts))] for field in counts))
    marked = counts.regions > 0
    weights = np.zeros((resamples, len(marked)))
    for members, rng in zip((marked, ~marked), np.random.default_rng(seed).spawn(2), strict=True):
        if count := int(members.sum()):
            weights[:, members] = rng.multinomial(count, np.full(count, 1 / count), resamples)
    both = ((weights @ counts.normal.sum(axis=1)) > 0) & ((weights @ counts.abnormal.sum(axis=1)) > 0)
    weights = weights[both]  # where some images are marked all over, a resample may lack normal pixels
    areas = np.concatenate([_areas(counts, rows) for rows in np.array_split(weights, -(-len(weights) // 200))])
    bounds = np.percentile(areas, (2.5, 97.5), axis=0)  # [2, metric]
    return {
        name: Interval(value, float(low), float(high))
        for name, value, low, high in zip(
            ("pixel_auroc", "aupro"), (pixel_auroc(counts), aupro(counts)), *bounds, strict=True
        )
    }


def has_both_kinds(counts: PixelCounts) -> bool:
    """Whether there are both normal and abnormal pixels, without which there are no metrics."""
    return bool(counts.abnormal.sum() and counts.normal.sum())


def _checked(counts: PixelCounts) -> PixelCounts:
    if not counts.abnormal.sum():
        raise UserError("no pixel is marked as abnormal; pixel metrics need masks that mark some")
    if not counts.normal.sum():
        raise UserError("every pixel is marked as abnormal; pixel metrics need some that are not")
    return counts


def _areas(counts: PixelCounts, weights: Float[np.ndarray, "row image"]) -> Float[np.ndarray, "row 2"]:
    """Pixel AUROC and AUPRO of the images as often as each row of weights has them."""

    def curve(pixels: Float[np.ndarray, "image bin"], total: np.ndarray | None = None) -> np.ndarray:
        above = np.cumsum((weights @ pixels)[:, ::-1], axis=1)  # from the highest bin down
        total = above[:, -1] if total is None else total
        return np.pad(above / total[:, None], ((0, 0), (1, 0)))  # [R, B + 1]

    false_positive_rate = curve(counts.normal)
    auroc = np.trapezoid(curve(counts.abnormal), false_positive_rate, axis=1)
    overlap = curve(counts.overlap, weights @ counts.regions)
    start, end = false_positive_rate[:, :-1], false_positive_rate[:, 1:]
    taken = (LIMIT - start).clip(0, end - start)  # of each step along x, what lies under the limit
    share = np.divide(taken, end - start, out=np.zeros_like(taken), where=end > start)
    rise = np.diff(overlap, axis=1)
    area = (taken * (overlap[:, :-1] + share * rise / 2)).sum(axis=1)
    return np.stack([auroc, area / LIMIT], axis=1)
