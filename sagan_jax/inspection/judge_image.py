"""The verdict on one image in memory: an array, or a file's bytes, or a file."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float

from sagan_jax.data.image_array import CHANNELS, check_pixels
from sagan_jax.data.image_file import Reading, as_array, decode, resize, upright_size
from sagan_jax.data.open_image import content_of
from sagan_jax.errors import UserError
from sagan_jax.judging.calibration import called, threshold_for
from sagan_jax.judging.false_positive_rate import rate_or
from sagan_jax.judging.scorer import BATCH
from sagan_jax.judging.scoring import batch_scorer, score_images, score_photographs
from sagan_jax.runs.model import Model


class ImageVerdict(NamedTuple):
    """What is said of an image.

    Attributes:
        verdict: "abnormal" if the score is over the threshold.
        score: The anomaly score.
        calibrated: The share of normal images that score lower, 0 to 1.
        threshold: What the score is compared with.
        map: Per-pixel anomaly at the size that the image came in, `float32 [H, W]`.
    """

    verdict: Literal["normal", "abnormal"]
    score: float
    calibrated: float
    threshold: float
    map: Float[np.ndarray, "height width"]


def judge_image(
    model: Model,
    image: np.ndarray | Array | bytes | str | os.PathLike[str],
    *,
    false_positive_rate: float | None = None,
) -> ImageVerdict:
    """A verdict on one image of any size, the same that `sagan score` gives on it as a file.

    The image is made grey or RGB and resized as `read_image` does, or, for a model of patches, cut at its own size and
    scored by its worst patch.

    Args:
        model: The trained model. `sagan score` takes the epoch that the run was judged by: `load_judged(run)[0]`.
        image: An array, uint8, 0 (black) to 255 (white), grey `[H, W]` or `[H, W, 1]`, or RGB `[H, W, 3]`; or the
            content of an image file as bytes; or the path of one.
        false_positive_rate: The share of normal images that may be called abnormal; it sets the threshold. None is
            the run's.

    Returns:
        The verdict, score, calibrated score, threshold and map.

    Raises:
        UserError: If an array is not of uint8 or has another shape, a file cannot be read, the image is smaller than
            the model's patches, or the rate is not between 0 and 1 or less than the held-out images support.
    """
    rate = rate_or(model.false_positive_rate, false_positive_rate, model.held_out)
    threshold = threshold_for(model.calibration, rate)
    height, width, channels = model.image_shape
    wanted = (height, width) if model.patches is None else None
    photograph, size = _photograph(image, channels, model.reading, wanted)
    if wanted is not None:
        pixels = as_array(photograph, wanted)[None]
        scores = score_images(model.detector, model.state, pixels, batch_size=BATCH, pictures=("map",))
        score, heat = scores.total[0], resize(scores.map[0], size)
    else:
        assert model.patches is not None
        score_patches = batch_scorer(model.detector, model.state, ("map",))
        (scores,) = score_photographs(score_patches, [as_array(photograph)], model.patches)
        score, heat = scores.total, scores.map
    verdict, share = called(model.calibration, float(score), threshold)
    return ImageVerdict(verdict, float(score), share, threshold, heat)


def _photograph(
    image: Any, channels: int, reading: Reading, wanted: tuple[int, int] | None
) -> tuple[Any, tuple[int, int]]:
    """Pillow's image, "L" or "RGB", of an array, of a file's content or of a file, and the height and width it has."""
    from PIL import Image

    if isinstance(image, (bytes, str, os.PathLike)):
        path = Path("the image") if isinstance(image, bytes) else Path(image)
        content = image if isinstance(image, bytes) else content_of(path)
        return decode(path, channels, reading, content, wanted), upright_size(path, reading, content)
    check_pixels(image)
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in CHANNELS)) or 0 in image.shape:
        hint = "; take np.moveaxis(image, 0, -1)" if image.ndim == 3 and image.shape[0] in CHANNELS else ""
        raise UserError(
            f"the image has the shape {image.shape}; it must be [H, W] or [H, W, C], the channels last, 1 (grey) or 3 "
            f"(RGB){hint}"
        )
    values = np.asarray(image)
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    pillow = Image.fromarray(np.ascontiguousarray(values)).convert("L" if channels == 1 else "RGB")
    return pillow, (pillow.height, pillow.width)
