"""The array functions the networks are made of: pure, NHWC, no parameters of their own."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

Images = Float[Array, "batch height width channel"]


def depthwise_separable_conv(
    x: Images,
    depthwise_kernel: Float[Array, "3 3 multiplier channel"],
    depthwise_bias: Float[Array, "multiplier channel"],
    pointwise_kernel: Float[Array, "multiplier channel out"],
    pointwise_bias: Float[Array, " out"],
) -> Float[Array, "batch height width out"]:
    """Depthwise 3x3 (padding 1, bias), then pointwise 1x1 (bias)."""
    size, _, multiplier, channels = depthwise_kernel.shape
    # Channel c of copy j stands at j * channels + c.
    parts = [
        lax.conv_general_dilated(
            x,
            depthwise_kernel[:, :, j, None, :],  # [3, 3, 1, C]
            window_strides=(1, 1),
            padding=((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )
        + depthwise_bias[j][None, None, None, :]
        for j in range(multiplier)
    ]
    hidden = jnp.concatenate(parts, axis=-1)  # [B, H, W, k * C]
    return hidden @ pointwise_kernel.reshape(multiplier * channels, -1) + pointwise_bias[None, None, None, :]


def max_pool(x: Images) -> Images:
    """2x2 maximum, stride 2."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def soft_pool(x: Images) -> Images:
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


def upsample(x: Images) -> Images:
    """Bilinear upsampling by 2, align-corners."""
    _, height, width, _ = x.shape
    x = jnp.einsum("Hh,bhwc->bHwc", interpolation_matrix(height).astype(x.dtype), x)
    return jnp.einsum("Ww,bhwc->bhWc", interpolation_matrix(width).astype(x.dtype), x)
