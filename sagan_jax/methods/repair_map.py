"""The map of a generator that repairs: what it found and repaired, where lines are, what normal images cannot explain.

Four readings of each pixel are multiplied, so that what only one of them sees counts little. Two come from the network:
the damage it found and how much it repaired. Two need no network: lines, and the residual of principal components.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.detector import Images
from sagan_jax.methods.corruption import blurred
from sagan_jax.ops.principal_components import principal_components

COMPONENTS = 64
_SEEN = 64
"""Side in pixels that images are reduced to, at most, before their components are taken."""
_FITTED_IMAGES = 2048
_NO_LINES = 1e-6
"""Added to an image's mean strength of lines: far less than any photograph has."""
_LINE_DIRECTIONS, _LINE_TAPS = 8, 15
_CHANGE, _RESIDUAL = 1.5, 1.0
"""Deviations of the blur of what was repaired and of the components' residual, in 64ths of the image's side."""
_LINE_LENGTH, _BACKGROUND = 6.0, 8.0
"""Deviations of the line filter along its line, and of the background it takes off, in 64ths of the image's side."""


def abnormality(
    images: Float[Array, "batch height width channel"],
    repaired: Float[Array, "batch height width channel"],
    logits: Float[Array, "batch height width"],
    mean: Float[Array, "low_height low_width channel"],
    components: Float[Array, "component low_height low_width channel"],
    damage_floor: float,
) -> Float[Array, "batch height width"]:
    """The product of the four readings, each to a power that was chosen on the development sets.

    Lines count in terms of the image's own mean, so that a rough surface is not abnormal all over.

    Args:
        images: In [-1, 1].
        repaired: What the generator made of them.
        logits: The damage it found.
        mean: Of normal images, see `fit_components`.
        components: Of normal images.
        damage_floor: Added to the damage found, so that what the network misses still counts.
    """
    strength = lines(images)  # [B, H, W]
    strength = strength / (strength.mean(axis=(1, 2), keepdims=True) + _NO_LINES)
    found = jax.nn.softplus(blurred(logits[..., None], 1.0)[..., 0])  # [B, H, W]
    change = blurred(repaired - images, _CHANGE * images.shape[1] / 64)  # with its sign: grain cancels
    change = jnp.square(change).mean(axis=-1)  # [B, H, W]
    rest = unexplained(images, mean, components)
    return strength * jnp.sqrt(damage_floor + found) * jnp.sqrt(jnp.sqrt(change)) * rest


def no_components(image_shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The mean and the components before any images were seen: zeros."""
    height, width, channels = image_shape
    factor = _reduction(height)
    low = (height // factor, width // factor, channels)
    return jnp.zeros(low), jnp.zeros((COMPONENTS, *low))


def fit_components(images: Images) -> tuple[Array, Array]:
    """The mean and the principal components of normal images, reduced to 64 pixels a side at most.

    Args:
        images: uint8 `[N, H, W, C]`. An even part of them is taken where there are very many.

    Returns:
        The mean, in [-1, 1], and 64 components; zeros in place of those that so few images do not have.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), _FITTED_IMAGES)).astype(int))
    kept = np.asarray(images)[chosen]  # [N, H, W, C]
    low = _reduced(np.asarray(kept, np.float32) / 127.5 - 1, _reduction(kept.shape[1]))
    shape = low.shape[1:]
    mean, rows = no_components(kept.shape[1:])
    if len(low) < 2:
        return mean.at[:].set(low[0]), rows
    found, directions = principal_components(low.reshape(len(low), -1), COMPONENTS)
    return jnp.asarray(found.reshape(shape)), rows.at[: len(directions)].set(directions.reshape(-1, *shape))


def unexplained(
    images: Float[Array, "batch height width channel"],
    mean: Float[Array, "low_height low_width channel"],
    components: Float[Array, "component low_height low_width channel"],
) -> Float[Array, "batch height width"]:
    """What the components of normal images do not explain: their residual's energy.

    It is the geometric mean of two: of the residual as it is, and blurred first, so that grain cancels.

    Args:
        images: In [-1, 1].
        mean: From `fit_components`.
        components: From `fit_components`.
    """
    factor = _reduction(images.shape[1])
    centred = _reduced(images, factor) - mean[None]  # [B, h, w, C]
    part = jnp.einsum("bhwc,khwc->bk", centred, components, precision=lax.Precision.HIGHEST)
    residual = centred - jnp.einsum("bk,khwc->bhwc", part, components, precision=lax.Precision.HIGHEST)
    smooth = blurred(residual, _RESIDUAL * residual.shape[1] / 64)
    fine, coarse = (jnp.square(part).mean(axis=-1) for part in (residual, smooth))  # [B, h, w]
    energy = jnp.sqrt(fine * coarse)
    return jnp.repeat(jnp.repeat(energy, factor, axis=1), factor, axis=2)


def _reduction(height: int) -> int:
    return max(1, height // _SEEN)


def _reduced(images, factor: int):
    """The mean of each square of so many pixels."""
    count, height, width, channels = images.shape
    cut = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    return cut.mean(axis=(2, 4))


def lines(images: Float[Array, "batch height width channel"]) -> Float[Array, "batch height width"]:
    """How strongly each pixel lies on a line, bright or dark: a network has no part in it.

    The background is taken off, the rest averaged along short lines with its sign, and squared; the greatest of eight
    directions counts, the mean of the channels. Noise of changing sign cancels; a crack, a scratch, an edge stays.

    Args:
        images: In [-1, 1].
    """
    side = images.shape[1] / 64
    fine = images - blurred(images, _BACKGROUND * side)
    fine = blurred(fine, side)  # across the line
    radius = max(1, round(_LINE_TAPS * side))
    padded = jnp.pad(fine, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    offsets = np.linspace(-_LINE_TAPS, _LINE_TAPS, 2 * _LINE_TAPS + 1) * side
    weights = np.exp(-0.5 * (offsets / (_LINE_LENGTH * side)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    strongest = None
    for direction in range(_LINE_DIRECTIONS):
        angle = np.pi * direction / _LINE_DIRECTIONS
        along = jnp.zeros_like(images)
        for offset, weight in zip(offsets, weights, strict=True):
            row, column = (radius + round(offset * part) for part in (np.sin(angle), np.cos(angle)))
            moved = padded[:, row : row + images.shape[1], column : column + images.shape[2]]
            along = along + float(weight) * moved
        energy = jnp.square(along).mean(axis=-1)  # [B, H, W]
        strongest = energy if strongest is None else jnp.maximum(strongest, energy)
    assert strongest is not None
    return strongest
