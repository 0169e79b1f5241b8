"""DCGAN's discriminator, which SAGAN and the methods before it share, and the images it can take."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sagan_jax.errors import UserError
from sagan_jax.layers import BatchNorm, Conv, StridedConv


class Discriminator(nn.Module):
    """DCGAN's discriminator: strided 4x4 convolutions to a 4x4 map, then to a latent, then to one logit; no biases.

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
        x = nn.leaky_relu(StridedConv(self.width, self.dtype, name="conv1")(images), 0.2)  # [B, H / 2, W / 2, width]
        level = 1
        while x.shape[1] > 4:
            level += 1
            x = StridedConv(2 * x.shape[-1], self.dtype, name=f"conv{level}")(x)
            x = BatchNorm(slope=0.2, name=f"norm{level}")(x, train)  # with the leaky ReLU
        latent = Conv(self.latent_size, 4, use_bias=False, dtype=self.dtype, name="latent")(x)  # [B, 1, 1, latent]
        logits = Conv(1, 3, padding=1, use_bias=False, dtype=self.dtype, name="classifier")(latent)  # [B, 1, 1, 1]
        return logits[:, 0, 0, 0].astype(jnp.float32), latent[:, 0, 0, :].astype(jnp.float32)  # [B], [B, latent]


def check_image_shape(image_shape: tuple[int, ...]) -> None:
    """Raises UserError unless the networks can take the shape: a square, its side a power of two from 16 up."""
    height, width, channels = image_shape
    if height != width or height < 16 or height & (height - 1):
        raise UserError(
            f"images are {height}x{width}; they must be square with a side that is a multiple of 16 "
            "and a power of two: 32, 64, 128 or 256"
        )
    if channels not in (1, 3):
        raise UserError(f"images have {channels} channels; 1 (grey) and 3 (RGB) are allowed")
