"""BatchNorm and the activation after it, with the gradient that XLA would make slower. Pure, NHWC."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.ops.convolution import FeatureMaps

Channels = Float[Array, " channel"]

EPSILON = 1e-5


def activate(x: Array, slope: float) -> Array:
    """Leaky ReLU with this slope below zero: 0 is ReLU, 1 is none."""
    return x if slope == 1.0 else jnp.where(x > 0, x, slope * x)


def scale_and_shift(x: FeatureMaps, scale: Channels, bias: Channels, mean: Channels, variance: Channels) -> FeatureMaps:
    """(x - mean) / sqrt(variance + 1e-5) * scale + bias, as one multiply-add."""
    factor = scale * lax.rsqrt(variance + EPSILON)
    shift = bias - mean * factor
    return x * factor.astype(x.dtype)[None, None, None, :] + shift.astype(x.dtype)[None, None, None, :]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(x: FeatureMaps, scale: Channels, bias: Channels, slope: float) -> tuple[FeatureMaps, Channels, Channels]:
    """Normalises by the batch's own statistics, then activates.

    Args:
        x: Any float dtype; statistics are taken in float32.
        scale: Multiplies each normalised channel.
        bias: Added to each.
        slope: Of the leaky ReLU that follows; 0 is ReLU, 1 is none.

    Returns:
        The result, and the batch's mean and (biased) variance by channel, through which no gradient flows.
    """
    return _batch_norm_forward(x, scale, bias, slope)[0]


def _batch_norm_forward(
    x: Array, scale: Array, bias: Array, slope: float
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    """Mean and mean square in one pass over x; what follows is one more."""
    wide = x.astype(jnp.float32)
    mean = wide.mean(axis=(0, 1, 2))
    variance = jnp.maximum(jnp.square(wide).mean(axis=(0, 1, 2)) - jnp.square(mean), 0.0)
    result = activate(scale_and_shift(x, scale, bias, mean, variance), slope)
    return (result, mean, variance), (x, scale, bias, mean, variance)


def _batch_norm_backward(slope: float, kept: tuple[Array, ...], gradients: tuple[Array, ...]) -> tuple[Array, ...]:
    """One pass for two sums, one more for the gradient by x; the normalised x is made again, not stored."""
    x, scale, bias, mean, variance = kept
    gradient = gradients[0]
    inverse = lax.rsqrt(variance + EPSILON)
    if slope != 1.0:
        gradient = jnp.where(scale_and_shift(x, scale, bias, mean, variance) > 0, gradient, slope * gradient)
    wide, wide_x = gradient.astype(jnp.float32), x.astype(jnp.float32)
    by_bias = wide.sum(axis=(0, 1, 2))
    by_scale = ((wide * wide_x).sum(axis=(0, 1, 2)) - mean * by_bias) * inverse
    # dx = scale / sd * (g - mean(g) - x_hat * mean(g * x_hat)), as a multiple of g, one of x, and a constant.
    count = x.size // x.shape[-1]
    factor = scale * inverse
    by_x_factor = -factor * inverse * by_scale / count
    constant = -factor * by_bias / count - by_x_factor * mean
    by_x = (
        wide * factor[None, None, None, :] + wide_x * by_x_factor[None, None, None, :] + constant[None, None, None, :]
    )
    return by_x.astype(x.dtype), by_scale, by_bias


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)
