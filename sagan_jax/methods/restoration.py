"""SAGAN trained to repair: the generator is given a damaged image and gives the whole one, and where the damage is.

A U-Net with skips copies damage as well as all else, so |x - G(x)| hardly tells where it is. Here the generator sees
images with synthetic damage and learns to take it away, with one more channel that says where it was. SAGAN's
discriminator compares the image with the repaired one. Its three losses stay, damaged pixels count once more in that of
the reconstruction, and the damage channel's is added.
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

from sagan_jax.config import AdversarialConfig, RestorationConfig
from sagan_jax.data.image_array import check_pixels
from sagan_jax.detector import Detector, Images, Metrics, Scores, Statistics, check_scored, normalise, worst_share
from sagan_jax.methods.adversarial import (
    AdversarialState,
    Example,
    Judgement,
    Networks,
    Objective,
    adversarial_training,
    apply_training,
    discriminator_loss,
    generator_loss,
    reconstruction_gan,
)
from sagan_jax.methods.dcgan import Discriminator, check_image_shape
from sagan_jax.methods.feature_distance import gather_features, unfamiliar
from sagan_jax.methods.layers import ARITHMETIC, NEW_SHARE
from sagan_jax.methods.losses import absolute_error, squared_error
from sagan_jax.methods.normal_images import Normal, no_normal, normal_fit
from sagan_jax.methods.optimisers import optimisers
from sagan_jax.methods.other_view import other_view
from sagan_jax.methods.repair_map import abnormality, readings, unexplained
from sagan_jax.methods.synthetic_damage import damage, other_light

_DICE = 0.3
"""Weight of the Dice loss beside the cross-entropy of the damage channel."""
_POPULATION_BATCHES, _POPULATION_BATCH = 12, 64


class RestorationState(NamedTuple):
    """What training knows, and what normal images look like."""

    training: AdversarialState
    normal: Normal


class Restorer(nn.Module):
    """A generator that repairs: it gives the whole image, and its last channel is the damage.

    It is shown the image without its mean colour, which is added in the end, so that a brighter or a bluer photograph
    looks the same to it. It is not asked for a correction to add to the image: no correction is then the easy answer,
    which training by the absolute error did not leave (docs/restoration.md).

    Attributes:
        generator: A network from [B, H, W, C] to [B, H, W, C + 1].
    """

    generator: nn.Module

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        level = images.mean(axis=(1, 2), keepdims=True)
        output = self.generator(images - level, train)  # [B, H, W, C + 1]
        return level + output[..., :-1], output[..., -1]  # repaired [B, H, W, C], damage logit [B, H, W]


def skip_gan(generator: Callable[[int], nn.Module], config: AdversarialConfig, steps: int | None) -> Detector:
    """A generator with skips against SAGAN's discriminator: it reconstructs or, by its settings, repairs.

    Args:
        generator: Makes it, for that many channels of its output.
        config: Its settings.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.
    """
    repairs = config.repair.restoration

    def networks(image_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        check_image_shape(image_shape)
        made = generator(image_shape[-1] + repairs)  # one channel more says where the damage is
        judge = Discriminator(config.width, config.latent_size, ARITHMETIC[config.precision])
        return Restorer(made) if repairs else made, judge

    return (restoration_gan if repairs else reconstruction_gan)(networks, config, steps)


def restoration_gan(networks: Networks, config: AdversarialConfig, steps: int | None) -> Detector:
    """A detector whose generator learns to repair.

    Args:
        networks: Makes the `Restorer` and the discriminator for an image shape.
        config: Loss weights, optimiser, damage, score.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.

    Returns:
        The detector. Its score is the mean of the worst share of its map, its R the mean squared repair; it has no L.
    """
    repair = config.repair

    def generator(
        example: Example, output: tuple[Array, Array], real: Judgement, fake: Judgement
    ) -> tuple[Array, Metrics]:
        repaired, logits = output
        loss, terms = generator_loss(config, repair_loss(example.images, repaired, example.truth), real, fake)
        found = damage_loss(logits, example.truth)
        return loss + repair.weight_damage * found, terms | {"generator_damage": found}

    objective = Objective(generator, partial(discriminator_loss, config))
    show = partial(damaged_example, repair)
    both = optimisers(config, steps)
    start, step = adversarial_training(networks, objective, *both, config.reinitialise_below, show)

    def init(key: Array, image_shape: tuple[int, ...]) -> RestorationState:
        training = start(key, image_shape)
        population = jax.tree.map(jnp.copy, training.generator.statistics)  # a buffer of its own
        restorer, _ = networks(image_shape)
        *_, features = jax.eval_shape(
            partial(_repair, restorer, train=False), training.generator.params, population, jnp.zeros((1, *image_shape))
        )
        normal = no_normal(population, image_shape, features.shape[-1])
        return RestorationState(training, normal)

    def update(state: RestorationState, batch: Array, key: Array) -> tuple[RestorationState, Metrics]:
        training, metrics = step(state.training, batch, key)
        return state._replace(training=training), metrics

    def repair_of(state: RestorationState, images: Array, statistics: Statistics) -> tuple[Array, Array, Array]:
        check_scored(statistics, images)
        restorer, _ = networks(images.shape[1:])
        params, population = state.training.generator.params, state.normal.population
        return _repair(restorer, params, population, images, train=statistics == "batch")

    def read(state: RestorationState, images: Array, statistics: Statistics) -> tuple[Array, Array]:
        """The repaired images [B, H, W, C] and the readings of the map [5, B, H, W]."""
        repaired, logits, features = repair_of(state, images, statistics)
        normal = state.normal
        rest = unexplained(images, normal.mean, normal.components)
        strange = unfamiliar(features, normal.features, images.shape[1:])
        return repaired, readings(images, logits, rest, strange, repair.damage_floor)

    def features_of(state: RestorationState, images: Array) -> Array:
        return repair_of(state, images, "running")[-1]

    def worst(state: RestorationState, images: Array) -> Array:
        """The mean of the worst pixels of each reading of each image: [5, B]."""
        _, found = read(state, images, "running")
        return jnp.stack([worst_share(reading, repair.worst_share) for reading in found])

    fit = normal_fit(features_of, worst)

    def score(state: RestorationState, images: Array, statistics: Statistics = "running") -> Scores:
        repaired, found = read(state, images, statistics)
        heat = abnormality(found, state.normal.level)
        total = worst_share(heat, repair.worst_share)
        reconstruction = squared_error(images, repaired).mean(axis=(1, 2, 3))
        return Scores(total, reconstruction, jnp.zeros_like(total), heat, repaired)

    def fit_normal(state: RestorationState, images: Images, key: Array) -> RestorationState:
        check_pixels(images)
        images = np.asarray(images)
        restorer, _ = networks(images.shape[1:])
        choice_key, damage_key = jax.random.split(key)
        chosen = jax.random.choice(choice_key, len(images), (_POPULATION_BATCHES, _POPULATION_BATCH))
        batches = jnp.asarray(images[np.asarray(chosen)])  # [12, 64, H, W, C]
        population = _population(restorer, repair, state.training.generator, batches, damage_key)
        return fit(state._replace(normal=state.normal._replace(population=population)), images)

    return Detector(init, update, score, fit_normal, crossed=True, latent=False)


def damaged_example(
    repair: RestorationConfig, images: Float[Array, "batch height width channel"], key: Array
) -> Example:
    """What a step trains on: normal images from another view, in another light; the same with damage; where it is.

    Args:
        repair: The damage.
        images: Normal images in [-1, 1].
        key: Decides everything drawn.
    """
    view_key, light_key, damage_key = jax.random.split(key, 3)
    lit = other_light(light_key, other_view(view_key, images, repair.moved), repair.relit)
    return Example(lit, *damage(damage_key, lit, repair))


def repair_loss(
    images: Float[Array, "batch height width channel"],
    repaired: Float[Array, "batch height width channel"],
    mask: Float[Array, "batch height width"],
) -> Float[Array, ""]:
    """The mean absolute error of all pixels, and once more that of the damaged ones, which are few."""
    error = absolute_error(images, repaired).mean(axis=-1)  # [B, H, W]
    return error.mean() + (error * mask).sum() / (mask.sum() + 1)  # 1, for a batch may have no damage


def damage_loss(
    logits: Float[Array, "batch height width"], mask: Float[Array, "batch height width"]
) -> Float[Array, ""]:
    """Cross-entropy of the damage channel with the mask, and a part of 1 - Dice over the batch, for masks are small."""
    entropy = optax.sigmoid_binary_cross_entropy(logits, mask).mean()
    found = jax.nn.sigmoid(logits)
    dice = (2 * (found * mask).sum() + 1) / (found.sum() + mask.sum() + 1)
    return entropy + _DICE * (1 - dice)


def _repair(
    restorer: nn.Module, params: Any, statistics: Any, images: Array, *, train: bool
) -> tuple[Array, Array, Array]:
    """The repaired images [B, H, W, C], the damage logits [B, H, W] and the generator's features [B, h, w, F]."""
    output: Any = restorer.apply(
        {"params": params, "batch_stats": statistics}, images, train=train, mutable=["batch_stats", "intermediates"]
    )
    (repaired, logits), changed = output
    return repaired, logits, gather_features(changed.get("intermediates", {}), images)


@partial(jax.jit, static_argnames=("restorer", "repair"))
def _population(restorer: nn.Module, repair: RestorationConfig, player: Any, batches: Array, key: Array) -> Any:
    """BatchNorm's statistics over what the generator is trained on: the mean of those of some batches.

    As in algorithm 2 of Ioffe and Szegedy (2015). The images are shown in another light and damaged, as in training.
    Normal images as they are vary far less where all look much the same: by their statistics every grain is enlarged,
    and damage is not seen.

    A training step moves running statistics by a share of the batch's: from zeros, that share of the batch's is left.
    """
    nothing = jax.tree.map(jnp.zeros_like, player.statistics)

    def of_batch(drawn: tuple[Array, Array]) -> Any:
        batch, batch_key = drawn
        given = damaged_example(repair, normalise(batch), batch_key).given
        _, moved = apply_training(restorer, player.params, nothing, given)
        return jax.tree.map(lambda value: value * (1 / NEW_SHARE), moved)

    keys = jax.random.split(key, len(batches))
    return jax.tree.map(lambda values: values.mean(axis=0), lax.map(of_batch, (batches, keys)))
