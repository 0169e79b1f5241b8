"""What rate of false positives a number of normal images can vouch for."""

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import calibrate, least_rate, threshold_for
from sagan_jax.judging.false_positive_rate import contradicts, counted_rate, expected_rate, rate_for, resting_on


def test_the_greatest_of_n_scores_is_exceeded_once_in_n_and_1_times_whatever_their_law():
    generator = np.random.default_rng(0)
    for draw in (generator.standard_normal, generator.standard_exponential, generator.standard_cauchy):
        scores = draw((40_000, 20))  # 19 held out, one new, so often
        exceeded = (scores[:, -1] > scores[:, :-1].max(axis=1)).mean()
        assert exceeded == pytest.approx(least_rate(19), abs=0.004)  # four deviations
    assert [least_rate(n) for n in (1, 4, 19, 99, 999, 10_000)] == [0.5, 0.2, 0.05, 0.01, 0.001, 0.001]


def test_the_default_is_five_per_cent_or_what_the_images_support():
    assert [rate_for(None, images) for images in (1, 4, 19, 20, 1000)] == [0.5, 0.2, 0.05, 0.05, 0.05]


def test_a_rate_asked_for_is_kept_or_refused_never_changed():
    assert rate_for(0.01, 99) == 0.01
    assert rate_for(0.5, 1) == 0.5
    with pytest.raises(UserError, match=r"rate is 0\.01; 98 held-out normal images can support a rate of 1\.01 % and"):
        rate_for(0.01, 98)
    with pytest.raises(UserError, match=r"rate is 0\.05; 1 held-out normal image can support a rate of 50 % and more"):
        rate_for(0.05, 1)
    with pytest.raises(UserError, match="between 0 and 1"):
        rate_for(1.0, 99)


def test_many_images_are_written_with_commas():
    assert resting_on(2250).startswith("2,250 held-out normal images can support a rate of 0.1 %")


def test_a_threshold_is_the_kth_lowest_score_at_k_over_n_plus_1():
    scores = np.arange(1.0, 20.0)[::-1]  # 19 scores: 5 % is the highest, 10 % the one before, 7.5 % between them
    assert [threshold_for(calibrate(scores), rate) for rate in (0.05, 0.1, 0.075)] == pytest.approx([19, 18, 18.5])
    assert threshold_for(calibrate(scores[:5]), 0.05) == 19  # no score says what is beyond the highest


@pytest.mark.parametrize("held_out", [19, 99])  # whose ranks, 19 and 95, are whole
def test_further_normal_images_exceed_the_threshold_as_often_as_wanted_and_within_the_interval(held_out):
    generator = np.random.default_rng(0)
    for draw, chance in (
        (generator.standard_exponential, lambda threshold: np.exp(-threshold)),
        (generator.random, lambda threshold: 1 - threshold),
    ):
        thresholds = np.array([threshold_for(calibrate(draw(held_out)), 0.05) for _ in range(600)])
        rates = chance(thresholds)  # the true one of each
        expected = expected_rate(held_out, 0.05)
        assert rates.mean() == pytest.approx(0.05, abs=0.008)
        inside = (expected.low <= rates) & (rates <= expected.high)
        assert inside.mean() == pytest.approx(0.95, abs=0.03)


def test_few_images_lead_to_the_rate_that_they_support():
    assert expected_rate(15, 0.05).value == pytest.approx(least_rate(15))
    assert expected_rate(15, 0.05).high == pytest.approx(1 - 0.025 ** (1 / 15))  # of the highest of 15
    with pytest.raises(UserError, match="at least 1 held-out image"):
        expected_rate(0, 0.05)
    with pytest.raises(UserError, match="between 0 and 1"):
        expected_rate(10, 0.0)


def test_a_counted_rate_has_the_interval_of_clopper_and_pearson():
    assert counted_rate(0, 10) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 10)))
    assert counted_rate(11, 71) == pytest.approx((0.1549, 0.0800, 0.2603), abs=1e-4)
    with pytest.raises(UserError, match="3 of 2 images"):
        counted_rate(3, 2)


def test_as_many_images_over_a_threshold_as_chance_brings_once_in_a_hundred_times_contradict_its_rate():
    # Of 2 images both are over a threshold for 5 % in 0.25 % of all draws, one or more in 9.75 %.
    assert [contradicts(counted, 2, 0.05) for counted in (0, 1, 2)] == [False, False, True]
    assert [contradicts(counted, 2, 0.2) for counted in (0, 1, 2)] == [False, False, False]
    assert contradicts(11, 40, 0.05)
    assert not contradicts(6, 45, 0.05)


def test_the_least_rate_is_accepted_as_it_is_said():
    for images in range(5, 400):
        said = resting_on(images).split("a rate of ")[1].split(" %")[0]
        assert rate_for(float(said) / 100, images) == pytest.approx(least_rate(images), rel=5e-3)
    with pytest.raises(UserError, match=r"2\.22 % and more"):
        rate_for(0.022, 44)
