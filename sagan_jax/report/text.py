"""Results as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagan_jax.judging.calibration import least_rate
from sagan_jax.judging.false_positive_rate import percent, resting_on


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


def resting(result: Mapping[str, Any]) -> str:
    """What set a result's threshold and what rate can be relied on, in words.

    A threshold for a lower rate than its images support, which older versions set, is warned of.
    """
    threshold, held_out = result["strict"]["threshold"], result["images"]["held_out"]
    wanted, scored = threshold["false_positive_rate_wanted"], threshold.get("calibration_images", held_out)
    halves = f"set by {scored:,} normal images, each half scored by what is known of the other; "
    too_fine = f"; {percent(wanted)} is less, so the threshold does not guarantee it"
    return (
        f"{halves if scored != held_out else ''}{resting_on(held_out)}"
        f"{too_fine if wanted < least_rate(held_out) else ''}"
    )


def summary(result: dict[str, Any]) -> str:
    """The result as a few lines of text."""

    def interval(name: str) -> str:
        metric = result["strict"][name]
        return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"

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
        lines += floor_lines(result)
    else:
        lines.append("strict protocol: nothing to test on; it takes normal and abnormal test images to tell them apart")
    lines += _threshold_lines(result)
    for kind in result.get("kinds", ()):
        pixels = f", pixel AUROC {kind['pixel_auroc']:.3f}, AUPRO {kind['aupro']:.3f}" if "aupro" in kind else ""
        lines.append(f"  {kind['name']} ({kind['images']:,}): AUROC {kind['auroc']:.3f}{pixels}")
    lines += [f"  note: {note}" for note in result.get("notes", ())]
    if reference := result.get("reference"):
        named = leaks(reference)
        lines += ["", "reference protocol, AUROC (leaks labels; not a result)"]
        lines += [f"  {name:<{max(map(len, named))}}  {area:.3f}" for name, area in named.items()]
    return "\n".join(lines)


def _threshold_lines(result: Mapping[str, Any]) -> list[str]:
    """The threshold, what it does on the test set, and what it rests on; intervals where the run has them."""
    threshold = result["strict"]["threshold"]

    def counted(name: str) -> str:
        bounds = threshold.get(f"{name}_interval")
        return f"{threshold[name]:.1%}" + (f" [{bounds['low']:.1%}, {bounds['high']:.1%}]" if bounds else "")

    called = [
        text.format(counted(name))
        for name, text in {"false_positive_rate": "{} on the test set", "recall": "recall {}"}.items()
        if name in threshold
    ]
    expected = ""
    if bounds := threshold.get("false_positive_rate_expected"):
        expected = f"; with that many it comes out at {bounds['low']:.1%} to {bounds['high']:.1%}, 19 times out of 20"
    return [
        f"  threshold {threshold['value']:.4g} for {percent(threshold['false_positive_rate_wanted'])} false positives"
        f"{': ' if called else ''}{', '.join(called)}",
        f"  {resting(result)}{expected}",
    ]


def floor_lines(result: Mapping[str, Any]) -> list[str]:
    """What no network reaches on the same test images, as a line; none of runs that are older than the floor."""
    floor = result.get("floor")
    if not floor:
        return []
    if "left_out" in floor:
        return [f"  trivial floor      left out: {floor['left_out']}"]
    worst, mean = floor["auroc_worst"], floor["auroc_mean"]
    pixels = f"; pixel AUROC {floor['pixel_auroc']['value']:.3f}" if "pixel_auroc" in floor else ""
    return [
        f"  trivial floor      {worst['value']:.3f} [{worst['low']:.3f}, {worst['high']:.3f}] by the worst 1 % of the "
        f"pixels, {mean['value']:.3f} by their mean{pixels} (no network: 64 principal components)"
    ]


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
