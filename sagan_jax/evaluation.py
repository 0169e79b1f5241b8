"""Judging a trained detector on a test set, under the strict and the reference protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagan_jax.config import TrainingConfig
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import Split
from sagan_jax.detector import Detector, State
from sagan_jax.metrics import auroc, summarise
from sagan_jax.pixel_metrics import (
    PixelCounts,
    aupro,
    bin_edges,
    count_pixels,
    counted_only,
    is_counted,
    joined,
    pixel_auroc,
    summarise_pixels,
)
from sagan_jax.scoring import (
    PER_IMAGE,
    Calibration,
    Field,
    reference_protocol_scores,
    score_images,
    score_photographs,
    threshold,
)

PART = 512  # images whose maps are in memory at a time
PHOTOGRAPHS = 32  # normal ones whose maps say in what terms the pixels of photographs are counted
REFERENCE_AUROC = "reference_auroc"
REFERENCE_NOTE = (
    "Not a result: BatchNorm saw the test batches, in an order that gives their labels away, and the epoch was chosen "
    "by its test AUROC. Shown to measure what each leak adds."
)


def score_test(
    detector: Detector, state: State, split: Split, held_out: np.ndarray | Photographs
) -> tuple[dict[str, np.ndarray], PixelCounts | None]:
    """Strict scores of the test set, and what its maps come to where its images have masks.

    Args:
        detector: The method.
        state: Its state.
        split: The test set; it may be empty.
        held_out: Normal images held out of training; the pixels are counted in their terms.

    Returns:
        The scores by field, as `scoring.score_images` has them, and the counted pixels. No more maps are in memory at
        a time than those of a few hundred images, or of one photograph.
    """
    if not len(split.test):
        return {field: np.zeros(0, np.float32) for field in PER_IMAGE}, None
    if split.test_masks is None or not split.test_masks.any():
        return score_images(detector, state, split.test, patches=split.patches), None
    wanted: tuple[Field, ...] = (*PER_IMAGE, "map")
    scores, pixels = [], []
    if split.patches is not None:
        photographs = (held_out[index] for index in range(min(len(held_out), PHOTOGRAPHS)))
        normal = score_photographs(detector, state, photographs, split.patches, fields=("map",))
        sampled = np.concatenate([even_part(found["map"]) for found in normal])
        edges = bin_edges(sampled[None, None, :])
        scored = score_photographs(detector, state, split.test, split.patches, fields=wanted)
        for index, fields in enumerate(scored):
            pixels.append(count_pixels(fields.pop("map")[None], split.test_masks[index][None], edges))
            scores.append({field: np.asarray(value)[None] for field, value in fields.items()})
        found = {field: np.concatenate([part[field] for part in scores]) for field in PER_IMAGE}
        return found, counted_only(joined(pixels), split.test_marked)
    edges = bin_edges(score_images(detector, state, held_out[:PART], fields=wanted)["map"])
    for start in range(0, len(split.test), PART):
        part = slice(start, start + PART)
        fields = score_images(detector, state, split.test[part], fields=wanted)
        pixels.append(count_pixels(fields.pop("map"), split.test_masks[part], edges))
        scores.append(fields)
    found = {field: np.concatenate([part[field] for part in scores]) for field in PER_IMAGE}
    return found, counted_only(joined(pixels), split.test_marked)


def pixels_counted(split: Split, pixels: PixelCounts) -> dict[str, Any]:
    """What the pixel metrics of a test set rest on, as JSON values.

    Args:
        split: The test set.
        pixels: What its maps come to.

    Returns:
        `size`, the height and width at which pixels were counted, or None for each photograph's own; `normal_images`,
        those without a mark; `marked_images`; `left_out`, images that nobody marked; `marked_pixels`.
    """
    marked, counted = pixels.regions > 0, is_counted(pixels)
    return {
        "size": None if split.patches is not None else list(split.test.shape[1:3]),
        "normal_images": int((counted & ~marked).sum()),
        "marked_images": int(marked.sum()),
        "left_out": int((~counted).sum()),
        "marked_pixels": int(pixels.abnormal.sum(dtype=np.float64)),
    }


def even_part(heat: np.ndarray, count: int = 2**15) -> np.ndarray:
    """About so many pixels of a map, evenly spread."""
    return heat.ravel()[:: max(1, heat.size // count)]


def evaluate_strict(
    labels: np.ndarray,
    scores: np.ndarray,
    calibration: Calibration,
    false_positive_rate: float,
    pixels: PixelCounts | None = None,
) -> dict[str, Any]:
    """Every image-level metric with its interval, and what the calibrated threshold does on the test set.

    Args:
        labels: bool `[M]`, True = abnormal.
        scores: Strict scores `[M]`.
        calibration: From held-out normal training images; the test set has no part in it.
        false_positive_rate: The rate the threshold is set for.
        pixels: What the maps come to, where the images have masks.

    Returns:
        JSON values: `{"auroc": {"value", "low", "high"}, ..., "threshold": {...}}`, with pixels `pixel_auroc` and
        `aupro` too; of a test set that lacks normal or
        abnormal images, only the threshold and those of its rates that can be had.
    """
    limit = threshold(calibration, false_positive_rate)
    metrics = summarise(labels, scores)._asdict() if has_both(labels) else {}
    if pixels is not None:
        metrics |= summarise_pixels(pixels)
    rates = {"false_positive_rate": scores[~labels] > limit, "recall": scores[labels] > limit}
    return {name: interval._asdict() for name, interval in metrics.items()} | {
        "threshold": {"value": limit, "false_positive_rate_wanted": false_positive_rate}
        | {name: float(called.mean()) for name, called in rates.items() if called.size}
    }


def evaluate_kinds(
    labels: np.ndarray, kinds: np.ndarray, scores: np.ndarray, limit: float, pixels: PixelCounts | None = None
) -> list[dict[str, Any]]:
    """Each kind of abnormal image against all normal ones.

    Args:
        labels: bool `[M]`, True = abnormal; both classes are there.
        kinds: str `[M]`, what is wrong in a word.
        scores: Strict scores `[M]`.
        limit: The calibrated threshold.
        pixels: What the maps come to, where the images have masks.

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
            "recall": float((scores[members] > limit).mean()),
        }
        if pixels is not None:
            of_kind = PixelCounts(*(field[chosen] for field in pixels))
            if of_kind.abnormal.any():
                row |= {"pixel_auroc": pixel_auroc(of_kind), "aupro": aupro(of_kind)}
        rows.append(row)
    return rows


