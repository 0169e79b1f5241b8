"""The least adversarial method with all that one has: convolutions, BatchNorm in both networks, a latent."""

import flax.linen as nn

from sagan_jax.config import AdversarialConfig
from sagan_jax.methods.adversarial import reconstruction_gan
from sagan_jax.methods.dcgan import Discriminator
from sagan_jax.methods.layers import BatchNorm, Conv


class SmallGenerator(nn.Module):
    """A generator of two convolutions; SAGAN's takes ten times as long to compile."""

    @nn.compact
    def __call__(self, images, train):
        return Conv(images.shape[-1], 3, padding=1)(BatchNorm(slope=0.0)(Conv(4, 3, padding=1)(images), train))


SETTINGS = AdversarialConfig(width=4, latent_size=8, score_weight=0.2)
SMALL_GAN = reconstruction_gan(lambda _: (SmallGenerator(), Discriminator(4, 8)), SETTINGS, None)
