"""Anomaly maps other than a method's own: from a detector to one with another kind of map."""

import math
from functools import lru_cache
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sagan_jax.config import MapKind
from sagan_jax.detector import Detector, Scores, State, Statistics
from sagan_jax.errors import UserError, require_word

_SMOOTHING = 1 / 32  # standard deviation of the blur, in sides of the image


@lru_cache(maxsize=32)
def mapped(detector: Detector, kind: MapKind) -> Detector:
    """The detector with maps of one kind; its scores stay what they are.

    Args:
        detector: Any method.
        kind: "residual" is the method's own map, the squared difference of an image and its reconstruction.
            "latent_gradient" is how strongly the latent term L answers to each pixel: the absolute gradient of L(x) by
            x, mean over channels, blurred.

    Returns:
        A detector; the same one for the same arguments, so that JAX compiles it once a process.

    Raises:
        UserError: If "latent_gradient" is wanted of a method without a latent term, or there is no such kind.
    """
    require_word("the map", kind, get_args(MapKind))
    if kind == "residual":
        return detector
    if not detector.latent:
        raise UserError("the map is latent_gradient, but this method's score has no latent term; take residual")

    def score(state: State, images: Array, statistics: Statistics = "running") -> Scores:
        def latent(images: Array) -> tuple[Array, Scores]:
            scores = detector.score(state, images, statistics)
            return scores.latent.sum(), scores

        gradient, scores = jax.grad(latent, has_aux=True)(images)  # [B, H, W, C]
        return scores._replace(map=blur_mirrored(jnp.abs(gradient).mean(axis=-1), _SMOOTHING * images.shape[1]))

    return detector._replace(score=score)


def blur_mirrored(maps: Float[Array, "batch height width"], sigma: float) -> Float[Array, "batch height width"]:
    """Maps through a Gaussian of that standard deviation in pixels, cut off at three of them, mirrored at the edges."""
    radius = math.floor(3 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        padding = [(0, 0)] * 3
        padding[axis] = (radius, radius)
        padded, size = jnp.pad(maps, padding, mode="symmetric"), maps.shape[axis]
        maps = sum(
            (
                float(weight) * jax.lax.slice_in_dim(padded, start, start + size, axis=axis)
                for start, weight in enumerate(kernel)
            ),
            jnp.zeros_like(maps),
        )
    return maps
