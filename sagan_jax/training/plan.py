"""Which images each step of an epoch takes: it depends on the key and the epoch alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from sagan_jax.config import TrainingConfig
from sagan_jax.errors import UserError, require


def steps_per_epoch(images: int, config: TrainingConfig) -> int:
    """The most steps that an epoch has: its whole batches, or its share of `steps`.

    Whole batches leave a remainder of the images out, a different one each epoch.

    Raises:
        UserError: If there are fewer images than one batch takes.
    """
    if images < config.batch_size:
        raise UserError(f"{images} training images do not fill one batch of {config.batch_size}; lower the batch size")
    return images // config.batch_size if config.steps is None else -(-config.steps // config.epochs)


def steps_of_epoch(epoch: int, images: int, config: TrainingConfig) -> int:
    """Steps of the epoch with that number from 0: `steps` are spread so that all epochs together have exactly as many.

    Raises:
        UserError: If there are fewer images than one batch takes.
    """
    most = steps_per_epoch(images, config)
    if config.steps is None:
        return most
    return config.steps * (epoch + 1) // config.epochs - config.steps * epoch // config.epochs


def all_steps(images: int, config: TrainingConfig) -> int:
    """Steps of all epochs; raises UserError if there are fewer images than one batch takes."""
    most = steps_per_epoch(images, config)
    return config.epochs * most if config.steps is None else config.steps


class Plan(NamedTuple):
    """What the steps of an epoch take: indices of images `[steps, batch]`, and a key that each folds its number into.

    For many models at once, both have an axis of models in front.
    """

    order: Int[Array, "*models steps batch"]
    key: Array


def plan_epoch(key: Array, epoch: int | Array, images: int, batch_size: int, steps: int | None = None) -> Plan:
    """Plans an epoch over that many images: a permutation of its own for every epoch, cut into batches.

    Args:
        key: The run's.
        epoch: The epoch's number from 0.
        images: How many there are.
        batch_size: How many a step takes.
        steps: How many steps; None for one pass over the images. More take further permutations.

    Raises:
        UserError: If one pass over the images does not fill a batch.
    """
    fills = batch_size >= 1 and (steps is not None or batch_size <= images)
    require(fills, "batch_size", batch_size, f"from 1 to the number of images, {images}")
    order_key, step_key = jax.random.split(jax.random.fold_in(key, epoch))
    if steps is None:
        steps = images // batch_size
        order = jax.random.permutation(order_key, images)
    else:
        passes = -(-steps * batch_size // images)
        keys = jax.random.split(order_key, passes)
        order = jnp.concatenate([jax.random.permutation(key, images) for key in keys])
    return Plan(order[: steps * batch_size].reshape(steps, batch_size), step_key)


def plan_configured_epoch(key: Array, epoch: int | Array, images: int, config: TrainingConfig) -> Plan:
    """The plan of an epoch as the settings want it, of as many steps as the longest epoch has.

    Raises:
        UserError: If the images do not fill one batch.
    """
    steps = steps_per_epoch(images, config)
    return plan_epoch(key, epoch, images, config.batch_size, None if config.steps is None else steps)
