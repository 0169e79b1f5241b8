"""Pooling and resizing: array functions with the gradients that XLA would make slower. Pure, NHWC."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.ops.convolution import FeatureMaps

Halved = Float[Array, "batch half_height half_width channel"]
Doubled = Float[Array, "batch twice_height twice_width channel"]


def corners(x: Array) -> tuple[Array, ...]:
    """The four pixels of each 2x2 window, row by row, each as a map of half the size."""
    return tuple(x[:, row::2, column::2] for row in (0, 1) for column in (0, 1))


def _from_corners(parts: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
    """The map of this shape that has these `corners`."""
    top_left, top_right, bottom_left, bottom_right = parts
    rows = (jnp.stack([top_left, top_right], axis=3), jnp.stack([bottom_left, bottom_right], axis=3))
    return jnp.stack(rows, axis=2).reshape(shape)


@jax.custom_vjp
def max_pool(x: FeatureMaps) -> Halved:
    """2x2 maximum, stride 2. The gradient goes to the first of equals, row by row."""
    a, b, c, d = corners(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _max_pool_forward(x: Array) -> tuple[Array, Array]:
    """Keeps the map."""
    return max_pool(x), x


def _max_pool_backward(x: Array, gradient: Array) -> tuple[Array]:
    """Comparisons in place of XLA's scatter over windows; one pixel of each window wins, however x was rounded."""
    a, b, c, d = corners(x)
    first = (a >= b) & (a >= c) & (a >= d)
    second = ~first & (b >= c) & (b >= d)
    third = ~first & ~second & (c >= d)
    winners = (first, second, third, ~first & ~second & ~third)
    return (_from_corners(tuple(jnp.where(winner, gradient, 0) for winner in winners), x.shape),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def soft_pool(x: FeatureMaps) -> Halved:
    """2x2 SoftPool, stride 2: x weighted by exp(x) over each window (Stergiou et al., 2021)."""
    parts = corners(x)
    maximum = lax.stop_gradient(jnp.stack(parts).max(axis=0))  # does not change the result; keeps exp in range
    weights = [jnp.exp(part - maximum) for part in parts]
    weighted = [weight * part for weight, part in zip(weights, parts, strict=True)]
    return sum(weighted[1:], weighted[0]) / sum(weights[1:], weights[0])


def upsample(x: FeatureMaps) -> Doubled:
    """Bilinear upsampling by 2, align-corners: output i lies at i * (n - 1) / (2n - 1) of the n inputs."""
    return _upsample_axis(_upsample_axis(x, 1), 2)


def _blend_weights(x: Array, axis: int, size: int) -> tuple[Array, Array]:
    """How much of input i - 1 output 2i takes, and of input i + 1 output 2i + 1; the first and the last take none."""
    towards_before = (jnp.arange(size) / (2 * size - 1)).astype(x.dtype)
    shape = [size if a == axis else 1 for a in range(x.ndim)]
    return towards_before.reshape(shape), towards_before[::-1].reshape(shape)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _upsample_axis(x: Array, axis: int) -> Array:
    """Output 2i blends input i with the one before, 2i + 1 with the one after: shifts, no gathering."""
    size = x.shape[axis]
    before, after = _blend_weights(x, axis, size)
    even = x + (jnp.roll(x, 1, axis) - x) * before
    odd = x + (jnp.roll(x, -1, axis) - x) * after
    doubled = jnp.stack([even, odd], axis=axis + 1).reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return lax.optimization_barrier(doubled)  # or the other axis would compute each line again for every use of it


def _upsample_axis_forward(x: Array, axis: int) -> tuple[Array, None]:
    """Linear: nothing is kept."""
    return _upsample_axis(x, axis), None


def _upsample_axis_backward(axis: int, _: None, gradient: Array) -> tuple[Array]:
    """The transpose, in shifts too: each output's gradient goes back to the two inputs it was blended of."""
    size = gradient.shape[axis] // 2
    pairs = gradient.reshape(*gradient.shape[:axis], size, 2, *gradient.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    before, after = _blend_weights(even, axis, size)
    to_before, to_after = even * before, odd * after
    own = (even - to_before) + (odd - to_after)
    return (lax.optimization_barrier(own + jnp.roll(to_before, -1, axis) + jnp.roll(to_after, 1, axis)),)


_upsample_axis.defvjp(_upsample_axis_forward, _upsample_axis_backward)


@jax.custom_vjp
def channel_summaries(x: FeatureMaps) -> Float[Array, "batch height width 2"]:
    """Mean and maximum over channels, what CBAM's spatial attention sees."""
    channels = x.shape[-1]
    mean = x @ jnp.full((channels, 1), 1 / channels, x.dtype)  # a matrix product is the fastest sum over channels
    return jnp.concatenate([mean, x.max(axis=-1, keepdims=True)], axis=-1)


def _channel_summaries_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    """Keeps the map and its maxima: x computed again in the backward pass might round differently from its maximum."""
    x = lax.optimization_barrier(x)
    summaries = channel_summaries(x)
    return summaries, (x, summaries[..., 1:])


def _channel_summaries_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    """The maximum's gradient is shared by equals."""
    x, maximum = kept
    hit = x == maximum
    share = gradient[..., 1:] / hit.sum(axis=-1, keepdims=True).astype(x.dtype)
    return (gradient[..., :1] / x.shape[-1] + jnp.where(hit, share, 0),)


channel_summaries.defvjp(_channel_summaries_forward, _channel_summaries_backward)
