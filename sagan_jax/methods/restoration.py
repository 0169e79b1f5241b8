"""SAGAN trained to repair: the generator is given a damaged image and gives the whole one, and where the damage is.

A U-Net with skips copies damage as well as all else, so |x - G(x)| hardly tells where it is. Here the generator sees
images with synthetic damage and learns to take it away, with one more channel that says where it was. SAGAN's
discriminator compares the image with the repaired one; its three losses stay, and the damage channel's is added.
None of this is in the paper; docs/restoration.md has what each part is worth.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.config import SaganConfig
from sagan_jax.detector import Detector, Images, Metrics, Scores, State, Statistics, normalise, worst_share
from sagan_jax.methods.adversarial import (
    AdversarialState,
    Example,
    Judgement,
    Objective,
    adversarial_training,
    apply_training,
    discriminator_loss,
    weighted,
)
from sagan_jax.methods.corruption import damage, other_light
from sagan_jax.methods.losses import absolute_error, binary_cross_entropy, squared_error
from sagan_jax.methods.repair_map import (
    Level,
    abnormality,
    fit_components,
    fit_level,
    no_components,
    no_level,
    readings,
    unexplained_by_others,
)

_DICE = 0.3
"""Weight of the Dice loss beside the cross-entropy of the damage channel."""
_POPULATION_BATCHES, _LEVEL_BATCHES, _POPULATION_BATCH = 12, 4, 64


class Normal(NamedTuple):
    """What is known of normal images beside the networks, fitted after each epoch.

    Attributes:
        population: The statistics that BatchNorm normalises by when scoring.
        mean: The mean of images reduced to 64 pixels a side at most, in [-1, 1], `float32 [h, w, C]`.
        components: Their principal components, `float32 [64, h, w, C]`; zeros where there are fewer.
        level: What the readings of the map come to.
    """

    population: Any
    mean: Array
    components: Array
    level: Level


class RestorationState(NamedTuple):
    """What training knows, and what normal images look like."""

    training: AdversarialState
    normal: Normal


class Restorer(nn.Module):
    """A generator that repairs: what it gives is added to the image, and its last channel is the damage.

    It is shown the image without its mean colour, so that a brighter or a bluer photograph looks the same to it.

    Attributes:
        generator: A network from [B, H, W, C] to [B, H, W, C + 1].
    """

    generator: nn.Module

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        level = images.mean(axis=(1, 2), keepdims=True)
        output = self.generator(images - level, train)  # [B, H, W, C + 1]
        return images + output[..., :-1], output[..., -1]  # repaired [B, H, W, C], damage logit [B, H, W]


def restoration_gan(
    networks: Callable[[tuple[int, ...]], tuple[nn.Module, nn.Module]], config: SaganConfig, steps: int | None
) -> Detector:
    """A detector whose generator learns to repair.

    Args:
        networks: Makes the `Restorer` and the discriminator for an image shape.
        config: Loss weights, optimiser, damage, score.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.

    Returns:
        The detector. Its score is the mean of the worst share of its map, its R the mean squared repair; it has no L.
    """
    repair = config.repair

    def show(images: Array, key: Array) -> Example:
        light_key, damage_key = jax.random.split(key)
        lit = other_light(light_key, images, repair.relit)
        damaged, mask = damage(damage_key, lit, repair)
        return Example(lit, damaged, mask)

    def generator(
        example: Example, output: tuple[Array, Array], real: Judgement, fake: Judgement
    ) -> tuple[Array, Metrics]:
        repaired, logits = output
        adversarial = binary_cross_entropy(fake.logits, 1.0).mean()  # the non-saturating form
        latent = squared_error(real.latent, fake.latent).mean()
        loss, terms = weighted(config, adversarial, absolute_error(example.images, repaired).mean(), latent)
        found = damage_loss(logits, example.truth)
        return loss + repair.weight_damage * found, terms | {"generator_damage": found}

    objective = Objective(generator, partial(discriminator_loss, config))
    start, step = adversarial_training(networks, objective, config, steps, config.reinitialise_below, show)

    def init(key: Array, image_shape: tuple[int, ...]) -> RestorationState:
        training = start(key, image_shape)
        population = jax.tree.map(jnp.copy, training.generator.statistics)  # a buffer of its own
        return RestorationState(training, Normal(population, *no_components(image_shape), no_level()))

    def update(state: RestorationState, batch: Array, key: Array) -> tuple[RestorationState, Metrics]:
        training, metrics = step(state.training, batch, key)
        return state._replace(training=training), metrics

    def read(state: RestorationState, images: Array, statistics: Statistics) -> tuple[Array, Array]:
        """The repaired images [B, H, W, C] and the readings of the map [4, B, H, W]."""
        restorer, _ = networks(images.shape[1:])
        params, normal = state.training.generator.params, state.normal
        if statistics == "batch":
            (repaired, logits), _ = apply_training(restorer, params, normal.population, images)
        else:
            variables = {"params": params, "batch_stats": normal.population}
            output: Any = restorer.apply(variables, images, train=False)
            repaired, logits = output
        return repaired, readings(images, repaired, logits, normal.mean, normal.components, repair.damage_floor)

    @jax.jit
    def worst(state: RestorationState, batches: Array) -> Array:
        """The mean of the worst pixels of each reading of each image, of batches [N, B, H, W, C]: [4, N * B]."""

        def of_batch(batch: Array) -> Array:
            _, found = read(state, normalise(batch), "running")
            return jnp.stack([worst_share(reading, repair.worst_share) for reading in found])  # [4, B]

        return jnp.concatenate(list(lax.map(of_batch, batches)), axis=1)

    def score(state: RestorationState, images: Array, statistics: Statistics = "running") -> Scores:
        repaired, found = read(state, images, statistics)
        heat = abnormality(found, state.normal.level)
        total = worst_share(heat, repair.worst_share)
        reconstruction = squared_error(images, repaired).mean(axis=(1, 2, 3))
        return Scores(total, reconstruction, jnp.zeros_like(total), heat, repaired)

    def fit_normal(state: RestorationState, images: Images, key: Array) -> RestorationState:
        restorer, _ = networks(images.shape[1:])
        chosen = jax.random.choice(key, len(images), (_POPULATION_BATCHES, _POPULATION_BATCH))
        batches = jnp.asarray(np.asarray(images)[np.asarray(chosen)])  # [12, 64, H, W, C]
        population = _population(restorer, state.training.generator, batches)
        fitted = state._replace(normal=Normal(population, *fit_components(images), no_level()))
        even = np.linspace(0, len(images) - 1, _LEVEL_BATCHES * _POPULATION_BATCH).astype(int)
        some = np.asarray(images)[even].reshape(_LEVEL_BATCHES, _POPULATION_BATCH, *images.shape[1:])
        level = fit_level(worst(fitted, jnp.asarray(some)), unexplained_by_others(images, repair.worst_share))
        return fitted._replace(normal=fitted.normal._replace(level=level))

    return Detector(init, update, score, fit_normal)


def damage_loss(
    logits: Float[Array, "batch height width"], mask: Float[Array, "batch height width"]
) -> Float[Array, ""]:
    """Cross-entropy of the damage channel with the mask, and a part of 1 - Dice over the batch, for masks are small."""
    entropy = optax.sigmoid_binary_cross_entropy(logits, mask).mean()
    found = jax.nn.sigmoid(logits)
    dice = (2 * (found * mask).sum() + 1) / (found.sum() + mask.sum() + 1)
    return entropy + _DICE * (1 - dice)


@partial(jax.jit, static_argnames="restorer")
def _population(restorer: nn.Module, player: Any, batches: Array) -> State:
    """BatchNorm's statistics over normal images: the mean of those of some batches (Ioffe and Szegedy 2015, alg. 2).

    Flax moves running statistics by a tenth of a batch's: from zeros, a tenth of the batch's own is left.
    """
    nothing = jax.tree.map(jnp.zeros_like, player.statistics)

    def of_batch(batch: Array) -> Any:
        _, moved = apply_training(restorer, player.params, nothing, normalise(batch))
        return jax.tree.map(lambda value: 10.0 * value, moved)

    return jax.tree.map(lambda values: values.mean(axis=0), lax.map(of_batch, batches))
