"""GANomaly (Akçay, Atapour-Abarghouei & Breckon, ACCV 2018): latents of an image and of its reconstruction.

Encoder, decoder, and a second encoder of the reconstruction; L(x) is the mean squared distance of the two latents, and
all of the score. Parameters at 32 px, RGB: generator 3,206,528 (twice 1,068,800 and 1,068,928), discriminator 663,296.

Where this departs from its authors' released code: there the networks stay in training mode when they score, which here
is the reference protocol alone.
"""

from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from sagan_jax.config import GanomalyConfig
from sagan_jax.detector import Detector, Metrics, Scores, Statistics
from sagan_jax.methods.adversarial import (
    AdversarialState,
    Example,
    Judgement,
    Objective,
    adversarial_training,
    apply_scoring,
    residual_scores,
    tell_apart,
    weighted_loss,
)
from sagan_jax.methods.dcgan import Decoder, Encoder, PlainDiscriminator, check_image_shape
from sagan_jax.methods.layers import ARITHMETIC
from sagan_jax.methods.losses import absolute_error, squared_error
from sagan_jax.methods.optimisers import adam


class GanomalyGenerator(nn.Module):
    """The reconstruction `[B, H, W, C]`, the image's latent and the reconstruction's `[B, latent]`.

    Attributes:
        width: Channels of the encoders' first level and the decoder's last.
        latent_size: Length of both latents.
        dtype: Arithmetic of the networks; what they give is float32.
    """

    width: int = 64
    latent_size: int = 100
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array, Array]:
        latent = Encoder(self.width, self.latent_size, self.dtype, name="encoder1")(images, train)
        reconstructed = Decoder(images.shape[1:], self.width, self.dtype, name="decoder")(latent, train)
        again = Encoder(self.width, self.latent_size, self.dtype, name="encoder2")(reconstructed, train)
        return reconstructed, latent, again


Output = tuple[Array, Array, Array]


@lru_cache(maxsize=32)
def ganomaly(config: GanomalyConfig, steps: int | None = None) -> Detector:
    """GANomaly as a detector; the same settings give the same functions.

    Args:
        config: Its settings; the defaults are its paper's and its authors' code's.
        steps: Training steps in all, over which a decaying learning rate decays; None keeps it constant.

    Returns:
        The detector. Its `init` raises `UserError` for images that are not square with a power-of-two side.
    """
    dtype = ARITHMETIC[config.precision]

    def networks(image_shape: tuple[int, ...]) -> tuple[GanomalyGenerator, PlainDiscriminator]:
        check_image_shape(image_shape)
        return GanomalyGenerator(config.width, config.latent_size, dtype), PlainDiscriminator(config.width, dtype)

    def generator(example: Example, output: Output, real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
        reconstructed, latent, again = output
        adversarial = squared_error(real.latent, fake.latent).mean()  # feature matching
        reconstruction = absolute_error(example.images, reconstructed).mean()
        return weighted_loss(config, adversarial, reconstruction, squared_error(latent, again).mean())

    def discriminator(real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
        loss, terms = tell_apart(real, fake)
        return 0.5 * loss, terms

    def score(state: AdversarialState, images: Array, statistics: Statistics = "running") -> Scores:
        module, _ = networks(images.shape[1:])
        reconstructed, latent, again = apply_scoring(module, state.generator, statistics, images)
        return residual_scores(config, images, reconstructed, squared_error(latent, again).mean(axis=-1))

    objective = Objective(generator, discriminator)
    optimiser = adam(config, steps)
    training = adversarial_training(networks, objective, optimiser, optimiser, config.reinitialise_below)
    return Detector(*training, score)
