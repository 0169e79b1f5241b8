"""Scores of normal images by statistics that were fitted on others, where few images are held out of training."""

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sagan_jax.data.groups import Groups
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import even_part
from sagan_jax.detector import Detector, State
from sagan_jax.judging.calibration import calibrate, threshold_for
from sagan_jax.judging.false_positive_rate import contradicts
from sagan_jax.judging.scoring import score_images

ENOUGH = 200
"""From this many held-out images on, they tell the rate of false positives well enough by themselves."""
_FEWEST = 40
"""Of fewer images a half would say little about the other."""
_HALF = 128
"""At most this many images of each half are scored."""
_ASKED_AT = 0.05
"""The rate of false positives at which held-out images are compared with them."""


def crossed_scores(
    detector: Detector,
    state: State,
    images: UInt8[np.ndarray, "count height width channel"] | Photographs,
    seed: int,
    groups: Groups | None = None,
) -> Float[np.ndarray, " crossed"]:
    """Scores of normal images, those that were trained on among them, by statistics that are fitted without them.

    The first half of the images, in their order, is scored by a state whose `fit_normal` saw the second half alone, and
    the second by the first: pieces of one photograph and photographs of one day, which stand beside each other, are
    known together or not at all. The networks know most of the images; docs/verdicts.md has what comes out.

    Args:
        detector: The method, one whose `fit_normal` can be crossed.
        state: Its state, trained.
        images: All normal images.
        seed: Of what the fit draws.
        groups: Images that stay together.

    Returns:
        float32, of 256 images at most; none of fewer than 40 images, or if the groups leave fewer than 20 to a half.
    """
    assert detector.fit_normal is not None
    if len(images) < _FEWEST:
        return np.zeros(0, np.float32)
    of_group = np.arange(len(images)) if groups is None else groups.numbers
    before = np.cumsum(np.bincount(of_group))[:-1]  # images of the groups up to each one but the last
    if not len(before):
        return np.zeros(0, np.float32)
    unequal = np.abs(2 * before - len(images))
    last_of_first = np.flatnonzero(unequal == unequal.min())[-1]
    in_second = of_group > last_of_first
    if min(in_second.sum(), (~in_second).sum()) < _FEWEST // 2:
        return np.zeros(0, np.float32)
    key, scores = jax.random.key(seed), []
    for known in (in_second, ~in_second):
        fitted = detector.fit_normal(state, images[np.flatnonzero(known)], key)
        scored = even_part(np.flatnonzero(~known), _HALF)
        scores.append(score_images(detector, fitted, images[scored]).total)
    return np.concatenate(scores)


def too_many_over(crossed: Float[np.ndarray, " crossed"], held_out: Float[np.ndarray, " held_out"]) -> int:
    """How many held-out images exceed the threshold by `crossed_scores`, if so many that it cannot hold for new images.

    The networks were trained on most images that are scored by halves. Where they know these better than new ones,
    held-out images score higher.

    Args:
        crossed: From `crossed_scores`.
        held_out: Scores of images that nothing was trained on.

    Returns:
        0 if they are no more than chance has for 5 % false positives, but for once in a hundred times.
    """
    if not len(crossed):
        return 0
    over = int((held_out > threshold_for(calibrate(crossed), _ASKED_AT)).sum())
    return over if contradicts(over, len(held_out), _ASKED_AT) else 0
