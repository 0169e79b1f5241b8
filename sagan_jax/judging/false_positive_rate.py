"""The share of normal images that a threshold may call abnormal: what is wanted, and what few images can vouch for."""

from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import least_rate

DEFAULT = 0.05


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
        return max(DEFAULT, least)
    if not 0 < wanted < 1:
        raise UserError(f"the false-positive rate is {wanted}; it must be between 0 and 1")
    if wanted < least:
        raise UserError(
            f"the false-positive rate is {wanted:g}; {resting_on(images)}. Ask for as much, or train anew with more "
            "images held out (--validation-fraction)"
        )
    return wanted


def resting_on(images: int) -> str:
    """What a threshold rests on and what that is good for, in words."""
    of = "normal image" if images == 1 else "normal images"
    return f"{images:,} held-out {of} can support a rate of {percent(least_rate(images))} and more"


def percent(rate: float) -> str:
    """A rate in per cent, rounded to three digits: 5 %, 0.1 %, 4.76 %."""
    return f"{100 * rate:.3g} %"
