"""Synthetic damage of normal images, for a generator that learns to repair them.

Damage is one or two regions (a blob, a curved line, a scratch, a box) filled from somewhere else: another image,
another place, a flat colour, another light, a blur, the surroundings. The whole image may be shown in another light
first, which is no damage. No image of a defect has a part in it. docs/restoration.md shows examples.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from sagan_jax.config import RestorationConfig
from sagan_jax.ops.blur import blurred

_LINES, _AREAS = {"curve": 0.6, "scratch": 0.4}, {"blob": 0.75, "box": 0.25}
"""How often each shape is drawn, of the lines and of the others."""
_OF_AREAS = {
    "other_image": 0.20,
    "other_place": 0.15,
    "colour": 0.25,
    "light": 0.20,
    "blur": 0.05,
    "surroundings": 0.15,
}
_OF_LINES = _OF_AREAS | {
    "other_image": 0.05,
    "other_place": 0.0,
    "colour": 0.45,
    "light": 0.45,
    "blur": 0.0,
    "surroundings": 0.05,
}
"""How often each filling is drawn. A line filled with much the same texture is seen by nobody."""
_SEEN = 0.05
"""How far a pixel must be from what it was to count as damaged, on the scale [-1, 1]."""


def damage(
    key: Array, images: Float[Array, "batch height width channel"], config: RestorationConfig
) -> tuple[Float[Array, "batch height width channel"], Float[Array, "batch height width"]]:
    """Damages each image in one region or two; some stay as they are.

    Args:
        key: Decides everything drawn.
        images: Normal images in [-1, 1].
        config: How much of it is lines, how opaque it is, how many images stay whole, which kinds are left out.

    Returns:
        The damaged images in [-1, 1], and their masks: 1 where an image visibly changed, else 0.
    """
    batch, height, width, channels = images.shape
    region_key, shift_key, texture_key, kind_key, draw_key = jax.random.split(key, 5)
    uniform = _uniform(draw_key, (batch, 1, 1, channels), 16)

    regions, thin = _regions(region_key, (2 * batch, height, width), config)  # [2B, H, W], [2B]
    second = jnp.where(uniform(0.0, 1.0)[..., 0] < 0.5, regions[batch:], 0.0)
    region = jnp.maximum(regions[:batch], second)[..., None]  # [B, H, W, 1]

    shifts = jax.random.randint(shift_key, (2 * batch, 2), 0, jnp.array([[height, width]]))
    twice = jnp.concatenate([jnp.roll(images, 1, axis=0), images])
    moved = jax.vmap(lambda image, shift: jnp.roll(image, shift, (0, 1)))(twice, shifts)
    other_image, other_place = moved[:batch], moved[batch:]
    texture = _smooth_noise(texture_key, (batch, height, width, channels), (4, 8, 16, 32, 64))
    of_place = other_place[:, :1, :1, :]
    one_colour = jnp.where(
        uniform(0.0, 1.0, grey=True) < 0.5, uniform(-1.0, 1.0), of_place + uniform(-0.6, 0.6, grey=True)
    )
    flat = one_colour + uniform(0.0, 0.3, grey=True) * texture
    light = images * uniform(0.5, 1.4, grey=True) + uniform(-0.5, 0.5, grey=True) + uniform(-0.1, 0.1)
    near, far = (partial(blurred, sigma=sigma * height / 64) for sigma in (2.0, 6.0))
    around = far(images * (1 - region)) / (far(1 - region) + 1e-3)
    filled = around + uniform(0.0, 0.15, grey=True) * texture
    fillings = (other_image, other_place, flat, light, near(images), filled)

    area_key, line_key = jax.random.split(kind_key)
    of_area, of_line = (
        jax.random.choice(k, len(fillings), (batch,), p=jnp.array(_shares(chances, config)))
        for k, chances in ((area_key, _OF_AREAS), (line_key, _OF_LINES))
    )
    kind = jnp.where(thin[:batch], of_line, of_area)
    filling = jax.lax.select_n(jnp.broadcast_to(kind[:, None, None, None], images.shape), *fillings)
    opacity = uniform(config.opacity, 1.0, grey=True) * (uniform(0.0, 1.0, grey=True) >= config.whole)
    damaged = jnp.clip(images + opacity * region * (filling - images), -1, 1)
    change = jnp.abs(damaged - images).max(axis=-1, keepdims=True)
    mask = blurred(change, 0.7)[..., 0] > _SEEN  # [B, H, W]
    return damaged, mask.astype(jnp.float32)


def other_light(
    key: Array, images: Float[Array, "batch height width channel"], share: float
) -> Float[Array, "batch height width channel"]:
    """Normal images as another day's camera shows them: light (uneven too), colour, contrast, sharpness, grain.

    They stay normal: damage is what is left to be found.

    Args:
        key: Decides everything drawn.
        images: Normal images in [-1, 1].
        share: The part of the images that is changed.
    """
    return _computed_once(lambda: _other_light(key, images, share), images)


def _other_light(key: Array, images: Array, share: float) -> Array:
    batch, height, width, channels = images.shape
    draw_key, grain_key, shade_key = jax.random.split(key, 3)
    uniform = _uniform(draw_key, (batch, 1, 1, channels), 9)
    mean = images.mean(axis=(1, 2), keepdims=True)
    soft = blurred(images, height / 64)
    sharp = images + uniform(-0.8, 0.8, grey=True) * (images - soft)
    contrast = jnp.exp(uniform(-0.4, 0.4, grey=True))
    lit = mean + (sharp - mean) * contrast + uniform(-0.25, 0.25, grey=True) + uniform(-0.08, 0.08)
    shade = _smooth_noise(shade_key, (batch, height, width, 1), (2, 3, 4))
    lit = lit + uniform(0.0, 0.15, grey=True) * shade
    lit = lit + uniform(0.0, 0.06, grey=True) * _normal(grain_key, (batch, height, width, 1))
    return jnp.clip(jnp.where(uniform(0.0, 1.0, grey=True) < share, lit, images), -1, 1)


def _computed_once(compute: Callable[[], Array], images: Array) -> Array:
    """What is computed from images, kept whole before it is used.

    XLA's compiler for CPUs otherwise computes it anew in each of its uses, which doubles the cost of damage. It takes
    barriers out before it does so; a loop stays whose length it cannot know. Here it is 1, or 0 for images of NaN.
    """

    def in_loop(images: Array) -> Array:
        once = jnp.isfinite(images[0, 0, 0, 0]).astype(jnp.int32)
        return jax.lax.fori_loop(0, once, lambda i, _: compute(), images)

    return jax.lax.platform_dependent(images, cpu=in_loop, default=lambda _: compute())


def _smooth_noise(key: Array, shape: tuple[int, int, int, int], cells: tuple[int, ...]) -> Float[Array, "b h w c"]:
    """Noise of deviation 1, smooth at scales that each image draws for itself, one along each axis.

    Args:
        key: Decides everything drawn.
        shape: [B, H, W, C].
        cells: How many cells a side has, to choose from.
    """
    batch, height, width, channels = shape
    row_key, column_key, value_key = jax.random.split(key, 3)
    rows, columns = (jax.random.randint(k, (batch,), 0, len(cells)) for k in (row_key, column_key))
    values = _normal(value_key, (batch, max(cells), max(cells), channels))
    noise = _enlarge(values, rows, columns, (height, width), cells)
    return noise / (noise.std(axis=(1, 2), keepdims=True) + 1e-6)


def _normal(key: Array, shape: tuple[int, ...]) -> Array:
    """`jax.random.normal`, drawn in a row: the same numbers, in half the time that a shape of four axes takes."""
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def _regions(
    key: Array, shape: tuple[int, int, int], config: RestorationConfig
) -> tuple[Float[Array, "batch height width"], Bool[Array, " batch"]]:
    """Soft masks of one region each: a curve or a scratch with chance `lines`, else a blob or a box. Which are thin."""
    (curves, scratches), (blobs, boxes) = (_shares(shapes, config) for shapes in (_LINES, _AREAS))
    lines = config.lines if blobs + boxes else 1.0
    lines = lines if curves + scratches else 0.0
    batch, height, width = shape
    draw_key, field_key, level_key = jax.random.split(key, 3)
    uniform = _uniform(draw_key, (batch, 1, 1), 24)
    side = min(height, width)

    def log_uniform(low: float, high: float) -> Array:
        return jnp.exp(uniform(float(np.log(low)), float(np.log(high))))

    # Pixels from a random centre, turned by a random angle: u along, v across. [B, H, W]
    y = jnp.arange(height, dtype=jnp.float32)[None, :, None] - uniform(0.0, float(height))
    x = jnp.arange(width, dtype=jnp.float32)[None, None, :] - uniform(0.0, float(width))
    angle = uniform(0.0, np.pi)
    u, v = x * jnp.cos(angle) + y * jnp.sin(angle), y * jnp.cos(angle) - x * jnp.sin(angle)

    # How many pixels inside its edge a pixel is, for each shape.
    long, ratio = log_uniform(0.05, 0.35) * side, log_uniform(0.4, 1.0)
    short = long * ratio
    ellipse = jnp.sqrt((u / long) ** 2 + (v / short) ** 2 + 1e-6)
    ragged = 0.45 * _smooth_noise(field_key, (*shape, 1), (3, 5, 9, 17))[..., 0]
    blob = (1 - ellipse + ragged * uniform(0.0, 1.0)) * short
    reach, thickness = log_uniform(0.15, 0.8) * side, log_uniform(0.3, 1.8)
    level = _smooth_noise(level_key, (*shape, 1), (3, 4, 6, 9))[..., 0] - uniform(-0.5, 0.5)
    slope = jnp.sqrt(sum(jnp.square(part) for part in jnp.gradient(level, axis=(1, 2))) + 1e-4)
    curve = jnp.minimum(thickness - jnp.abs(level) / slope, reach - jnp.sqrt(u**2 + v**2))
    scratch = jnp.minimum(thickness - jnp.abs(v + uniform(-0.01, 0.01) * u**2), reach - jnp.abs(u))
    box = jnp.minimum(long - jnp.abs(u), short - jnp.abs(v))

    draw = uniform(0.0, 1.0)
    area = jnp.where(draw < lines + blobs * (1 - lines), blob, box)
    inside = jnp.where(draw < curves * lines, curve, jnp.where(draw < lines, scratch, area))
    soft = jax.nn.sigmoid(2 * inside / log_uniform(0.4, 2.0))  # a soft edge, or the seam is all that is learned
    return soft, draw[:, 0, 0] < lines


def _shares(chances: Mapping[str, float], config: RestorationConfig) -> tuple[float, ...]:
    """How often each is drawn, with what is left out at 0 and the others in proportion; all 0 if none is left."""
    left = [0.0 if name in config.not_drawn else chance for name, chance in chances.items()]
    return tuple(chance / (sum(left) or 1.0) for chance in left)


def _uniform(key: Array, shape: tuple[int, ...], most: int) -> Callable[..., Array]:
    """Draws of uniform numbers of one shape, one after the other, all cut from one draw."""
    draws = iter(jax.random.uniform(key, (most, *shape)))

    def uniform(low: float, high: float, grey: bool = False) -> Array:
        draw = next(draws)
        return low + (high - low) * (draw[..., :1] if grey else draw)

    return uniform


def _enlarge(
    values: Array, rows: Array, columns: Array, size: tuple[int, int], cells: tuple[int, ...]
) -> Float[Array, "b h w c"]:
    """Grids [B, most, most, C], of which each image uses as many cells as it chose, enlarged bilinearly to the size."""
    down, across = (jnp.asarray(_bilinear(pixels, cells)) for pixels in size)
    return jnp.einsum("bhi,bijc,bwj->bhwc", down[rows], values, across[columns])


@lru_cache(maxsize=64)
def _bilinear(pixels: int, cells: tuple[int, ...]) -> np.ndarray:
    """Matrices [choices, pixels, most cells] that enlarge that many cells to a row of pixels."""
    matrices = np.zeros((len(cells), pixels, max(cells)), np.float32)
    for matrix, count in zip(matrices, cells, strict=True):
        place = np.clip((np.arange(pixels) + 0.5) * count / pixels - 0.5, 0, count - 1)
        low = np.minimum(np.floor(place).astype(int), max(count - 2, 0))
        matrix[np.arange(pixels), low] += 1 - (place - low)
        if count > 1:
            matrix[np.arange(pixels), low + 1] += place - low
    return matrices
