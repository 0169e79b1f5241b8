import numpy as np
import pytest
from mean_detector import MEAN

from sagan_jax.data.split import Split
from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import calibrate, called
from sagan_jax.judging.evaluation import evaluate_kinds, evaluate_strict, normal_maps, score_test
from sagan_jax.judging.pixel_metrics import count_pixels, counted_only
from sagan_jax.judging.scoring import reference_protocol_scores, score_images
from sagan_jax.report.text import sweep

LABELS = np.array([False] * 4 + [True] * 4)
SCORES = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.8, 0.95, 1.0])


def test_the_threshold_is_set_on_held_out_images_and_only_tried_on_the_test_set():
    calibration = calibrate(np.linspace(0, 1, 1001))
    strict = evaluate_strict(LABELS, SCORES, calibration, false_positive_rate=0.15, held_out=1001)
    assert strict["threshold"]["value"] == pytest.approx((0.85 * 1002 - 1) / 1000)  # the 851.7th lowest of 1001
    assert strict["threshold"]["false_positive_rate"] == 1 / 4
    assert strict["threshold"]["false_positive_rate_interval"]["low"] == pytest.approx(1 - 0.975 ** (1 / 4))
    assert strict["threshold"]["recall"] == 2 / 4
    expected = strict["threshold"]["false_positive_rate_expected"]
    assert expected["value"] == pytest.approx(0.15)
    assert 0.12 < expected["low"] < 0.15 < expected["high"] < 0.18
    assert strict["auroc"]["value"] == 14 / 16  # pairs won: 3 + 3 + 4 + 4
    assert strict["auroc"]["low"] <= 14 / 16 <= strict["auroc"]["high"]


def test_each_kind_is_told_from_all_normal_images():
    kinds = np.array(["good"] * 4 + ["bent", "bent", "torn", "torn"])
    masks = np.zeros((8, 4, 4), bool)
    masks[4:, :2] = True
    maps = np.where(masks & (kinds == "torn")[:, None, None], 2.0, 1.0)
    pixels = count_pixels(maps, masks, np.array([1.5]))
    bent, torn = evaluate_kinds(LABELS, kinds, SCORES, 0.85, pixels)
    assert bent == {"name": "bent", "images": 2, "auroc": 6 / 8, "recall": 0.0, "pixel_auroc": 0.5, "aupro": 0.15}
    assert torn == {"name": "torn", "images": 2, "auroc": 1.0, "recall": 1.0, "pixel_auroc": 1.0, "aupro": 1.0}


def test_abnormal_images_that_nobody_marked_count_as_images_and_not_as_pixels():
    maps, masks = np.ones((8, 4, 4)), np.zeros((8, 4, 4), bool)
    masks[4:6, :2] = True
    maps[4:6, :2] = 2.0
    maps[6:] = 2.0  # would all be false positives if their lack of a mask were taken for one that marks nothing
    pixels = count_pixels(maps, masks, np.array([1.5]))
    calibration = calibrate(np.linspace(0, 1, 1001))
    marked = np.array([True] * 6 + [False] * 2)
    strict = evaluate_strict(LABELS, SCORES, calibration, 0.15, counted_only(pixels, marked))
    assert strict["pixel_auroc"]["value"] == strict["pixel_auroc"]["low"] == strict["aupro"]["value"] == 1.0
    assert strict["auroc"] == evaluate_strict(LABELS, SCORES, calibration, 0.15)["auroc"]
    assert evaluate_strict(LABELS, SCORES, calibration, 0.15, pixels)["pixel_auroc"]["value"] < 1
    kinds = np.array(["good"] * 4 + ["bent"] * 2 + ["torn"] * 2)
    bent, torn = evaluate_kinds(LABELS, kinds, SCORES, 0.85, counted_only(pixels, marked))
    assert bent["pixel_auroc"] == 1.0
    assert torn["images"] == 2
    assert "pixel_auroc" not in torn


def test_a_sweep_lists_each_class_and_the_mean():
    results = [
        {"abnormal": name, "strict": {"auroc": {"value": value}}} for name, value in (("cat", 0.5), ("dog", 0.75))
    ]
    assert sweep(results).split() == ["abnormal", "strict", "cat", "0.500", "dog", "0.750", "mean", "0.625"]
    for result in results:
        result["reference"] = {"batch_statistics_in_order_best_test_epoch": 1.0}
    assert sweep(results).splitlines()[-1].split() == ["mean", "0.625", "1.000"]


def test_a_sweep_over_seeds_tells_their_standard_deviation():
    results = [
        {"abnormal": "cat", "training": {"seed": seed}, "strict": {"auroc": {"value": value}}}
        for seed, value in ((4, 0.5), (5, 0.7))
    ]
    lines = [line.split() for line in sweep(results).splitlines()[1:]]
    assert lines == [
        ["cat,", "seed", "4", "0.500"],
        ["cat,", "seed", "5", "0.700"],
        ["deviation", "0.141"],
        ["mean", "0.600"],
    ]


@pytest.mark.parametrize(("marked", "counted"), [(4, True), (8, False), (0, False)])
def test_pixels_are_counted_where_both_kinds_are_there(marked, counted, key):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    names, masks = np.arange(6).astype(str), np.zeros((6, 8, 8), bool)
    masks[:, :marked] = True
    split = Split("noise", "odd", images, names, images, np.ones(6, bool), names, test_masks=masks)
    state = MEAN.init(key, (8, 8, 1))
    normal = normal_maps(MEAN, state, split, images)
    np.testing.assert_array_equal(normal.greatest, normal.pixels.max(axis=(1, 2)))
    np.testing.assert_array_equal(normal.scores, score_images(MEAN, state, images).total)
    scores, pixels = score_test(MEAN, state, split, normal.pixels)
    assert len(scores.total) == 6
    assert (pixels is not None) == counted


def test_scores_that_are_not_numbers_set_no_threshold_and_get_no_verdict():
    for scores in ([1, 2, np.nan], [1, np.inf], []):
        with pytest.raises(UserError, match="normal scores"):
            calibrate(np.array(scores, np.float32))
    calibration = calibrate(np.arange(9, dtype=np.float32))
    for score, threshold in ((np.nan, 3.0), (3.0, np.nan)):
        with pytest.raises(UserError, match="it must be a finite number"):
            called(calibration, float(score), float(threshold))


def test_the_reference_protocol_is_given_each_image_once(key):
    images = np.zeros((6, 4, 4, 1), np.uint8)
    state = MEAN.init(key, (4, 4, 1))
    with pytest.raises(UserError, match="each index of the 6 images once"):
        reference_protocol_scores(MEAN, state, images, batch_size=2, order=np.zeros(6, int))
    with pytest.raises(UserError, match="batch_size is 0"):
        reference_protocol_scores(MEAN, state, images, batch_size=0)
