import numpy as np
import pytest

from sagan_jax.evaluation import evaluate_strict, sweep
from sagan_jax.scoring import calibrate

LABELS = np.array([False] * 4 + [True] * 4)
SCORES = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.8, 0.95, 1.0])


def test_the_threshold_is_set_on_held_out_images_and_only_tried_on_the_test_set():
    calibration = calibrate(np.linspace(0, 1, 1001))
    strict = evaluate_strict(LABELS, SCORES, calibration, false_positive_rate=0.15)
    assert strict["threshold"]["value"] == pytest.approx(0.85)
    assert strict["threshold"]["false_positive_rate"] == 1 / 4
    assert strict["threshold"]["recall"] == 2 / 4
    assert strict["auroc"]["value"] == 14 / 16  # pairs won: 3 + 3 + 4 + 4
    assert strict["auroc"]["low"] <= 14 / 16 <= strict["auroc"]["high"]


def test_a_sweep_lists_each_class_and_the_mean():
    results = [
        {"abnormal": name, "strict": {"auroc": {"value": value}}} for name, value in (("cat", 0.5), ("dog", 0.75))
    ]
    assert sweep(results).split() == ["abnormal", "strict", "cat", "0.500", "dog", "0.750", "mean", "0.625"]
    for result in results:
        result["reference"] = {"batch_statistics_in_order_best_test_epoch": 1.0}
    assert sweep(results).splitlines()[-1].split() == ["mean", "0.625", "1.000"]
