"""Estimates of a threshold: by hand, and how they hold on a known distribution."""

import numpy as np
import pytest

from experiments.thresholds import Pool, estimates, rates_of_draws, summarised, threshold_table


def test_the_estimates_from_order_statistics_are_those_of_their_definitions():
    scores, by = np.arange(1.0, 20.0), estimates()
    assert by["empirical"](scores, 0.05) == pytest.approx(18.1)
    assert by["conformal"](scores, 0.05) == 19  # the ceil(20 * 0.95)th
    assert by["interpolated"](scores, 0.075) == pytest.approx(18.5)
    assert by["tolerance bound"](np.arange(1.0, 46.0), 0.05) == 45  # 0.95 ** 45 < 0.1: the first count that is enough
    assert by["tolerance bound"](np.arange(1.0, 101.0), 0.05) == 99  # over the 98th are 3 or more of 100 in 88 % only


@pytest.mark.parametrize("name", ["exponential tail", "Pareto tail", "Harrell-Davis"])
def test_smooth_estimates_find_the_quantile_of_an_exponential_distribution(name):
    scores = -np.log1p(-(np.arange(4000) + 0.5) / 4000)
    assert estimates()[name](scores, 0.05) == pytest.approx(-np.log(0.05), rel=0.01)


def test_the_parametric_estimates_find_the_quantile_of_their_own_distribution():
    normal = np.sort(np.random.default_rng(0).normal(5, 2, 20_000))
    assert estimates()["Gaussian"](normal, 0.05) == pytest.approx(5 + 1.645 * 2, abs=0.05)
    assert estimates()["log-normal"](np.exp(normal), 0.05) == pytest.approx(np.exp(5 + 1.645 * 2), rel=0.05)


def test_draws_from_one_distribution_have_the_wanted_mean_rate():
    rng = np.random.default_rng(0)
    pool = Pool("set", "spot", "score", rng.exponential(size=1000), rng.exponential(size=1000))
    rows = summarised([(pool, rates_of_draws(pool, 60))])
    (row,) = (row for row in rows if (row.on, row.images, row.estimate) == ("same", 100, "interpolated"))
    assert row.mean == pytest.approx(0.05, abs=0.01)
    assert row.low < row.mean < row.high
    assert threshold_table(rows).count("within") == 2 * len(estimates()) * 6
