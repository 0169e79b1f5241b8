"""What gives verdicts on files: a program that scores a batch, and how files become images for it."""

from typing import NamedTuple

from sagan_jax.data.image_file import Reading
from sagan_jax.data.patches import Patches
from sagan_jax.judging.calibration import Calibration
from sagan_jax.judging.scoring import PATCHES_AT_ONCE, ScoreBatch

BATCH = 32  # images scored at once, at most; fewer fill it up, so that one program serves all


class Scorer(NamedTuple):
    """A trained model as far as verdicts need it.

    Attributes:
        image_shape: [H, W, C] of the images it takes, or of patches.
        score: Scores a batch of `batch_size`, with the pictures that it was made for.
        calibration: What normal images score.
        patches: How photographs are cut for it; None if it takes whole images.
        reading: How files become images for it.
    """

    image_shape: tuple[int, int, int]
    score: ScoreBatch
    calibration: Calibration
    patches: Patches | None
    reading: Reading


def batch_size(patches: Patches | None) -> int:
    """How many images, or patches of a photograph, are scored at once."""
    return BATCH if patches is None else PATCHES_AT_ONCE
