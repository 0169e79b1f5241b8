"""A generator trained against a discriminator: the step of SAGAN, Skip-GANomaly, GANomaly and AnoGAN."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from sagan_jax.config import AdversarialConfig, GanConfig, ReconstructionConfig
from sagan_jax.detector import Detector, Init, Metrics, Scores, Statistics, Update, check_floats, check_scored
from sagan_jax.methods.layers import initialise
from sagan_jax.methods.losses import absolute_error, binary_cross_entropy, squared_error
from sagan_jax.methods.optimisers import optimisers


class Player(NamedTuple):
    """A network in training: its parameters, its running statistics, its optimiser's state."""

    params: Any
    statistics: Any
    optimiser: Any  # optax's state


class AdversarialState(NamedTuple):
    """The state of a training run: both players and the number of steps taken."""

    step: Array
    generator: Player
    discriminator: Player


class Judgement(NamedTuple):
    """The discriminator's output for a batch: a logit `[B]` (positive: real) and the latent f(x) `[B, latent]`."""

    logits: Array
    latent: Array


Networks = Callable[[tuple[int, ...]], tuple[nn.Module, nn.Module]]
"""From an image shape [H, W, C] to a generator and a discriminator, both called as `module(images, train)`.

The generator gives the reconstruction `[B, H, W, C]`, or a tuple of that and whatever else its objective needs.
"""


class Example(NamedTuple):
    """What a training step uses of a batch.

    Attributes:
        images: What the generator should give, and what the discriminator should call real.
        given: The generator's input.
        truth: What else the objective is given about the images, if anything.
    """

    images: Array
    given: Array
    truth: Any = None


class Objective(NamedTuple):
    """The losses of both players.

    Attributes:
        generator: `(example, the generator's output, judgement of the images, of the generated) -> (loss, its terms)`.
        discriminator: `(judgement of the images, of the generated) -> (loss, its terms)`.
    """

    generator: Callable[[Example, Any, Judgement, Judgement], tuple[Array, Metrics]]
    discriminator: Callable[[Judgement, Judgement], tuple[Array, Metrics]]


