"""The map of a generator that repairs: five readings of each pixel, each in terms of what normal images have.

Two need no network: what principal components of normal images leave unexplained, and the lines in it. Three are the
network's: the damage it found, the same weighted by lines, and how unfamiliar its features are. One that is far above
its level is enough: different defects show in different readings.
"""

from functools import lru_cache, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.data.split import even_part
from sagan_jax.detector import Images
from sagan_jax.ops.blur import blurred
from sagan_jax.ops.cells import cell_means, repeat_cells
from sagan_jax.ops.principal_components import principal_components

_COMPONENTS = 128
_SIDE = 64
"""Side in pixels that images are reduced to, at most, before their components and their lines are taken."""
_FITTED_IMAGES = 2048
_LEAST_SPREAD = 0.05
_TINY = (1e-7, 1e-4, 4e-9, 1e-6, 1e-4)
"""Added to each reading before its logarithm: far less than any photograph has."""
_JOINED = 1.5
"""How sharply the map follows the greatest reading."""
_OF_NETWORK = (False, True, False, True, True)
"""Which readings are the network's: they grow as their logarithm, for new surfaces and light move them far."""
_LINE_DIRECTIONS, _LINE_TAPS = 8, 15
_LINE_LENGTH, _BACKGROUND = 6.0, 8.0
"""Deviations of the line filter along its line, and of the background it takes off, in 64ths of the image's side."""


class Level(NamedTuple):
    """What the readings of normal images come to: of the logarithm of each reading's worst pixels.

    Attributes:
        mean: Over normal images, `float32 [5]`.
        spread: Its standard deviation, `float32 [5]`, at least 0.05.
    """

    mean: Array
    spread: Array


def readings(
    images: Float[Array, "batch height width channel"],
    logits: Float[Array, "batch height width"],
    rest: Float[Array, "batch low_height low_width channel"],
    unfamiliar_share: Float[Array, "batch height width"],
    damage_floor: float,
) -> Float[Array, "reading batch height width"]:
    """Unexplained lines, damage on lines, what is unexplained, what is unfamiliar, damage; each 0 or more.

    Args:
        images: In [-1, 1].
        logits: The damage that the generator found.
        rest: From `unexplained`. Lines are those of images of its size.
        unfamiliar_share: From `feature_distance.unfamiliar`.
        damage_floor: Added to the damage found on lines, so that what the network misses still counts.
    """
    factor = images.shape[1] // rest.shape[1]
    both = jnp.stack([cell_means(images, factor, factor), rest])  # [2, B, h, w, C]
    strength, unexplained_lines = jax.vmap(lines)(both)  # [B, h, w]; one long program, not two
    relative = strength / (strength.mean(axis=(1, 2), keepdims=True) + 1e-6)  # a rough surface is not all abnormal
    low = jnp.stack([unexplained_lines, jnp.sqrt(relative), jnp.square(rest).mean(axis=-1)])  # [3, B, h, w]
    unexplained_lines, on_lines, energy = repeat_cells(low, factor, factor, axis=2)
    found = jax.nn.softplus(blurred(logits[..., None], 1.0)[..., 0])  # [B, H, W]
    return jnp.stack([unexplained_lines, on_lines * (damage_floor + found), energy, unfamiliar_share, found])


def abnormality(found: Float[Array, "reading batch height width"], level: Level) -> Float[Array, "batch height width"]:
    """One map of the readings: log(1 + the sum of exp(1.5 z)), z the deviations above what normal images have.

    The z of the network's readings, the second and the last two, is log(1 + z) where it is over 0.

    Args:
        found: From `readings`.
        level: What normal images have.
    """

    def exponent(i: int) -> Array:
        z = (jnp.log(found[i] + _TINY[i]) - level.mean[i]) / level.spread[i]  # [B, H, W]
        return _JOINED * (jnp.minimum(z, 0) + jnp.log1p(jnp.maximum(z, 0)) if _OF_NETWORK[i] else z)

    exponents = [exponent(i) for i in range(len(_TINY))]  # one by one: a sixth of the time that one array takes on CPUs
    most = reduce(jnp.maximum, exponents, jnp.zeros(found.shape[1:]))  # taken out, so that nothing overflows
    return most + jnp.log(reduce(jnp.add, [jnp.exp(z - most) for z in exponents], jnp.exp(-most)))


def no_level() -> Level:
    """The level before any images were seen: not a number, so that no score is either."""
    unknown = jnp.full(len(_TINY), jnp.nan)
    return Level(unknown, jnp.array(unknown))  # buffers of their own


def fit_level(worst: Float[Array, "reading image"]) -> Level:
    """The level of normal images, from the mean of each reading's worst pixels in each of them.

    Args:
        worst: Of each reading, for images that neither the components nor the normal features were fitted on.
    """
    logarithm = jnp.log(worst + jnp.array(_TINY)[:, None])
    return Level(logarithm.mean(axis=1), jnp.maximum(logarithm.std(axis=1), _LEAST_SPREAD))


