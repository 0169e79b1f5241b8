"""The share of normal images that a threshold may call abnormal: the wanted share, and what few images can support."""

import numpy as np

from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import check_rate, least_rate
from sagan_jax.judging.metrics import Interval

_DEFAULT = 0.05


def rate_for(wanted: float | None, images: int) -> float:
    """The rate that a threshold is set for.

    Args:
        wanted: The rate asked for; None for 5 %, or the least that the images support if that is more.
        images: Normal images held out of training, which the threshold rests on.

    Returns:
        The rate, between 0 and 1.

    Raises:
        UserError: If the rate asked for is not between 0 and 1, or less than the images support.
    """
    least = least_rate(images)
    if wanted is None:
        return max(_DEFAULT, least)
    check_rate(wanted)
    if wanted < least and percent(wanted) != percent(least):
        raise UserError(
            f"the false-positive rate is {wanted:g}; {resting_on(images)}. Ask for as much, or train again with more "
            "images held out (--validation-fraction)"
        )
    return max(wanted, least)  # the least, as it is said, is rounded


def rate_or(usual: float, wanted: float | None, images: int) -> float:
    """The rate that a run's threshold is set for, `usual`, unless another is wanted: then as `rate_for`."""
    return usual if wanted is None else rate_for(wanted, images)


def expected_rate(held_out: int, false_positive_rate: float) -> Interval:
    """The rate of false positives that a threshold set on this many normal images leads to.

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

    check_rate(false_positive_rate)
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
        raise UserError(f"{counted} of {images} images is not a share")
    bounds = binomtest(counted, images).proportion_ci(0.95, "exact")
    return Interval(counted / images, float(bounds.low), float(bounds.high))


def contradicts(counted: int, images: int, rate: float) -> bool:
    """Whether normal images contradict the rate that a threshold was set for: once in a hundred times by chance.

    Args:
        counted: How many of the images exceed the threshold.
        images: How many there are; the threshold was set without them.
        rate: The rate, between 0 and 1.
    """
    from scipy.stats import binom

    return bool(binom.sf(counted - 1, images, rate) < 0.01)


def resting_on(images: int) -> str:
    """What a threshold rests on and what that is good for, in words."""
    of = "normal image" if images == 1 else "normal images"
    return f"{images:,} held-out {of} can support a rate of {percent(least_rate(images))} and more"


def percent(rate: float) -> str:
    """A rate in per cent, rounded to three digits: 5 %, 0.1 %, 4.76 %."""
    return f"{100 * rate:.3g} %"
