"""A generator that reconstructs, against a discriminator that lends its latent: SAGAN's and Skip-GANomaly's step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from sagan_jax.config import AdversarialConfig
from sagan_jax.detector import Detector, Metrics, Scores, Statistics
from sagan_jax.layers import initialise
from sagan_jax.losses import absolute_error, binary_cross_entropy, squared_error


class Player(NamedTuple):
    """One of the two networks in training: its parameters, its running statistics, its optimiser's state."""

    params: Any
    statistics: Any
    optimiser: optax.OptState


class AdversarialState(NamedTuple):
    """Everything a training run knows: both players and the number of steps taken."""

    step: Array
    generator: Player
    discriminator: Player


class Judgement(NamedTuple):
    """What the discriminator says of a batch: a logit `[B]` (positive: real) and the latent f(x) `[B, latent]`."""

    logits: Array
    latent: Array


Networks = Callable[[tuple[int, ...]], tuple[nn.Module, nn.Module]]
"""From an image shape [H, W, C] to a generator and a discriminator, both called as `module(images, train)`."""


def reconstruction_gan(networks: Networks, config: AdversarialConfig, steps: int | None) -> Detector:
    """A detector from two networks and the objective of the paper's section 2.4.

    One step makes a single pass of the generator and of the discriminator over each batch; both updates are
    taken from it. That is exact, not an approximation: the generator's update leaves the discriminator alone.

    Args:
        networks: Makes the generator and the discriminator for an image shape.
        config: Loss weights, optimiser, score.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.

    Returns:
        The detector.
    """
    optimiser = optax.adam(learning_rate(config, steps), b1=config.beta1, b2=config.beta2)

    def init(key: Array, image_shape: tuple[int, ...]) -> AdversarialState:
        def player(module: nn.Module, key: Array) -> Player:
            variables = initialise(module, key, image_shape)
            return Player(variables["params"], variables["batch_stats"], optimiser.init(variables["params"]))

        @jax.jit  # one program in place of thousands of small ones
        def build(key: Array) -> AdversarialState:
            generator_key, discriminator_key = jax.random.split(key)
            generator, discriminator = networks(image_shape)
            return AdversarialState(
                step=jnp.zeros((), jnp.int32),
                generator=player(generator, generator_key),
                discriminator=player(discriminator, discriminator_key),
            )

        return build(key)

    def update(state: AdversarialState, batch: Array, key: Array) -> tuple[AdversarialState, Metrics]:
        generator, discriminator = networks(batch.shape[1:])

        def generate(params: Any) -> tuple[Array, Any]:
            return apply_training(generator, params, state.generator.statistics, batch)

        def discriminate(params: Any, images: Array, statistics: Any) -> tuple[Judgement, Any]:
            (logits, latent), statistics = apply_training(discriminator, params, statistics, images)
            return Judgement(logits, latent), statistics

        # The forward passes, each made once. The discriminator's running statistics move on real, then generated.
        d_params = state.discriminator.params
        reconstructed, generator_vjp, generator_statistics = jax.vjp(generate, state.generator.params, has_aux=True)
        real, real_vjp, statistics = jax.vjp(
            lambda params: discriminate(params, batch, state.discriminator.statistics), d_params, has_aux=True
        )
        fake, fake_vjp, statistics = jax.vjp(
            lambda params, images: discriminate(params, images, statistics), d_params, reconstructed, has_aux=True
        )

        def generator_objective(reconstructed: Array, fake: Judgement) -> tuple[Array, Metrics]:
            adversarial = binary_cross_entropy(fake.logits, 1.0).mean()  # the non-saturating form
            reconstruction = absolute_error(batch, reconstructed).mean()
            latent = squared_error(real.latent, fake.latent).mean()
            loss = (
                config.weight_adversarial * adversarial
                + config.weight_reconstruction * reconstruction
                + config.weight_latent * latent
            )
            return loss, {
                "generator_adversarial": adversarial,
                "generator_reconstruction": reconstruction,
                "generator_latent": latent,
            }

        def discriminator_objective(real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
            real_loss = binary_cross_entropy(real.logits, 1.0).mean()
            fake_loss = binary_cross_entropy(fake.logits, 0.0).mean()
            loss = real_loss + fake_loss
            if config.latent_in_discriminator:
                loss = loss + config.weight_latent * squared_error(real.latent, fake.latent).mean()
            return loss, {"discriminator_real": real_loss, "discriminator_fake": fake_loss}

        # The backward passes: the generator's runs through the discriminator into the image, the other stops there.
        (generator_loss, generator_terms), (by_image, by_fake) = jax.value_and_grad(
            generator_objective, argnums=(0, 1), has_aux=True
        )(reconstructed, fake)
        (generator_gradient,) = generator_vjp(by_image + fake_vjp(by_fake)[1])
        (discriminator_loss, discriminator_terms), (by_real, by_fake) = jax.value_and_grad(
            discriminator_objective, argnums=(0, 1), has_aux=True
        )(real, fake)
        discriminator_gradient = jax.tree.map(jnp.add, real_vjp(by_real)[0], fake_vjp(by_fake)[0])

        new_generator = take_step(state.generator, generator_gradient, generator_statistics)
        new_discriminator = take_step(state.discriminator, discriminator_gradient, statistics)
        metrics = {
            "generator_loss": generator_loss,
            **generator_terms,
            "generator_gradient_norm": optax.tree.norm(generator_gradient),
            "discriminator_loss": discriminator_loss,
            **discriminator_terms,
            "discriminator_gradient_norm": optax.tree.norm(discriminator_gradient),
        }
        if config.reinitialise_below > 0:
            collapsed = discriminator_loss < config.reinitialise_below
            fresh_params = jax.lax.cond(
                collapsed,
                lambda: initialise(discriminator, key, batch.shape[1:])["params"],
                lambda: new_discriminator.params,
            )
            new_discriminator = new_discriminator._replace(params=fresh_params)
            metrics["discriminator_reinitialised"] = collapsed.astype(jnp.float32)
        return AdversarialState(state.step + 1, new_generator, new_discriminator), metrics

    def take_step(player: Player, gradient: Any, statistics: Any) -> Player:
        updates, optimiser_state = optimiser.update(gradient, player.optimiser, player.params)
        return Player(optax.apply_updates(player.params, updates), statistics, optimiser_state)

    def score(state: AdversarialState, images: Array, statistics: Statistics = "running") -> Scores:
        generator, discriminator = networks(images.shape[1:])

        def run(module: nn.Module, player: Player, images: Array) -> Any:
            if statistics == "batch":
                return apply_training(module, player.params, player.statistics, images)[0]
            return module.apply({"params": player.params, "batch_stats": player.statistics}, images, train=False)

        reconstructed = run(generator, state.generator, images)  # [B, H, W, C]
        _, real_latent = run(discriminator, state.discriminator, images)  # [B, latent]
        _, fake_latent = run(discriminator, state.discriminator, reconstructed)
        anomaly_map = squared_error(images, reconstructed).mean(axis=-1)  # [B, H, W]
        reconstruction = anomaly_map.mean(axis=(1, 2))  # R(x), [B]
        latent = squared_error(real_latent, fake_latent).mean(axis=-1)  # L(x), [B]
        total = config.score_weight * reconstruction + (1.0 - config.score_weight) * latent  # eq. 5
        return Scores(total, reconstruction, latent, anomaly_map, reconstructed)

    return Detector(init, update, score)


def apply_training(module: nn.Module, params: Any, statistics: Any, images: Array) -> tuple[Any, Any]:
    """The module's output with BatchNorm normalising by the batch itself, and the running statistics moved on."""
    output, changed = module.apply(
        {"params": params, "batch_stats": statistics}, images, train=True, mutable=["batch_stats"]
    )
    return output, changed.get("batch_stats", statistics)


def learning_rate(config: AdversarialConfig, steps: int | None) -> optax.ScalarOrSchedule:
    """Constant, or constant for the first half of `steps` and then linear to zero ("lambda decay", paper section 3)."""
    if config.decay == "constant" or steps is None:
        return config.learning_rate
    constant_steps = steps // 2
    return optax.linear_schedule(config.learning_rate, 0.0, steps - constant_steps, constant_steps)