def no_components(image_shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The mean and the components before any images were seen: zeros."""
    height, width, channels = image_shape
    factor = _reduction(height)
    low = (height // factor, width // factor, channels)
    return jnp.zeros(low), jnp.zeros((_COMPONENTS, *low))


def fit_components(images: Images) -> tuple[Array, Array]:
    """The mean and the principal components of normal images, reduced to 64 pixels a side at most.

    Args:
        images: uint8 `[N, H, W, C]`. An even part of them is taken where there are very many.

    Returns:
        The mean, in [-1, 1], and 128 components; zeros in place of those that so few images do not have.
    """
    kept = even_part(np.asarray(images), _FITTED_IMAGES)  # [N, H, W, C]
    low = _reduced(np.asarray(kept, np.float32) / 127.5 - 1)  # [N, h, w, C]
    shape = low.shape[1:]
    _, rows = no_components(kept.shape[1:])
    if len(low) < 2:
        return jnp.asarray(low[0]), rows
    mean, directions = principal_components(low.reshape(len(low), -1), _COMPONENTS)
    return jnp.asarray(mean.reshape(shape)), rows.at[: len(directions)].set(directions.reshape(-1, *shape))


def unexplained(
    images: Float[Array, "batch height width channel"],
    mean: Float[Array, "low_height low_width channel"],
    components: Float[Array, "component low_height low_width channel"],
) -> Float[Array, "batch low_height low_width channel"]:
    """What the components of normal images leave over of images that are reduced to 64 pixels a side at most.

    Args:
        images: In [-1, 1].
        mean: From `fit_components`.
        components: From `fit_components`.
    """
    centred = _reduced(images) - mean[None]  # [B, h, w, C]
    part = jnp.einsum("bhwc,khwc->bk", centred, components, precision=lax.Precision.HIGHEST)
    return centred - jnp.einsum("bk,khwc->bhwc", part, components, precision=lax.Precision.HIGHEST)


def _reduction(height: int) -> int:
    return max(1, height // _SIDE)


def _reduced(
    images: Float[Any, "count height width channel"],
) -> Float[Any, "count low_height low_width channel"]:
    """Images averaged down to 64 pixels a side if they are larger."""
    factor = _reduction(images.shape[1])
    return cell_means(images, factor, factor)


def lines(images: Float[Array, "batch height width channel"]) -> Float[Array, "batch height width"]:
    """How strongly each pixel lies on a line, bright or dark: a network has no part in it.

    The background is taken off, the rest averaged along short lines with its sign, and squared; the greatest of eight
    directions counts, the mean of the channels. Noise of changing sign cancels; a crack, a scratch, an edge stays.

    Args:
        images: In [-1, 1]. Their height times their width is a multiple of 16.
    """
    count, height, width, channels = images.shape
    side = height / 64
    fine = images - blurred(images, _BACKGROUND * side)
    fine = blurred(fine, side)  # across the line
    edge = max(1, round(_LINE_TAPS * side))
    padded = jnp.pad(fine, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="symmetric")
    padded = padded.reshape(count, height + 2 * edge, -1)  # [B, H', W' * C]: a column further is C further

    def along(direction: int) -> Array:
        total = jnp.zeros((count, height, width * channels))
        for (row, column), weight in _line_taps(direction, side).items():
            place = (0, edge + row, (edge + column) * channels)
            total = total + weight * lax.slice(padded, place, tuple(map(sum, zip(place, total.shape, strict=True))))
        return total

    # The mean of the channels of 16 pixels, as a matrix product. XLA compiles any other form for CPUs into one loop
    # with all that goes before, without vector instructions: 2.5 times as slow.
    pixels = 16
    mean = jnp.asarray(np.kron(np.eye(pixels), np.full((channels, 1), 1 / channels)), jnp.float32)
    energies = [
        jnp.matmul(jnp.square(along(direction)).reshape(-1, pixels * channels), mean, precision=lax.Precision.HIGHEST)
        for direction in range(_LINE_DIRECTIONS)
    ]
    return reduce(jnp.maximum, energies).reshape(count, height, width)


@lru_cache(maxsize=64)
def _line_taps(direction: int, side: float) -> dict[tuple[int, int], float]:
    """The pixels of a short line, (rows, columns) from its middle, and their weights, which sum to 1."""
    offsets = np.linspace(-_LINE_TAPS, _LINE_TAPS, 2 * _LINE_TAPS + 1) * side
    weights = np.exp(-0.5 * (offsets / (_LINE_LENGTH * side)) ** 2)
    angle = np.pi * direction / _LINE_DIRECTIONS
    taps: dict[tuple[int, int], float] = {}
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        place = round(offset * np.sin(angle)), round(offset * np.cos(angle))
        taps[place] = taps.get(place, 0.0) + float(weight)
    return taps
