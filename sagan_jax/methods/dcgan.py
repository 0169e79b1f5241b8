"""DCGAN's networks, which SAGAN and the methods before it are built of, and the images they can take."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sagan_jax.errors import UserError
from sagan_jax.methods.layers import BatchNorm, Conv, StridedConv, TransposedConv, weight_init


def pyramid(images: Array, train: bool, width: int, dtype: Any) -> Array:
    """Strided 4x4 convolutions to a map of 4x4, the channels doubled by each but the first, which has `width`."""
    x = nn.leaky_relu(StridedConv(width, dtype, name="conv1")(images), 0.2)  # [B, H / 2, W / 2, width]
    level = 1
    while x.shape[1] > 4:
        level += 1
        x = StridedConv(2 * x.shape[-1], dtype, name=f"conv{level}")(x)
        x = BatchNorm(slope=0.2, name=f"norm{level}")(x, train)  # with the leaky ReLU
    return x


class Discriminator(nn.Module):
    """SAGAN's and Skip-GANomaly's: the `pyramid`, then a latent, then one logit; no biases.

    Attributes:
        width: Channels after the first convolution, doubled by each further one.
        latent_size: Length of the latent.
        dtype: Arithmetic of the network; logits and latent are float32.
    """

    width: int = 64
    latent_size: int = 100
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        x = pyramid(images, train, self.width, self.dtype)  # [B, 4, 4, ...]
        latent = Conv(self.latent_size, 4, use_bias=False, dtype=self.dtype, name="latent")(x)  # [B, 1, 1, latent]
        logits = Conv(1, 3, padding=1, use_bias=False, dtype=self.dtype, name="classifier")(latent)  # [B, 1, 1, 1]
        return logits[:, 0, 0, 0].astype(jnp.float32), latent[:, 0, 0, :].astype(jnp.float32)  # [B], [B, latent]


class PlainDiscriminator(nn.Module):
    """DCGAN's own: from the `pyramid` straight to one logit; the pyramid's map is the feature. No biases.

    Attributes:
        width: Channels after the first convolution, doubled by each further one.
        dtype: Arithmetic of the network; logits and feature are float32.
    """

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        x = pyramid(images, train, self.width, self.dtype)  # [B, 4, 4, ...]
        logits = Conv(1, 4, use_bias=False, dtype=self.dtype, name="classifier")(x)  # [B, 1, 1, 1]
        feature = x.reshape(x.shape[0], -1)  # [B, features]
        return logits[:, 0, 0, 0].astype(jnp.float32), feature.astype(jnp.float32)


class Encoder(nn.Module):
    """From an image to a latent: the `pyramid`, then one 4x4 convolution; no biases.

    Attributes:
        width: Channels after the first convolution, doubled by each further one.
        latent_size: Length of the latent.
        dtype: Arithmetic of the network; the latent is float32.
    """

    width: int = 64
    latent_size: int = 100
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        x = pyramid(images, train, self.width, self.dtype)  # [B, 4, 4, ...]
        latent = Conv(self.latent_size, 4, use_bias=False, dtype=self.dtype, name="latent")(x)  # [B, 1, 1, latent]
        return latent[:, 0, 0, :].astype(jnp.float32)


class Decoder(nn.Module):
    """DCGAN's generator, from a latent to an image: the pyramid upside down, no biases, tanh.

    Attributes:
        image_shape: [H, W, C] of the image.
        width: Channels before the last convolution; each level down to 4x4 has twice as many.
        dtype: Arithmetic of the network; the image is float32.
    """

    image_shape: tuple[int, ...]
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latent: Array, train: bool) -> Array:
        size, _, channels = self.image_shape
        levels = (size // 4).bit_length() - 1  # doublings from 4x4
        top = self.width * 2 ** (levels - 1)
        # A transposed 4x4 convolution of a map of one pixel is a matrix product.
        x = nn.Dense(16 * top, use_bias=False, dtype=self.dtype, kernel_init=weight_init, name="project")(latent)
        x = BatchNorm(slope=0.0, name="norm0")(x.reshape(x.shape[0], 4, 4, top), train)  # [B, 4, 4, top]
        for level in range(1, levels):
            x = TransposedConv(top // 2**level, dtype=self.dtype, name=f"conv{level}")(x)
            x = BatchNorm(slope=0.0, name=f"norm{level}")(x, train)  # [B, 4 * 2^level, ...]
        x = TransposedConv(channels, dtype=self.dtype, name=f"conv{levels}")(x)  # [B, H, W, C]
        return jnp.tanh(x.astype(jnp.float32))


def check_image_shape(image_shape: tuple[int, ...]) -> None:
    """Raises UserError unless the networks can take the shape: a square, its side a power of two from 16 up."""
    height, width, channels = image_shape
    if height != width or height < 16 or height & (height - 1):
        below = 2 ** (max(height, 16).bit_length() - 1)
        near = f"; the nearest are {below} and {2 * below}" if height == width > 16 else ""
        raise UserError(
            f"images are {height}x{width}; they must be square, with a side that is a power of two from 16 up{near}"
        )
    if channels not in (1, 3):
        raise UserError(f"images have {channels} channels; 1 (grey) and 3 (RGB) are allowed")
