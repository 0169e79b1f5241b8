"""AnoGAN (Schlegl et al., IPMI 2017): an image is abnormal if a GAN of normal images cannot make one like it.

DCGAN is trained on normal images. To score an image, Adam searches the latent whose image is nearest to it: the loss
0.9 ‖x - G(z)‖₁ + 0.1 ‖f(x) - f(G(z))‖₁, f the discriminator's last map, is the score where the search ends. Parameters
at 32 px, RGB: generator 1,068,928, discriminator 663,296.

Where this departs from its authors: theirs is a DCGAN for 64 px patches of retinal scans, here it is one of GANomaly's
widths for any size; every search starts from the same latent, so that an image's score is its own.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import optax
from jax import Array

from sagan_jax.config import AnoganConfig
from sagan_jax.detector import Detector, Metrics, Scores, Statistics
from sagan_jax.methods.adversarial import (
    AdversarialState,
    Example,
    Judgement,
    Objective,
    adversarial_training,
    apply_scoring,
    tell_apart,
    total_score,
)
from sagan_jax.methods.dcgan import Decoder, PlainDiscriminator, check_image_shape
from sagan_jax.methods.layers import ARITHMETIC
from sagan_jax.methods.losses import absolute_error, binary_cross_entropy
from sagan_jax.methods.optimisers import adam

START = 0
"""Seed of the latent every search starts from."""


@lru_cache(maxsize=32)
def anogan(config: AnoganConfig, steps: int | None = None) -> Detector:
    """AnoGAN as a detector; the same settings give the same functions.

    Args:
        config: Its settings.
        steps: Training steps in all, over which a decaying learning rate decays; None keeps it constant.

    Returns:
        The detector. Its `init` raises `UserError` for images that are not square with a power-of-two side.
    """
    dtype = ARITHMETIC[config.precision]
    search = optax.adam(config.search_rate)

    def networks(image_shape: tuple[int, ...]) -> tuple[Decoder, PlainDiscriminator]:
        check_image_shape(image_shape)
        return Decoder(image_shape, config.width, dtype), PlainDiscriminator(config.width, dtype)

    def show(images: Array, key: Array) -> Example:
        return Example(images, given=jax.random.normal(key, (len(images), config.latent_size)))

    def generator(example: Example, generated: Array, real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
        loss = binary_cross_entropy(fake.logits, 1.0).mean()  # the non-saturating form
        return loss, {"generator_adversarial": loss}

    def score(state: AdversarialState, images: Array, statistics: Statistics = "running") -> Scores:
        decoder, judge = networks(images.shape[1:])
        _, feature = apply_scoring(judge, state.discriminator, statistics, images)  # [B, features]

        def compare(latents: Array) -> Scores:
            generated = apply_scoring(decoder, state.generator, statistics, latents)  # [B, H, W, C]
            _, its_feature = apply_scoring(judge, state.discriminator, statistics, generated)
            residual = absolute_error(images, generated)
            reconstruction = residual.sum(axis=(1, 2, 3))
            latent = absolute_error(feature, its_feature).sum(axis=-1)
            total = total_score(config, reconstruction, latent)
            return Scores(total, reconstruction, latent, residual.mean(axis=-1), generated)

        def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
            latents, optimiser = carry
            gradient = jax.grad(lambda latents: compare(latents).total.sum())(latents)  # each image's, by its latent
            updates, optimiser = search.update(gradient, optimiser)
            return (latents + jnp.asarray(updates), optimiser), None

        with jax.ensure_compile_time_eval():  # a constant: exported programs need no random numbers
            start = jax.random.normal(jax.random.key(START), (config.latent_size,))
        latents = jnp.broadcast_to(start, (images.shape[0], config.latent_size))
        (latents, _), _ = jax.lax.scan(step, (latents, search.init(latents)), length=config.search_steps)
        return compare(latents)

    objective = Objective(generator, tell_apart)
    optimiser = adam(config, steps)
    return Detector(*adversarial_training(networks, objective, optimiser, optimiser, show=show), score)
