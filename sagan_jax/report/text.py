"""Results as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


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
    else:
        lines.append("strict protocol: nothing to test on; that needs normal and abnormal test images")
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
