from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from sagan_jax.errors import UserError
from sagan_jax.judging import metrics

# Three normal and two abnormal images; one abnormal score ties with two normal ones.
LABELS = np.array([False, False, False, True, True])
SCORES = np.array([1.0, 2.0, 2.0, 2.0, 3.0])


def tied(seed: int, normal: int = 60, abnormal: int = 40, values: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Labels and float32 scores on a coarse grid: many ties, abnormal a little higher."""
    rng = np.random.default_rng(seed)
    labels = np.arange(normal + abnormal) >= normal
    return labels, np.float32(0.1) * rng.integers(0, values, labels.size).astype(np.float32) + np.float32(0.2) * labels


def test_metrics_of_a_hand_worked_case_with_ties():
    # Pairs: 3 beats all three; 2 beats one and ties with two: (3 + 1 + 2 / 2) / 6.
    assert metrics.auroc(LABELS, SCORES) == pytest.approx(5 / 6)
    # At 3: recall 1/2, precision 1. At 2: recall 1, precision 2/4.
    assert metrics.average_precision(LABELS, SCORES) == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    # At 3: 2 / (2 + 0 + 1). At 2: 4 / (4 + 2 + 0), as good: the higher threshold is told. At 1: 4 / 7.
    assert metrics.f1_max(LABELS, SCORES) == (pytest.approx(2 / 3), 3.0)
    # From (0, 1/2) to (2/3, 1): 2/3 t = 1/2 - t/2 at t = 3/7.
    assert metrics.equal_error_rate(LABELS, SCORES) == pytest.approx(2 / 7)


def test_equal_error_rate_at_an_operating_point_needs_no_interpolation():
    labels = np.array([False] * 4 + [True] * 4)
    scores = np.array([1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 7.0, 2.5])  # at 4: one normal called abnormal, one abnormal missed
    assert metrics.equal_error_rate(labels, scores) == 0.25


def test_scores_that_are_all_equal_tell_nothing():
    labels = np.arange(10) >= 7
    scores = np.full(10, 0.3)
    assert metrics.auroc(labels, scores) == 0.5
    assert metrics.average_precision(labels, scores) == pytest.approx(0.3)  # the share of abnormal images
    assert metrics.f1_max(labels, scores) == (pytest.approx(2 * 3 / (3 + 7 + 3)), 0.3)
    assert metrics.equal_error_rate(labels, scores) == 0.5


def test_perfect_and_upside_down_scores():
    labels = np.arange(10) >= 7
    scores = np.arange(10.0)
    assert metrics.auroc(labels, scores) == 1
    assert metrics.f1_max(labels, scores) == (1, 7)
    assert metrics.equal_error_rate(labels, scores) == 0
    assert metrics.auroc(labels, -scores) == 0
    assert metrics.equal_error_rate(labels, -scores) == 1


@pytest.mark.parametrize("seed", range(5))
def test_f1_max_is_the_best_of_all_distinct_scores(seed: int):
    labels, scores = tied(seed)
    f1, threshold = metrics.f1_max(labels, scores)
    assert threshold in scores
    assert f1 == pytest.approx(sklearn.metrics.f1_score(labels, scores >= threshold))
    assert f1 == pytest.approx(max(sklearn.metrics.f1_score(labels, scores >= each) for each in np.unique(scores)))


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rate_is_where_the_roc_polygon_meets_the_diagonal(seed: int):
    labels, scores = tied(seed)
    false_positive_rate, recall, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    # FPR + TPR rises along the polygon; the rates are equal where it is 1.
    expected = np.interp(1.0, false_positive_rate + recall, false_positive_rate)
    assert metrics.equal_error_rate(labels, scores) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_counted_metrics_equal_scikit_learns(seed: int):
    labels, scores = tied(seed)
    area, precision, f1, threshold, error = metrics._statistics(metrics._count(labels, scores))[0]
    assert area == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    assert precision == pytest.approx(sklearn.metrics.average_precision_score(labels, scores))
    assert (f1, threshold) == metrics.f1_max(labels, scores)
    assert error == metrics.equal_error_rate(labels, scores)


def test_a_resample_has_the_metrics_of_the_images_it_drew():
    labels, scores = tied(0, normal=12, abnormal=8, values=30)  # small: most resamples lack some scores
    (counts,) = metrics._resampled(labels, scores, resamples=20, seed=0)
    assert (np.hstack([counts.abnormal, counts.normal]) == 0).any(axis=1).all()
    for row, abnormal, normal in zip(metrics._statistics(counts), counts.abnormal, counts.normal, strict=True):
        drawn = np.concatenate([np.repeat(counts.thresholds, normal), np.repeat(counts.thresholds, abnormal)])
        assert (normal.sum(), abnormal.sum()) == (12, 8)
        expected = [
            metrics.auroc(labels, drawn),
            metrics.average_precision(labels, drawn),
            *metrics.f1_max(labels, drawn),
            metrics.equal_error_rate(labels, drawn),
        ]
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_every_image_is_drawn_once_on_average():
    labels = np.arange(10) >= 6
    (counts,) = metrics._resampled(labels, np.arange(10.0), resamples=5000, seed=0)
    np.testing.assert_allclose(counts.abnormal[:, :4].mean(axis=0), 1, atol=0.06)  # 5 standard errors
    np.testing.assert_allclose(counts.normal[:, 4:].mean(axis=0), 1, atol=0.06)
    assert not counts.abnormal[:, 4:].any()
    assert not counts.normal[:, :4].any()


def test_nothing_but_the_threshold_changes_with_a_rising_transform():
    labels, scores = tied(3)
    before = metrics.summarise(labels, scores, resamples=50)
    after = metrics.summarise(labels, np.exp(3 * scores) - 7, resamples=50)
    assert after._replace(f1_threshold=before.f1_threshold) == before
    assert after.f1_threshold.value == pytest.approx(np.exp(3 * before.f1_threshold.value) - 7, rel=1e-5)


def test_upside_down_scores_have_one_minus_the_auroc_and_error_rate():
    labels, scores = tied(4)
    assert metrics.auroc(labels, -scores) == pytest.approx(1 - metrics.auroc(labels, scores))
    assert metrics.equal_error_rate(labels, -scores) == pytest.approx(1 - metrics.equal_error_rate(labels, scores))


def test_interval_of_a_case_with_known_quantiles():
    # Normal images score 0, half of 100 abnormal ones 1: a resample's AUROC is 1/2 + 1/2 Binomial(100, 1/2) / 100.
    labels = np.arange(200) >= 100
    scores = (np.arange(200) >= 150).astype(float)
    interval = metrics.summarise(labels, scores, resamples=4000).auroc
    expected = 0.5 + 0.5 * scipy.stats.binom.ppf([0.025, 0.975], 100, 0.5) / 100
    assert interval.value == 0.75
    np.testing.assert_allclose(interval[1:], expected, atol=0.0051)  # one image more or less


def test_scores_that_tell_all_images_apart_are_no_proof_of_an_auroc_of_one():
    labels = np.arange(30) >= 20
    right, wrong = (metrics.summarise(labels, scores, resamples=20).auroc for scores in (labels * 1.0, labels * -1.0))
    # If one abnormal image in a hundred scores under all normal ones, the AUROC is 0.99; 10 of 10 are right by 0.99^10.
    assert right == pytest.approx((1, 0.025 ** (1 / 10), 1))
    assert wrong == pytest.approx((0, 0, 1 - 0.025 ** (1 / 10)))


def test_resamples_keep_both_counts():
    labels = np.arange(30) >= 20
    summary = metrics.summarise(labels, np.zeros(30), resamples=20)
    # With all scores equal, average precision is the share of abnormal images, which no resample may change.
    assert summary.average_precision == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert summary.f1_max == pytest.approx((0.5, 0.5, 0.5))


def test_intervals_hold_their_values_and_narrow_with_more_images():
    def noisy(count: int) -> metrics.Summary:
        labels = np.arange(count) >= count // 2
        return metrics.summarise(labels, np.random.default_rng(0).normal(size=count) + labels, resamples=200)

    small, large = noisy(300), noisy(4800)
    for few, many in zip(small, large, strict=True):
        assert few.low <= few.value <= few.high
        assert many.low <= many.value <= many.high
    narrowing = (large.auroc.high - large.auroc.low) / (small.auroc.high - small.auroc.low)
    assert narrowing == pytest.approx(1 / 4, rel=0.25)  # by the root of 16


def test_nineteen_in_twenty_intervals_hold_the_true_auroc():
    rng = np.random.default_rng(0)
    labels = np.arange(100) >= 50
    truth = scipy.stats.norm.cdf(1 / np.sqrt(2))  # N(1, 1) against N(0, 1)
    intervals = [metrics.summarise(labels, rng.normal(size=100) + labels, resamples=200).auroc for _ in range(200)]
    covered = sum(interval.low <= truth <= interval.high for interval in intervals)
    assert 180 <= covered <= 198  # 190 +- 3 standard deviations of Binomial(200, 0.95), percentile intervals run short


def test_a_seed_fixes_the_intervals_whatever_the_memory(monkeypatch: pytest.MonkeyPatch):
    labels, scores = tied(5)
    summary = metrics.summarise(labels, scores, resamples=100, seed=1)
    assert metrics.summarise(labels, scores, resamples=100, seed=2) != summary
    monkeypatch.setattr(metrics, "_CELLS", 7 * labels.size)  # chunks of 7 resamples, the last of 2
    assert metrics.summarise(labels, scores, resamples=100, seed=1) == summary


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([False, True], [0.0, 1.0, 2.0], r"one length; their shapes are \(2,\) and \(3,\)"),
        ([[False, True]], [[0.0, 1.0]], "must be flat"),
        ([], [], "no scores"),
        ([0, 2], [0.0, 1.0], "False .* or True"),
        ([False, True, True, True], [0.0, np.nan, np.inf, -np.inf], "3 of 4 scores are NaN or infinite"),
        ([False, False], [0.0, 1.0], "all 2 images are normal"),
        ([True, True], [0.0, 1.0], "all 2 images are abnormal"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(labels: list, scores: list, message: str):
    with pytest.raises(UserError, match=message):
        metrics._checked(np.array(labels), np.array(scores))


@pytest.mark.parametrize(
    "metric",
    [metrics.auroc, metrics.average_precision, metrics.f1_max, metrics.equal_error_rate, metrics.summarise],
)
def test_every_metric_refuses_them(metric: Callable):
    with pytest.raises(UserError, match="1 of 5 scores"):
        metric(LABELS, np.where(SCORES == 3, np.nan, SCORES))


def test_no_resamples_is_refused():
    with pytest.raises(UserError, match="resamples is 0; it must be at least 1"):
        metrics.summarise(LABELS, SCORES, resamples=0)