def reconstruction_gan(networks: Networks, config: AdversarialConfig, steps: int | None) -> Detector:
    """A detector from two networks and the objective and score of the paper's sections 2.4 and 2.5.

    Args:
        networks: Makes the generator and the discriminator for an image shape.
        config: Loss weights, optimiser, score.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.

    Returns:
        The detector.
    """

    def generator(example: Example, reconstructed: Array, real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
        return generator_loss(config, absolute_error(example.images, reconstructed).mean(), real, fake)

    def score(state: AdversarialState, images: Array, statistics: Statistics = "running") -> Scores:
        generator, discriminator = networks(images.shape[1:])
        reconstructed = apply_scoring(generator, state.generator, statistics, images)  # [B, H, W, C]
        _, real_latent = apply_scoring(discriminator, state.discriminator, statistics, images)  # [B, latent]
        _, fake_latent = apply_scoring(discriminator, state.discriminator, statistics, reconstructed)
        return residual_scores(config, images, reconstructed, squared_error(real_latent, fake_latent).mean(axis=-1))

    objective = Objective(generator, partial(discriminator_loss, config))
    training = adversarial_training(networks, objective, *optimisers(config, steps), config.reinitialise_below)
    return Detector(*training, score)


def generator_loss(
    config: AdversarialConfig, reconstruction: Array, real: Judgement, fake: Judgement
) -> tuple[Array, Metrics]:
    """The generator's loss (paper eq. 4), of that of the reconstruction and of what the discriminator makes of both."""
    adversarial = binary_cross_entropy(fake.logits, 1.0).mean()  # the non-saturating form
    return weighted_loss(config, adversarial, reconstruction, squared_error(real.latent, fake.latent).mean())


def weighted_loss(
    config: ReconstructionConfig, adversarial: Array, reconstruction: Array, latent: Array
) -> tuple[Array, Metrics]:
    """The weighted sum of a generator's three losses (paper eq. 4), and the losses by name."""
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


def discriminator_loss(config: AdversarialConfig, real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
    """The discriminator's loss for separating real from generated, and, if the settings say so, the latent loss too."""
    loss, terms = tell_apart(real, fake)
    if config.latent_in_discriminator:
        loss = loss + config.weight_latent * squared_error(real.latent, fake.latent).mean()
    return loss, terms


def tell_apart(real: Judgement, fake: Judgement) -> tuple[Array, Metrics]:
    """The discriminator's loss for calling real images real and generated ones not."""
    real_loss = binary_cross_entropy(real.logits, 1.0).mean()
    fake_loss = binary_cross_entropy(fake.logits, 0.0).mean()
    return real_loss + fake_loss, {"discriminator_real": real_loss, "discriminator_fake": fake_loss}


def residual_scores(config: GanConfig, images: Array, reconstructed: Array, latent: Array) -> Scores:
    """Scores from the squared residual, R(x), and a latent term L(x) `[B]` (paper eq. 5)."""
    anomaly_map = squared_error(images, reconstructed).mean(axis=-1)  # [B, H, W]
    reconstruction = anomaly_map.mean(axis=(1, 2))  # R(x), [B]
    return Scores(total_score(config, reconstruction, latent), reconstruction, latent, anomaly_map, reconstructed)


def total_score(config: GanConfig, reconstruction: Array, latent: Array) -> Array:
    """The anomaly score `[B]` of its two terms R and L (paper eq. 5)."""
    return config.score_weight * reconstruction + (1.0 - config.score_weight) * latent


def adversarial_training(
    networks: Networks,
    objective: Objective,
    of_generator: optax.GradientTransformation,
    of_discriminator: optax.GradientTransformation,
    reinitialise_below: float = 0.0,
    show: Callable[[Array, Array], Example] = lambda images, key: Example(images, images),
) -> tuple[Init, Update]:
    """Two of a detector's functions, `init` and `update`, from two networks and their losses.

    One step makes a single pass of the generator and of the discriminator over each batch; both updates are
    taken from it. That is exact, not an approximation: the generator's update leaves the discriminator alone.

    Args:
        networks: Makes the generator and the discriminator for an image shape.
        objective: Their losses.
        of_generator: The generator's optimiser.
        of_discriminator: The discriminator's.
        reinitialise_below: The discriminator is initialised again when its loss falls below this; 0 means never.
        show: From a batch of images and a key to the `Example` that a step uses.

    Returns:
        Both functions; the state is an `AdversarialState`.
    """

    def init(key: Array, image_shape: tuple[int, ...]) -> AdversarialState:
        given = jax.eval_shape(show, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32), key).given

        @jax.jit  # one program in place of thousands of small ones
        def build(key: Array) -> AdversarialState:
            generator_key, discriminator_key = jax.random.split(key)
            generator, discriminator = networks(image_shape)
            return AdversarialState(
                step=jnp.zeros((), jnp.int32),
                generator=new_player(of_generator, generator, generator_key, given.shape[1:]),
                discriminator=new_player(of_discriminator, discriminator, discriminator_key, image_shape),
            )

        return build(key)

    def update(state: AdversarialState, batch: Array, key: Array) -> tuple[AdversarialState, Metrics]:
        check_floats(batch)
        generator, discriminator = networks(batch.shape[1:])
        example = show(batch, key)

        def generate(params: Any) -> tuple[Any, Any]:
            return apply_training(generator, params, state.generator.statistics, example.given)

        def discriminate(params: Any, images: Array, statistics: Any) -> tuple[Judgement, Any]:
            (logits, latent), statistics = apply_training(discriminator, params, statistics, images)
            return Judgement(logits, latent), statistics

        # The forward passes, each made once. The discriminator's running statistics move on real, then generated.
        d_params = state.discriminator.params
        output, generator_vjp, generator_statistics = jax.vjp(generate, state.generator.params, has_aux=True)
        reconstructed, reconstructed_vjp = jax.vjp(_reconstruction_in, output)
        real, real_vjp, statistics = jax.vjp(
            lambda params: discriminate(params, example.images, state.discriminator.statistics), d_params, has_aux=True
        )
        fake, fake_vjp, statistics = jax.vjp(
            lambda params, images: discriminate(params, images, statistics), d_params, reconstructed, has_aux=True
        )

        # The backward passes: the generator's runs through the discriminator into the image, the other stops there.
        (generator_loss, generator_terms), (by_output, by_fake) = jax.value_and_grad(
            lambda output, fake: objective.generator(example, output, real, fake), argnums=(0, 1), has_aux=True
        )(output, fake)
        (by_image,) = reconstructed_vjp(fake_vjp(by_fake)[1])
        (generator_gradient,) = generator_vjp(jax.tree.map(jnp.add, by_output, by_image))
        (discriminator_loss, discriminator_terms), (by_real, by_fake) = jax.value_and_grad(
            objective.discriminator, argnums=(0, 1), has_aux=True
        )(real, fake)
        discriminator_gradient = jax.tree.map(jnp.add, real_vjp(by_real)[0], fake_vjp(by_fake)[0])

        new_generator = apply_gradient(of_generator, state.generator, generator_gradient, generator_statistics)
        new_discriminator = apply_gradient(of_discriminator, state.discriminator, discriminator_gradient, statistics)
        metrics = {
            "generator_loss": generator_loss,
            **generator_terms,
            "generator_gradient_norm": optax.tree.norm(generator_gradient),
            "discriminator_loss": discriminator_loss,
            **discriminator_terms,
            "discriminator_gradient_norm": optax.tree.norm(discriminator_gradient),
        }
        if reinitialise_below > 0:
            collapsed = discriminator_loss < reinitialise_below
            fresh_params = jax.lax.cond(
                collapsed,
                lambda: initialise(discriminator, key, batch.shape[1:])["params"],
                lambda: new_discriminator.params,
            )
            new_discriminator = new_discriminator._replace(params=fresh_params)
            metrics["discriminator_reinitialised"] = collapsed.astype(jnp.float32)
        return AdversarialState(state.step + 1, new_generator, new_discriminator), metrics

    return init, update


def apply_training(module: nn.Module, params: Any, statistics: Any, *inputs: Array, **options: Any) -> tuple[Any, Any]:
    """The module's output with BatchNorm normalising by the batch itself, and the running statistics moved on."""
    output, changed = module.apply(
        {"params": params, "batch_stats": statistics}, *inputs, train=True, mutable=["batch_stats"], **options
    )
    return output, changed.get("batch_stats", statistics)


def apply_scoring(module: nn.Module, player: Player, statistics: Statistics, *inputs: Array) -> Any:
    """The module's output with BatchNorm normalising by its running statistics, or by those of the very batch."""
    check_scored(statistics, *inputs)
    if statistics == "batch":
        return apply_training(module, player.params, player.statistics, *inputs)[0]
    return module.apply({"params": player.params, "batch_stats": player.statistics}, *inputs, train=False)


def _reconstruction_in(output: Any) -> Array:
    """The reconstruction in a generator's output, alone or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def new_player(
    optimiser: optax.GradientTransformation, module: nn.Module, key: Array, *shapes: tuple[int, ...]
) -> Player:
    """A player before its first step, for inputs of these shapes (without the batch)."""
    variables = initialise(module, key, *shapes)
    return Player(variables["params"], variables["batch_stats"], optimiser.init(variables["params"]))


def apply_gradient(optimiser: optax.GradientTransformation, player: Player, gradient: Any, statistics: Any) -> Player:
    """The player after one step against a gradient, with its new running statistics."""
    updates, optimiser_state = optimiser.update(gradient, player.optimiser, player.params)
    return Player(optax.apply_updates(player.params, updates), statistics, optimiser_state)
