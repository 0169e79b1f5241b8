"""A detector that compiles in no time, for tests of what is around one: it learns a mean image."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sagan_jax.detector import Detector, Scores
from sagan_jax.methods.table import Method


def init(key, image_shape):
    return {"mean": jax.random.normal(key, image_shape), "step": jnp.zeros((), jnp.int32)}


def update(state, batch, key):
    noise = jax.random.normal(key, batch.shape[1:])
    error = batch.mean(axis=0) + 0.01 * noise - state["mean"]
    loss = (error**2).mean()
    return {"mean": state["mean"] + 0.1 * error, "step": state["step"] + 1}, {"generator_loss": loss}


def score(state, images, statistics="running"):
    reconstructed = jnp.broadcast_to(state["mean"], images.shape)
    errors = jnp.abs(images - reconstructed).mean(axis=-1)
    total = errors.mean(axis=(1, 2))
    return Scores(total, total, jnp.zeros_like(total), errors, reconstructed)


MEAN = Detector(init, update, score)


@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    """The mean image has no settings."""


METHOD = Method("mean", lambda preset: MeanConfig(), lambda settings, steps: MEAN, batch_size=8)
