"""Judging a trained detector on a test set, under the strict and the reference protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagan_jax.config import TrainingConfig
from sagan_jax.data.split import Split
from sagan_jax.detector import Detector, State
from sagan_jax.metrics import auroc, summarise
from sagan_jax.scoring import Calibration, reference_protocol_scores, threshold

REFERENCE_AUROC = "reference_auroc"
REFERENCE_NOTE = (
    "Not a result: BatchNorm saw the test batches, in an order that gives their labels away, and the epoch was chosen "
    "by its test AUROC. Shown to measure what each leak adds."
)


def evaluate_strict(
    labels: np.ndarray, scores: np.ndarray, calibration: Calibration, false_positive_rate: float
) -> dict[str, Any]:
    """Every image-level metric with its interval, and what the calibrated threshold does on the test set.

    Args:
        labels: bool `[M]`, True = abnormal.
        scores: Strict scores `[M]`.
        calibration: From held-out normal training images; the test set has no part in it.
        false_positive_rate: The rate the threshold is set for.

    Returns:
        JSON values: `{"auroc": {"value", "low", "high"}, ..., "threshold": {...}}`; of a test set that lacks normal or
        abnormal images, only the threshold and those of its rates that can be had.
    """
    limit = threshold(calibration, false_positive_rate)
    metrics = summarise(labels, scores)._asdict() if has_both(labels) else {}
    rates = {"false_positive_rate": scores[~labels] > limit, "recall": scores[labels] > limit}
    return {name: interval._asdict() for name, interval in metrics.items()} | {
        "threshold": {"value": limit, "false_positive_rate_wanted": false_positive_rate}
        | {name: float(called.mean()) for name, called in rates.items() if called.size}
    }


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
    if reference := result.get("reference"):
        named = leaks(reference)
        lines += ["", "reference protocol, AUROC (leaks labels; not a result)"]
        lines += [f"  {name:<{max(map(len, named))}}  {area:.3f}" for name, area in named.items()]
    return "\n".join(lines)


def sweep(results: Sequence[Mapping[str, Any]]) -> str:
    """A table of several runs' AUROCs, a line a class, and their mean."""
    columns = {"strict": [result["strict"]["auroc"]["value"] for result in results]}
    if all("reference" in result for result in results):
        key = "batch_statistics_in_order_best_test_epoch"
        columns["reference (leaks labels)"] = [result["reference"][key] for result in results]
    names = [*(result["abnormal"] for result in results), "mean"]
    values = [[*column, float(np.mean(column))] for column in columns.values()]
    lines = [f"{'abnormal':<12}" + "".join(f"  {title}" for title in columns)]
    for i, name in enumerate(names):
        cells = (f"  {column[i]:{len(title)}.3f}" for title, column in zip(columns, values, strict=True))
        lines.append(f"{name:<12}" + "".join(cells))
    return "\n".join(lines)
