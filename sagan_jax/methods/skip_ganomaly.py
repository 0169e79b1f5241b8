"""Skip-GANomaly (Akçay, Atapour-Abarghouei & Breckon, IJCNN 2019), the method that SAGAN starts from.

pix2pix's U-Net reconstructs the image; discriminator, losses and step are SAGAN's, which has them from here.
Parameters at 32 px, RGB: generator 16,659,075, discriminator 1,069,700.

Where this departs from its authors' released code: the discriminator's latent loss (preset "reference") is taken on the
generated image as it was before the generator's update, as in SAGAN; no noise is added to the input, there an array
that training never fills.
"""

from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sagan_jax.config import SkipGanomalyConfig
from sagan_jax.detector import Detector
from sagan_jax.methods.layers import ARITHMETIC, BatchNorm, StridedConv, TransposedConv
from sagan_jax.methods.restoration import skip_gan


class SkipGanomalyGenerator(nn.Module):
    """pix2pix's U-Net, down to a single pixel: log2(side) levels of strided and of transposed convolutions, tanh.

    The outputs of the levels of 4 x 4 pixels and more are in Flax's collection "intermediates", for callers that ask
    for them.

    Attributes:
        channels: Channels of the reconstruction.
        width: Channels of the first level; deeper ones have 2, 4, 8, 8, ... times as many.
        bounded: Whether a tanh ends it.
        dtype: Arithmetic of the network; the reconstruction is float32.
    """

    channels: int
    width: int = 64
    bounded: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        levels = images.shape[1].bit_length() - 1  # log2 of the side
        widths = [min(2**level, 8) * self.width for level in range(levels)]

        # No BatchNorm on the outermost level, nor on the innermost, where a map is one pixel.
        x = nn.leaky_relu(StridedConv(widths[0], self.dtype, name="down1")(images), 0.2)  # [B, H / 2, W / 2, w]
        skips = [x]
        for level in range(2, levels):
            x = StridedConv(widths[level - 1], self.dtype, name=f"down{level}")(x)
            x = BatchNorm(slope=0.2, name=f"down_norm{level}")(x, train)  # [B, H / 2^level, ...]
            skips.append(x)
        for level, skip in enumerate(skips[: levels - 2], start=1):
            self.sow("intermediates", f"features_down{level}", skip)
        x = nn.relu(StridedConv(widths[-1], self.dtype, name=f"down{levels}")(x))  # [B, 1, 1, 8w]

        for level in range(levels, 1, -1):
            x = TransposedConv(widths[level - 2], dtype=self.dtype, name=f"up{level}")(x)
            x = BatchNorm(slope=0.0, name=f"up_norm{level}")(x, train)  # [B, H / 2^(level - 1), ...]
            if level <= levels - 1:
                self.sow("intermediates", f"features_up{level}", x)
            x = jnp.concatenate([nn.relu(skips.pop()), x], axis=-1)
        x = TransposedConv(self.channels, use_bias=True, dtype=self.dtype, name="up1")(x)  # [B, H, W, C]
        x = x.astype(jnp.float32)
        return jnp.tanh(x) if self.bounded else x


@lru_cache(maxsize=32)
def skip_ganomaly(config: SkipGanomalyConfig, steps: int | None = None) -> Detector:
    """Skip-GANomaly as a detector; the same settings give the same functions.

    Args:
        config: Its settings; `skip_ganomaly_preset` has its paper's and its authors' code's.
        steps: Training steps in all, over which a decaying learning rate decays; None keeps it constant.

    Returns:
        The detector. Its `init` raises `UserError` for images that are not square with a power-of-two side.
    """

    def generator(channels: int) -> nn.Module:
        bounded = not config.repair.restoration  # an image less its mean colour and a logit are not
        return SkipGanomalyGenerator(channels, config.width, bounded, ARITHMETIC[config.precision])

    return skip_gan(generator, config, steps)
