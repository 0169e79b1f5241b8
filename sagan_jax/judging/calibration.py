"""Calibration against normal images: thresholds for a false-positive rate, scores as shares of normal images."""

import math
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jax import Array
from jaxtyping import Float

from sagan_jax.errors import require

QUANTILES = 1001
ArrayLike = TypeVar("ArrayLike", np.ndarray, Array)


class Calibration(NamedTuple):
    """The scores of normal images as new ones are scored: their quantiles, at even steps from 0 to 1."""

    quantiles: Float[np.ndarray, " quantiles"]


def calibrate(normal_scores: Float[np.ndarray, " count"]) -> Calibration:
    """Estimates the quantiles of normal scores from those of held-out images, or of `crossed_scores`.

    The k-th lowest of n scores is taken for the quantile at k / (n + 1), with straight lines between them. A further
    normal image exceeds it with probability 1 - k / (n + 1) whatever the distribution is, as in split conformal
    prediction; beyond n / (n + 1) the quantile is the highest score. NumPy's default takes it for the quantile at
    (k - 1) / (n - 1), and 15 images then lead to 11 % false positives where 5 % were wanted. Compared with other
    estimates, parametric tails among them, in `experiments/thresholds.py`.

    Raises:
        UserError: If there are no scores, they are not in a row, or one is not finite.
    """
    scores = np.asarray(normal_scores)
    require(scores.ndim == 1 and scores.size > 0, "the shape of the normal scores", scores.shape, "[N], one or more")
    require(bool(np.isfinite(scores).all()), "one of the normal scores", "not finite", "a finite number")
    levels = np.linspace(0.0, 1.0, QUANTILES)
    return Calibration(np.quantile(normal_scores, levels, method="weibull").astype(np.float32))


def least_rate(images: int) -> float:
    """The least false-positive rate that this many normal images can support.

    A further normal image exceeds the greatest of n others' scores once in n + 1 times, for any distribution of scores,
    if all are drawn alike. No threshold that is one of those scores is exceeded less often. The quantiles that are kept
    are a thousandth apart, which is the least rate of more images.

    Args:
        images: Normal images that were not trained on, 1 or more.

    Returns:
        1 / (images + 1), but 0.001 at least.
    """
    return max(1.0 / (images + 1), 1.0 / (QUANTILES - 1))


def check_rate(false_positive_rate: float) -> None:
    """Raises UserError if the rate is not between 0 and 1."""
    require(0 < false_positive_rate < 1, "the false-positive rate", false_positive_rate, "between 0 and 1")


def threshold_for(calibration: Calibration, false_positive_rate: float) -> float:
    """The score above which an image is called abnormal, for a share of normal images wrongly called so.

    Raises:
        UserError: If the rate is not between 0 and 1.
    """
    check_rate(false_positive_rate)
    levels = np.linspace(0.0, 1.0, len(calibration.quantiles))
    return float(np.interp(1.0 - false_positive_rate, levels, calibration.quantiles))


def calibrated(calibration: Calibration, scores: ArrayLike) -> ArrayLike:
    """Scores `[N]` as shares in [0, 1]: the part of normal images that score lower (empirical CDF against normal).

    Ties count by half. Written with what NumPy and JAX share, so that an exported scorer does the same.
    """
    quantiles: Any = calibration.quantiles[None, :]
    below = (quantiles < scores[:, None]).mean(axis=1, dtype=np.float32)
    up_to = (quantiles <= scores[:, None]).mean(axis=1, dtype=np.float32)
    return (below + up_to) / 2


def called(calibration: Calibration, score: float, threshold: float) -> tuple[Literal["normal", "abnormal"], float]:
    """What an image of this score is called, and the share of normal images that score lower, 0 to 1.

    Raises:
        UserError: If the score or the threshold is not finite.
    """
    for name, value in (("the score", score), ("the threshold", threshold)):
        require(math.isfinite(value), name, value, "a finite number")
    share = calibrated(calibration, np.array([score], np.float32))[0]
    return "abnormal" if score > threshold else "normal", float(share)
