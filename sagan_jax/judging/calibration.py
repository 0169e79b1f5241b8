"""Calibration against normal images: thresholds for a false-positive rate, scores as shares of normal images."""

from typing import Any, NamedTuple, TypeVar

import numpy as np
from jax import Array
from jaxtyping import Float

from sagan_jax.errors import UserError
from sagan_jax.judging.metrics import Interval

QUANTILES = 1001
ArrayLike = TypeVar("ArrayLike", np.ndarray, Array)


class Calibration(NamedTuple):
    """What scores normal images have: the quantiles of normal scores at even steps from 0 to 1, as held-out ones say."""

    quantiles: Float[np.ndarray, " quantiles"]


def calibrate(normal_scores: Float[np.ndarray, " count"]) -> Calibration:
    """Estimates the quantiles of normal scores from those of normal images that were not trained on.

    The k-th lowest of n scores is taken for the quantile at k / (n + 1), with straight lines between them. A further
    normal image exceeds it with probability 1 - k / (n + 1) whatever the distribution is, as in split conformal
    prediction. At (k - 1) / (n - 1), the usual choice, 15 images have 11 % false positives where 5 % were wanted. Beyond
    n / (n + 1) there is nothing but the highest score. Compared with parametric tails in `experiments/thresholds.py`.
    """
    levels = np.linspace(0.0, 1.0, QUANTILES)
    return Calibration(np.quantile(normal_scores, levels, method="weibull").astype(np.float32))


def threshold(calibration: Calibration, false_positive_rate: float) -> float:
    """The score above which an image is called abnormal, for a share of normal images wrongly called so.

    Raises:
        UserError: If the rate is not between 0 and 1.
    """
    _check_rate(false_positive_rate)
    levels = np.linspace(0.0, 1.0, len(calibration.quantiles))
    return float(np.interp(1.0 - false_positive_rate, levels, calibration.quantiles))


def expected_rate(held_out: int, false_positive_rate: float) -> Interval:
    """The rate of false positives that a threshold set on so many normal images leads to.

    The value is its mean over choices of those images, which is the wanted rate, or 1 / (n + 1) where that is more.
    The interval has the true rate of 95 of 100 choices: that of the r-th lowest of n scores is distributed as
    Beta(n + 1 - r, r), whatever the distribution of scores. All of it for further images of the same kind; images
    from elsewhere, or later, may differ in ways that no held-out image shows.

    Args:
        held_out: How many normal images the threshold was set on, at least 1.
        false_positive_rate: The wanted rate.

    Raises:
        UserError: If there are none, or the rate is not between 0 and 1.
    """
    from scipy.stats import beta

    _check_rate(false_positive_rate)
    if held_out < 1:
        raise UserError(f"a threshold is set on at least 1 held-out image, not {held_out}")
    rank = float(np.clip((held_out + 1) * (1 - false_positive_rate), 1, held_out))
    low, high = beta.ppf((0.025, 0.975), held_out + 1 - rank, rank)
    return Interval(1 - rank / (held_out + 1), float(low), float(high))


def counted_rate(counted: int, images: int) -> Interval:
    """A share of images with its 95 % interval (Clopper and Pearson 1934), which never covers too seldom.

    Args:
        counted: How many of the images, 0 or more.
        images: How many there are, at least 1.

    Raises:
        UserError: If the counts cannot be.
    """
    from scipy.stats import binomtest

    if not 0 <= counted <= images or images < 1:
        raise UserError(f"{counted} of {images} images is no share")
    bounds = binomtest(counted, images).proportion_ci(0.95, "exact")
    return Interval(counted / images, float(bounds.low), float(bounds.high))


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise UserError(f"the false-positive rate is {rate}; it must be between 0 and 1")


def calibrated(calibration: Calibration, scores: ArrayLike) -> ArrayLike:
    """Scores `[N]` as shares in [0, 1]: the part of normal images that score lower (empirical CDF against normal).

    Ties count by half. Written with what NumPy and JAX share, so that an exported scorer does the same.
    """
    quantiles: Any = calibration.quantiles[None, :]
    below = (quantiles < scores[:, None]).mean(axis=1, dtype=np.float32)
    up_to = (quantiles <= scores[:, None]).mean(axis=1, dtype=np.float32)
    return (below + up_to) / 2
