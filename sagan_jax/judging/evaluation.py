"""Judging a trained detector on a test set, under the strict and the reference protocol."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sagan_jax.config import TrainingConfig
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import Split
from sagan_jax.detector import PICTURES, Detector, Scores, State
from sagan_jax.judging.calibration import Calibration, threshold_for
from sagan_jax.judging.false_positive_rate import counted_rate, expected_rate
from sagan_jax.judging.metrics import auroc, summarise
from sagan_jax.judging.pixel_metrics import (
    PixelCounts,
    aupro,
    bin_edges,
    count_pixels,
    counted_only,
    has_both_kinds,
    is_counted,
    joined,
    pixel_auroc,
    summarise_pixels,
)
from sagan_jax.judging.scoring import (
    batch_scorer,
    join_scores,
    reference_protocol_scores,
    score_images,
    score_photographs,
)

PART = 512
"""How many images' maps are in memory at a time, at most."""
PHOTOGRAPHS, PHOTOGRAPH_PIXELS = 256, 2**15
"""How many normal photographs are looked at, at most, and about how many pixels of each map."""
REFERENCE_AUROC = "reference_auroc"
_REFERENCE_NOTE = (
    "Not a result: BatchNorm saw the test batches, in an order that gives their labels away, and the epoch was chosen "
    "by its test AUROC. Shown to measure what each leak adds."
)


class NormalMaps(NamedTuple):
    """What the maps of normal images held out of training come to.

    Attributes:
        pixels: Values of pixels, evenly spread, that say in which bins pixels are counted; float32, any shape.
        greatest: The greatest value of each map, `float32 [N]`.
        scores: The score of each image, `float32 [N]`.
    """

    pixels: np.ndarray
    greatest: np.ndarray
    scores: np.ndarray


def normal_maps(detector: Detector, state: State, split: Split, held_out: np.ndarray | Photographs) -> NormalMaps:
    """Looks at the maps of the first images that are held out: at most 512, and 256 of photographs.

    Args:
        detector: The method.
        state: Its state.
        split: How photographs are cut.
        held_out: Normal images held out of training.
    """
    if split.patches is None:
        scores = score_images(detector, state, held_out[:PART], pictures=PICTURES)
        return NormalMaps(scores.map, scores.map.max(axis=(1, 2)), scores.total)
    photographs = (held_out[index] for index in range(min(len(held_out), PHOTOGRAPHS)))
    pixels, greatest, totals = [], [], []
    for found in score_photographs(batch_scorer(detector, state, ("map",)), photographs, split.patches):
        pixels.append(_evenly_spread(found.map))
        greatest.append(found.map.max())
        totals.append(found.total)
    return NormalMaps(np.concatenate(pixels), np.array(greatest, np.float32), np.array(totals, np.float32))


def score_test(
    detector: Detector, state: State, split: Split, normal_pixels: np.ndarray
) -> tuple[Scores, PixelCounts | None]:
    """Strict scores of the test set, and the counted pixels of its maps if its images have masks.

    Args:
        detector: The method.
        state: Its state.
        split: The test set; it may be empty.
        normal_pixels: From `normal_maps`.

    Returns:
        The scores without pictures, and the counted pixels; None if none or all are marked. No more maps are in memory
        at a time than those of a few hundred images, or of one photograph.
    """
    if not len(split.test):
        return Scores(*(np.zeros(0, np.float32) for _ in range(3))), None
    if split.test_masks is None or not split.test_masks.any():
        return score_images(detector, state, split.test, patches=split.patches), None
    edges = bin_edges(normal_pixels)
    scores, pixels = [], []
    if split.patches is not None:
        scored = score_photographs(batch_scorer(detector, state, ("map",)), split.test, split.patches)
        for index, found in enumerate(scored):
            pixels.append(count_pixels(found.map[None], split.test_masks[index][None], edges))
            scores.append(Scores(*(np.asarray(value)[None] for value in found[:3])))
        return join_scores(scores), _judgeable(joined(pixels), split)
    for start in range(0, len(split.test), PART):
        part = slice(start, start + PART)
        found = score_images(detector, state, split.test[part], pictures=PICTURES)
        pixels.append(count_pixels(found.map, split.test_masks[part], edges))
        scores.append(found._replace(map=None, reconstructed=None))
    return join_scores(scores), _judgeable(joined(pixels), split)


def _judgeable(pixels: PixelCounts, split: Split) -> PixelCounts | None:
    """The pixels of the images whose marks are known; None if they are all of one kind."""
    counted = counted_only(pixels, split.test_mask_known)
    return counted if has_both_kinds(counted) else None


def pixels_counted(split: Split, pixels: PixelCounts) -> dict[str, Any]:
    """The basis of the pixel metrics of a test set, as JSON values.

    Args:
        split: The test set.
        pixels: The counted pixels of its maps.

    Returns:
        `size`, the height and width at which pixels were counted, or None for each photograph's own; `normal_images`,
        those without a mark; `marked_images`; `left_out`, images without a mask; `marked_pixels`.
    """
    marked, counted = pixels.regions > 0, is_counted(pixels)
    return {
        "size": None if split.patches is not None else list(split.test.shape[1:3]),
        "normal_images": int((counted & ~marked).sum()),
        "marked_images": int(marked.sum()),
        "left_out": int((~counted).sum()),
        "marked_pixels": int(pixels.abnormal.sum(dtype=np.float64)),
    }


