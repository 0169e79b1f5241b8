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
from sagan_jax.methods.corruption import blurred, damage, other_light
from sagan_jax.methods.losses import absolute_error, binary_cross_entropy, squared_error

_DICE = 0.3
"""Weight of the Dice loss beside the cross-entropy of the damage channel."""
_POPULATION_BATCHES, _POPULATION_BATCH = 12, 64
_LINE_DIRECTIONS, _LINE_TAPS = 8, 15
_CHANGE = 1.5
"""Deviation of the blur of what was repaired, in 64ths of the image's side."""
_LINE_LENGTH, _BACKGROUND = 6.0, 8.0
"""Deviations of the line filter along its line, and of the background it takes off, in 64ths of the image's side."""


class RestorationState(NamedTuple):
    """What training knows, and the statistics BatchNorm scores by: those of normal images, re-estimated after it."""

    training: AdversarialState
    population: Any


class Restorer(nn.Module):
    """A generator that repairs: what it gives is added to the image, and its last channel is the damage.

    Attributes:
        generator: A network from [B, H, W, C] to [B, H, W, C + 1].
    """

    generator: nn.Module

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        output = self.generator(images, train)  # [B, H, W, C + 1]
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
        return RestorationState(training, jax.tree.map(jnp.copy, training.generator.statistics))  # a buffer of its own

    def update(state: RestorationState, batch: Array, key: Array) -> tuple[RestorationState, Metrics]:
        training, metrics = step(state.training, batch, key)
        return state._replace(training=training), metrics

    def score(state: RestorationState, images: Array, statistics: Statistics = "running") -> Scores:
        restorer, _ = networks(images.shape[1:])
        params = state.training.generator.params
        if statistics == "batch":
            (repaired, logits), _ = apply_training(restorer, params, state.population, images)
        else:
            variables = {"params": params, "batch_stats": state.population}
            output: Any = restorer.apply(variables, images, train=False)
            repaired, logits = output
        found = jax.nn.softplus(blurred(logits[..., None], 1.0)[..., 0])  # [B, H, W]
        change = blurred(repaired - images, _CHANGE * images.shape[1] / 64)  # with its sign: grain cancels
        change = jnp.square(change).mean(axis=-1)  # [B, H, W]
        heat = lines(images) * (repair.map_floor + found) * jnp.sqrt(jnp.sqrt(change))
        total = worst_share(heat, repair.worst_share)
        reconstruction = squared_error(images, repaired).mean(axis=(1, 2, 3))
        return Scores(total, reconstruction, jnp.zeros_like(total), heat, repaired)

    def fit_normal(state: RestorationState, images: Images, key: Array) -> RestorationState:
        restorer, _ = networks(images.shape[1:])
        chosen = jax.random.choice(key, len(images), (_POPULATION_BATCHES, _POPULATION_BATCH))
        batches = jnp.asarray(np.asarray(images)[np.asarray(chosen)])  # [12, 64, H, W, C]
        return state._replace(population=_population(restorer, state.training.generator, batches))

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


def lines(images: Float[Array, "batch height width channel"]) -> Float[Array, "batch height width"]:
    """How strongly each pixel lies on a line, bright or dark: a network has no part in it.

    The background is taken off, the rest averaged along short lines with its sign, and squared; the greatest of eight
    directions counts, the mean of the channels. Noise of changing sign cancels; a crack, a scratch, an edge stays.

    Args:
        images: In [-1, 1].
    """
    side = images.shape[1] / 64
    fine = images - blurred(images, _BACKGROUND * side)
    fine = blurred(fine, side)  # across the line
    radius = max(1, round(_LINE_TAPS * side))
    padded = jnp.pad(fine, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    offsets = np.linspace(-_LINE_TAPS, _LINE_TAPS, 2 * _LINE_TAPS + 1) * side
    weights = np.exp(-0.5 * (offsets / (_LINE_LENGTH * side)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    strongest = None
    for direction in range(_LINE_DIRECTIONS):
        angle = np.pi * direction / _LINE_DIRECTIONS
        along = jnp.zeros_like(images)
        for offset, weight in zip(offsets, weights, strict=True):
            row, column = (radius + round(offset * part) for part in (np.sin(angle), np.cos(angle)))
            moved = padded[:, row : row + images.shape[1], column : column + images.shape[2]]
            along = along + float(weight) * moved
        energy = jnp.square(along).mean(axis=-1)  # [B, H, W]
        strongest = energy if strongest is None else jnp.maximum(strongest, energy)
    assert strongest is not None
    return strongest
