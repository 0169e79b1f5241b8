"""The optimisers of a method's networks, and their learning rate over training."""

from functools import partial
from math import prod
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from sagan_jax.config import AdversarialConfig, GanConfig

_LEAST_SIDE = 6
"""A matrix whose shorter side is below this has few directions to keep apart: Adam trains it."""
_UPDATE_SIZE = 0.2
"""Root mean square of Muon's update for a learning rate of 1: about that of Adam's (Liu et al. 2025, section 2.2)."""


def adam(config: GanConfig, steps: int | None) -> optax.GradientTransformation:
    """Adam with the settings' learning rate.

    Args:
        config: Learning rate, its decay, Adam's decays.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.
    """
    return optax.adam(learning_rate(config, steps), b1=config.beta1, b2=config.beta2)


def optimisers(
    config: AdversarialConfig, steps: int | None
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The generator's and the discriminator's: Adam; or, for the generator's convolutions that mix channels, Muon.

    Muon (Jordan et al. 2024) takes the mean gradient of a weight matrix and sets its singular values to about 1, so
    that directions which gradients seldom have are learned as fast as the others. `beta1` is the decay of that mean.

    Args:
        config: Which one, and its settings.
        steps: Training steps in all, for a decaying learning rate; None keeps it constant.
    """
    of_discriminator = adam(config, steps)
    if config.optimiser == "adam":
        return of_discriminator, of_discriminator
    of_generator = muon(
        learning_rate(config, steps),
        beta=config.beta1,
        adam_b1=config.beta1,
        adam_b2=config.beta2,
        preconditioning="aol",  # with it, three iterations do what five do without
        ns_steps=3,
        consistent_rms=_UPDATE_SIZE,
        muon_weight_dimension_numbers=partial(jax.tree_util.tree_map_with_path, _matrix),
    )
    return of_generator, of_discriminator


def learning_rate(config: GanConfig, steps: int | None) -> optax.ScalarOrSchedule:
    """Constant, or over `steps` down to zero: half a cosine, or constant for the first half and then linear.

    The latter is the paper's "lambda decay" (section 3).
    """
    if config.decay == "constant" or steps is None:
        return config.learning_rate
    if config.decay == "cosine":
        return optax.cosine_decay_schedule(config.learning_rate, steps)
    constant_steps = steps // 2
    return optax.linear_schedule(config.learning_rate, 0.0, steps - constant_steps, constant_steps)


def _matrix(path: tuple[Any, ...], weight: Any) -> MuonDimensionNumbers | None:
    """Which axes of a weight are its inputs and which its outputs, if it is a matrix that Muon trains.

    A depthwise kernel is none: each of its channels has weights of its own.
    """
    *inputs, outputs = weight.shape
    if len(inputs) < 2 or path[-1].key == "depthwise_kernel" or min(prod(inputs), outputs) < _LEAST_SIDE:
        return None
    return MuonDimensionNumbers(tuple(range(len(inputs))), (len(inputs),))