def has_both(labels: np.ndarray) -> bool:
    """Whether a test set has normal and abnormal images, without which there is nothing to tell apart."""
    return bool(labels.any() and not labels.all())


def reference_auroc(
    detector: Detector, state: State, split: Split, batch_size: int, order: np.ndarray | None = None
) -> float:
    """AUROC under batch statistics: in order, by which the reference protocol picks its epoch, or in another order."""
    scores = reference_protocol_scores(
        detector, state, split.test, batch_size=batch_size, order=order, fields=("total",)
    )
    return auroc(split.test_labels, scores["total"])


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
        "note": REFERENCE_NOTE,
        "best_test_epoch": best["epoch"],
        "batch_statistics_in_order_best_test_epoch": best[REFERENCE_AUROC],
        "batch_statistics_in_order_last_epoch": history[-1][REFERENCE_AUROC],
        "batch_statistics_shuffled_last_epoch": reference_auroc(detector, state, split, training.batch_size, order),
        "running_statistics_last_epoch": auroc(split.test_labels, running_scores),
    }


def leaks(reference: Mapping[str, Any]) -> dict[str, float]:
    """AUROC with the reference protocol's three leaks of labels, then with one less at a time, down to strict."""
    return {
        f"batch statistics, in order, best test epoch ({reference['best_test_epoch']})": reference[
            "batch_statistics_in_order_best_test_epoch"
        ],
        "batch statistics, in order, last epoch": reference["batch_statistics_in_order_last_epoch"],
        "batch statistics, shuffled, last epoch": reference["batch_statistics_shuffled_last_epoch"],
        "running statistics, last epoch: strict": reference["running_statistics_last_epoch"],
    }


