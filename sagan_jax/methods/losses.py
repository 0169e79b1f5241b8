"""Elementwise losses; the caller reduces."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def absolute_error(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """|x - y|, the reconstruction loss before its mean (paper eq. 1)."""
    return jnp.abs(x - y)


def squared_error(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """(x - y)², the latent loss before its mean (paper eq. 2) and both terms of the score (eq. 5)."""
    return jnp.square(x - y)


def binary_cross_entropy(logits: Float[Array, "..."], target: float) -> Float[Array, "..."]:
    """Binary cross-entropy against one constant target, computed from logits (paper eq. 3).

    Args:
        logits: Any real numbers; the sigmoid is taken here, without overflow.
        target: 1.0 for "real", 0.0 for "generated".

    Returns:
        The loss of each logit, at least 0.
    """
    return jax.nn.softplus(logits) - target * logits