def _evenly_spread(heat: np.ndarray) -> np.ndarray:
    """Some of a map's pixels, evenly spread."""
    return heat.ravel()[:: max(1, heat.size // PHOTOGRAPH_PIXELS)]


def evaluate_strict(
    labels: np.ndarray,
    scores: np.ndarray,
    calibration: Calibration,
    false_positive_rate: float,
    pixels: PixelCounts | None = None,
    held_out: int | None = None,
) -> dict[str, Any]:
    """Every image-level metric with its interval, and what the calibrated threshold does on the test set.

    Args:
        labels: bool `[M]`, True = abnormal.
        scores: Strict scores `[M]`.
        calibration: From normal training images; the test set is not used.
        false_positive_rate: The rate the threshold is set for.
        pixels: The counted pixels of the maps, if the images have masks.
        held_out: How many normal images were held out of training, if known.

    Returns:
        JSON values: `{"auroc": {"value", "low", "high"}, ..., "threshold": {...}}`, with pixels `pixel_auroc` and
        `aupro` too; of a test set that lacks normal or
        abnormal images, only the threshold and the rates that such a set has. A rate counted on the test set has
        its 95 % interval beside it, as `false_positive_rate_interval` and `recall_interval`; what the number of
        held-out images allows to expect is `false_positive_rate_expected`.
    """
    threshold = threshold_for(calibration, false_positive_rate)
    metrics = summarise(labels, scores)._asdict() if has_both(labels) else {}
    if pixels is not None:
        metrics |= summarise_pixels(pixels)
    rates = {"false_positive_rate": scores[~labels] > threshold, "recall": scores[labels] > threshold}
    told: dict[str, Any] = {"value": threshold, "false_positive_rate_wanted": false_positive_rate}
    if held_out is not None:
        told["false_positive_rate_expected"] = expected_rate(held_out, false_positive_rate)._asdict()
    for name, called in rates.items():
        if called.size:
            value, low, high = counted_rate(int(called.sum()), called.size)
            told |= {name: value, f"{name}_interval": {"low": low, "high": high}}
    return {name: interval._asdict() for name, interval in metrics.items()} | {"threshold": told}


def evaluate_kinds(
    labels: np.ndarray, kinds: np.ndarray, scores: np.ndarray, threshold: float, pixels: PixelCounts | None = None
) -> list[dict[str, Any]]:
    """Each kind of abnormal image against all normal ones.

    Args:
        labels: bool `[M]`, True = abnormal; both classes are there.
        kinds: str `[M]`, what is wrong in a word.
        scores: Strict scores `[M]`.
        threshold: The score above which an image is abnormal.
        pixels: The counted pixels of the maps, if the images have masks.

    Returns:
        JSON values, a kind a row: its name, how many images, AUROC, the threshold's recall, with pixels also pixel
        AUROC and AUPRO.
    """
    rows = []
    for kind in dict.fromkeys(kinds[labels].tolist()):
        members = labels & (kinds == kind)
        chosen = ~labels | members
        row = {
            "name": kind,
            "images": int(members.sum()),
            "auroc": auroc(labels[chosen], scores[chosen]),
            "recall": float((scores[members] > threshold).mean()),
        }
        if pixels is not None:
            of_kind = PixelCounts(*(field[chosen] for field in pixels))
            if has_both_kinds(of_kind):
                row |= {"pixel_auroc": pixel_auroc(of_kind), "aupro": aupro(of_kind)}
        rows.append(row)
    return rows


def has_both(labels: np.ndarray) -> bool:
    """Whether a test set has both normal and abnormal images."""
    return bool(labels.any() and not labels.all())


def reference_auroc(
    detector: Detector, state: State, split: Split, batch_size: int, order: np.ndarray | None = None
) -> float:
    """AUROC under batch statistics: in order, by which the reference protocol picks its epoch, or in another order."""
    scores = reference_protocol_scores(detector, state, split.test, batch_size=batch_size, order=order)
    return auroc(split.test_labels, scores.total)


def evaluate_reference(
    detector: Detector,
    state: State,
    split: Split,
    running_scores: np.ndarray,
    history: Sequence[Mapping[str, Any]],
    training: TrainingConfig,
) -> dict[str, Any]:
    """The reference protocol taken apart: AUROC with its three leaks, then with one less at a time.

    Args:
        detector: The method.
        state: Its state after the last epoch.
        split: The test set, normal images first.
        running_scores: The state's strict scores of the test set `[M]`.
        history: The epochs' metrics, each with its `reference_auroc`.
        training: Its batch size is that of the test batches, as in the authors' code; its seed deals them.

    Returns:
        JSON values, from the reference protocol down to the strict one.
    """
    order = np.random.default_rng(training.seed).permutation(len(split.test))
    best = max(history, key=lambda row: row[REFERENCE_AUROC])
    return {
        "note": _REFERENCE_NOTE,
        "best_test_epoch": best["epoch"],
        "batch_statistics_in_order_best_test_epoch": best[REFERENCE_AUROC],
        "batch_statistics_in_order_last_epoch": history[-1][REFERENCE_AUROC],
        "batch_statistics_shuffled_last_epoch": reference_auroc(detector, state, split, training.batch_size, order),
        "running_statistics_last_epoch": auroc(split.test_labels, running_scores),
    }
