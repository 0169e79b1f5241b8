"""The array functions the networks are made of: pure, NHWC, no parameters of their own."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Images = Float[Array, "batch height width channel"]
Halved = Float[Array, "batch half_height half_width channel"]
Doubled = Float[Array, "batch twice_height twice_width channel"]


def depthwise_separable_conv(
    x: Images,
    depthwise_kernel: Float[Array, "3 3 multiplier channel"],
    depthwise_bias: Float[Array, "multiplier channel"],
    pointwise_kernel: Float[Array, "multiplier channel out"],
    pointwise_bias: Float[Array, " out"],
) -> Float[Array, "batch height width out"]:
    """Depthwise 3x3 (padding 1, bias), then pointwise 1x1 (bias)."""
    _, _, multiplier, channels = depthwise_kernel.shape
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def depthwise(j: int) -> Array:
        shifted = (
            padded[:, i : i + height, k : k + width] * depthwise_kernel[i, k, j][None, None, None, :]
            for i in range(3)
            for k in range(3)
        )
        return sum(shifted, depthwise_bias[j][None, None, None, :])

    # Channel c of copy j stands at j * channels + c.
    hidden = jnp.concatenate([depthwise(j) for j in range(multiplier)], axis=-1)  # [B, H, W, k * C]
    return hidden @ pointwise_kernel.reshape(multiplier * channels, -1) + pointwise_bias[None, None, None, :]


def max_pool(x: Images) -> Halved:
    """2x2 maximum, stride 2."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def soft_pool(x: Images) -> Halved:
    """2x2 SoftPool, stride 2: x weighted by exp(x) (Stergiou et al., 2021)."""
    batch, height, width, channels = x.shape
    windows = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    weights = jax.nn.softmax(windows, axis=(2, 4))
    return (windows * weights).sum(axis=(2, 4))


def interpolation_matrix(size: int) -> Float[Array, "twice size"]:
    """Rows map `size` samples to `2 * size`, linearly, with the end points kept (align corners)."""
    source = jnp.linspace(0.0, size - 1.0, 2 * size)
    distance = jnp.abs(source[:, None] - jnp.arange(size)[None, :])
    return jnp.maximum(0.0, 1.0 - distance)


def upsample(x: Images) -> Doubled:
    """Bilinear upsampling by 2, align-corners."""
    _, height, width, _ = x.shape
    x = jnp.einsum("Hh,bhwc->bHwc", interpolation_matrix(height).astype(x.dtype), x)
    return jnp.einsum("Ww,bhwc->bhWc", interpolation_matrix(width).astype(x.dtype), x)
