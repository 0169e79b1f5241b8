"""A detector that compiles in no time, for tests of what is around one: it learns a mean image."""

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp

from sagan_jax.detector import Detector, Scores
from sagan_jax.methods.table import Method


def init(key, image_shape):
    return {"mean": jax.random.normal(key, image_shape), "step": jnp.zeros((), jnp.int32)}


def update(rate, state, batch, key):
    noise = jax.random.normal(key, batch.shape[1:])
    error = batch.mean(axis=0) + 0.01 * noise - state["mean"]
    loss = (error**2).mean()
    return {"mean": state["mean"] + rate * error, "step": state["step"] + 1}, {"generator_loss": loss}


def score(state, images, statistics="running"):
    reconstructed = jnp.broadcast_to(state["mean"], images.shape)
    errors = jnp.abs(images - reconstructed).mean(axis=-1)
    total = errors.mean(axis=(1, 2))
    return Scores(total, total, jnp.zeros_like(total), errors, reconstructed)


@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    """The mean image's one setting."""

    rate: float = 0.1
    """How far a step moves it to the mean of the batch."""


@lru_cache
def mean(settings, steps=None):
    return Detector(init, partial(update, settings.rate), score)


MEAN = mean(MeanConfig())
METHOD = Method("mean", {"paper": MeanConfig()}, mean, batch_size=8)
