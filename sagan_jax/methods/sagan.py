"""SAGAN: Skip-Attention GAN for anomaly detection (Liu et al., ICIP 2021).

A U-Net of depthwise-separable convolutions with CBAM on its skips reconstructs the image; DCGAN's discriminator
judges it and gives the latent of the loss and the score. Parameters at 32 px, RGB: generator 4,032,335
(17,345,875 without depthwise-separable convolutions), discriminator 1,069,700.
"""

from functools import lru_cache
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sagan_jax.config import SaganConfig
from sagan_jax.detector import Detector
from sagan_jax.methods.layers import ARITHMETIC, CBAM, BatchNorm, Conv, DepthwiseSeparableConv
from sagan_jax.methods.restoration import skip_gan
from sagan_jax.ops import pooling


class DoubleConv(nn.Module):
    """Two times: 3x3 convolution, BatchNorm, ReLU.

    Attributes:
        middle: Channels after the first convolution.
        features: Channels after the second.
        multiplier: Depth multiplier of depthwise-separable convolutions; 0 means plain 3x3 convolutions.
        dtype: Arithmetic of the block.
    """

    middle: int
    features: int
    multiplier: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for features in (self.middle, self.features):
            if self.multiplier:
                x = DepthwiseSeparableConv(features, self.multiplier, self.dtype)(x)
            else:
                x = Conv(features, 3, padding=1, dtype=self.dtype)(x)
            x = BatchNorm(slope=0.0)(x, train)  # with the ReLU
        return x


class SaganGenerator(nn.Module):
    """The U-Net of the paper's figure 1: four levels down, four up, attention on the skips, no tanh.

    The output of each level above the bottleneck is in Flax's collection "intermediates", for callers that ask for it.

    Attributes:
        channels: Channels of the reconstruction.
        width: Channels of the first level; deeper ones have 2, 4, 8 and 8 times as many.
        multiplier: Depth multiplier of depthwise-separable convolutions; 0 means plain 3x3 convolutions.
        attention: Whether the encoder outputs pass through CBAM.
        attend_encoder_path: Whether the attended map also goes on down the encoder.
        pool: Downsampling, "max" or "soft".
        dtype: Arithmetic of the network; the reconstruction is float32.
    """

    channels: int
    width: int = 64
    multiplier: int = 2
    attention: bool = True
    attend_encoder_path: bool = False
    pool: Literal["max", "soft"] = "max"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        pool = pooling.max_pool if self.pool == "max" else pooling.soft_pool
        w = self.width

        x = images  # [B, H, W, C]
        skips = []
        for level, features in enumerate((w, 2 * w, 4 * w, 8 * w, 8 * w), start=1):
            name = f"encoder{level}"
            x = pool(x) if level > 1 else x  # [B, H / 2^(level-1), ...]
            x = DoubleConv(features, features, self.multiplier, self.dtype, name=name)(x, train)
            if level < 5:
                self.sow("intermediates", f"features_{name}", x)
            attended = CBAM(self.dtype, name=f"attention{level}")(x, train) if self.attention else x
            skips.append(attended)
            x = attended if self.attend_encoder_path else x

        x = skips.pop()  # [B, H / 16, W / 16, 8w], attended: the bottleneck is an encoder output too
        for level, (middle, features) in zip(
            (4, 3, 2, 1), ((8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w), (w, w)), strict=True
        ):
            x = jnp.concatenate([skips.pop(), pooling.upsample(x)], axis=-1)  # [B, H / 2^(level-1), ...]
            x = DoubleConv(middle, features, self.multiplier, self.dtype, name=f"decoder{level}")(x, train)
            self.sow("intermediates", f"features_decoder{level}", x)
        return Conv(self.channels, 1, dtype=self.dtype, name="out")(x).astype(jnp.float32)  # [B, H, W, C]


@lru_cache(maxsize=32)
def sagan(config: SaganConfig, steps: int | None = None) -> Detector:
    """SAGAN as a detector; the same settings give the same functions, so that JAX compiles them once a process.

    Args:
        config: Its settings; `sagan_preset` has the paper's and the authors' code's.
        steps: Training steps in all, over which a decaying learning rate decays; None keeps it constant.

    Returns:
        The detector. Its `init` raises `UserError` for images that are not square with a power-of-two side.
    """

    def generator(channels: int) -> nn.Module:
        return SaganGenerator(
            channels=channels,
            width=config.width,
            multiplier=config.depth_multiplier if config.depthwise else 0,
            attention=config.attention,
            attend_encoder_path=config.attend_encoder_path,
            pool=config.pool,
            dtype=ARITHMETIC[config.precision],
        )

    return skip_gan(generator, config, steps)
