"""What rate of false positives a number of normal images can vouch for."""

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import least_rate
from sagan_jax.judging.false_positive_rate import rate_for, resting_on


def test_the_greatest_of_n_scores_is_exceeded_once_in_n_and_1_times_whatever_their_law():
    generator = np.random.default_rng(0)
    for draw in (generator.standard_normal, generator.standard_exponential, generator.standard_cauchy):
        scores = draw((40_000, 20))  # 19 held out, one new, so often
        exceeded = (scores[:, -1] > scores[:, :-1].max(axis=1)).mean()
        assert exceeded == pytest.approx(least_rate(19), abs=0.004)  # four deviations
    assert [least_rate(n) for n in (1, 4, 19, 99)] == [0.5, 0.2, 0.05, 0.01]


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
    assert resting_on(2250).startswith("2,250 held-out normal images can support a rate of 0.0444 %")