def summary(result: dict[str, Any]) -> str:
    """The result as a few lines of text."""

    def interval(name: str) -> str:
        metric = result["strict"][name]
        return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"

    limit = result["strict"]["threshold"]
    lines = [
        f"{result['dataset']}, abnormal: {result['abnormal']}; {result['method']}, epoch {result['strict']['epoch']} "
        f"of {result['training']['epochs']}; {result['images']['test_normal']:,} normal and "
        f"{result['images']['test_abnormal']:,} abnormal test images",
        "",
    ]
    if "auroc" in result["strict"]:
        lines += [
            "strict protocol (95 % bootstrap interval over test images)",
            f"  AUROC              {interval('auroc')}",
            f"  average precision  {interval('average_precision')}",
            f"  F1-max             {interval('f1_max')} at score {result['strict']['f1_threshold']['value']:.4g}",
            f"  equal error rate   {interval('equal_error_rate')}",
        ]
        if "aupro" in result["strict"]:
            lines += [f"  pixel AUROC        {interval('pixel_auroc')}", f"  AUPRO to 0.3       {interval('aupro')}"]
        if counted := result.get("pixels"):
            size = "{} x {}".format(*counted["size"]) if counted["size"] else "each photograph's own size"
            lines.append(
                f"  pixels counted at {size}: {counted['marked_pixels']:,} abnormal ones in "
                f"{counted['marked_images']:,} images, beside {counted['normal_images']:,} images without any"
                + (f"; {counted['left_out']:,} abnormal images are left out" if counted["left_out"] else "")
            )
    else:
        lines.append("strict protocol: nothing to test on; it takes normal and abnormal test images to tell them apart")
    called = [
        text.format(limit[name])
        for name, text in {"false_positive_rate": "{:.1%} on the test set", "recall": "recall {:.1%}"}.items()
        if name in limit
    ]
    lines.append(
        f"  threshold {limit['value']:.4g}, set on {result['images']['held_out']:,} held-out normal images for "
        f"{limit['false_positive_rate_wanted']:.0%} false positives{': ' if called else ''}{', '.join(called)}"
    )
    for kind in result.get("kinds", ()):
        pixels = f", pixel AUROC {kind['pixel_auroc']:.3f}, AUPRO {kind['aupro']:.3f}" if "aupro" in kind else ""
        lines.append(f"  {kind['name']} ({kind['images']:,}): AUROC {kind['auroc']:.3f}{pixels}")
    lines += [f"  note: {note}" for note in result.get("notes", ())]
    if reference := result.get("reference"):
        named = leaks(reference)
        lines += ["", "reference protocol, AUROC (leaks labels; not a result)"]
        lines += [f"  {name:<{max(map(len, named))}}  {area:.3f}" for name, area in named.items()]
    return "\n".join(lines)


def sweep(results: Sequence[Mapping[str, Any]]) -> str:
    """A table of several runs' AUROCs, a line a run, and their mean; over one class's seeds their deviation too."""
    columns = {"strict": [result["strict"]["auroc"]["value"] for result in results]}
    if all("reference" in result for result in results):
        key = "batch_statistics_in_order_best_test_epoch"
        columns["reference (leaks labels)"] = [result["reference"][key] for result in results]
    names, values = [result["abnormal"] for result in results], [[*column] for column in columns.values()]
    if len({*names}) < len(names):  # several seeds
        if len({*names}) == 1:
            values = [[*column, float(np.std(column, ddof=1))] for column in values]
        names = [f"{name}, seed {result['training']['seed']}" for name, result in zip(names, results, strict=True)]
        names += ["deviation"] * (len(values[0]) - len(names))
    names.append("mean")
    values = [[*cells, float(np.mean(column))] for cells, column in zip(values, columns.values(), strict=True)]
    width = max(12, *map(len, names))
    lines = [f"{'abnormal':<{width}}" + "".join(f"  {title}" for title in columns)]
    for i, name in enumerate(names):
        cells = (f"  {column[i]:{len(title)}.3f}" for title, column in zip(columns, values, strict=True))
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)
