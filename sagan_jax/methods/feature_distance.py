"""How unfamiliar a network's features are: their distance from those of normal images, place by place.

The features of a network that learned to find damage tell more kinds of defects than the damage it learned (Li et al.
2021, CutPaste); their Mahalanobis distance from normal features at the same place says how unusual they are (Defard et
al. 2021, PaDiM). Here one covariance serves all places, so that few images are enough.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

_CELL = 4
"""Side in pixels of the cells that features are averaged over."""
_SHRINKAGE = 0.003
"""This share of the mean variance is added to each feature's, so that the covariance can be inverted."""


class NormalFeatures(NamedTuple):
    """What the features of normal images are like.

    Attributes:
        mean: Of each cell, `float32 [h, w, F]`.
        whitening: Takes the difference from the mean to one whose mean square is the distance, `float32 [F, F]`.
    """

    mean: Array
    whitening: Array


class FeatureSums(NamedTuple):
    """Sums over images of which the normal features are made; those of two sets add up.

    Attributes:
        images: How many, a float.
        total: Of the features of each cell, `float32 [h, w, F]`.
        products: Of the products of two features, over all cells, `float32 [F, F]`.
    """

    images: Array
    total: Array
    products: Array


def gather_features(
    layers: Mapping[str, Any], images: Float[Array, "batch height width channel"]
) -> Float[Array, "batch cell_height cell_width feature"]:
    """The outputs of a network's layers, averaged over cells of 4 x 4 pixels, or repeated, and joined.

    Args:
        layers: Flax's collection "intermediates": maps [B, H, W, C] whose sides are those of the images halved some
            times. Without any, there are no features, and no distance.
        images: What the network was given.
    """
    side = (images.shape[1] // _CELL, images.shape[2] // _CELL)
    maps = [_on_grid(layer.astype(jnp.float32), side) for layer in jax.tree.leaves(layers)]
    if not maps:
        return jnp.zeros((images.shape[0], *side, 0))
    return jnp.concatenate(maps, axis=-1)  # [B, h, w, F]


def _on_grid(layer: Float[Array, "batch height width channel"], side: tuple[int, int]) -> Array:
    batch, height, width, channels = layer.shape
    if height > side[0]:
        cells = layer.reshape(batch, side[0], height // side[0], side[1], width // side[1], channels)
        return cells.mean(axis=(2, 4))
    return jnp.repeat(jnp.repeat(layer, side[0] // height, axis=1), side[1] // width, axis=2)


def sum_features(features: Float[Array, "batch height width feature"], counted: Float[Array, " batch"]) -> FeatureSums:
    """The sums over a batch.

    Args:
        features: From `gather_features`.
        counted: 1 for an image that counts, 0 for one that only fills the batch.
    """
    weighted = features * counted[:, None, None, None]
    products = jnp.einsum("bhwf,bhwg->fg", weighted, features, precision=lax.Precision.HIGHEST)
    return FeatureSums(counted.sum(), weighted.sum(axis=0), products)


def no_features(image_shape: tuple[int, ...], features: int) -> NormalFeatures:
    """The normal features before any images were seen: every distance is 0."""
    height, width, _ = image_shape
    return NormalFeatures(jnp.zeros((height // _CELL, width // _CELL, features)), jnp.zeros((features, features)))


def fit_features(sums: FeatureSums) -> NormalFeatures:
    """The mean of each cell, and the whitening of the covariance around it that all cells share."""
    images, total, products = (np.asarray(value, np.float64) for value in sums)
    mean = total / images  # [h, w, F]
    cells, features = mean.shape[0] * mean.shape[1], mean.shape[2]
    flat = mean.reshape(cells, features)
    covariance = (products / images - flat.T @ flat) / cells
    least = np.trace(covariance) / max(1, features)
    covariance += (_SHRINKAGE * least + 1e-12) * np.eye(features)
    root = np.linalg.inv(np.linalg.cholesky(covariance)).T / max(1, features) ** 0.5
    return NormalFeatures(jnp.asarray(mean, jnp.float32), jnp.asarray(root, jnp.float32))


def unfamiliar(
    features: Float[Array, "batch cell_height cell_width feature"],
    normal: NormalFeatures,
    image_shape: tuple[int, ...],
) -> Float[Array, "batch height width"]:
    """The squared distance of each cell, divided by the root of the image's own (its geometric mean): 0 or more.

    Halfway between the distance and its share of the image's: a new surface is unusual everywhere, a defect in places.

    Args:
        features: From `gather_features`.
        normal: From `fit_features`.
        image_shape: [H, W, C] of the images.
    """
    difference = jnp.einsum(
        "bhwf,fg->bhwg", features - normal.mean[None], normal.whitening, precision=lax.Precision.HIGHEST
    )
    distance = jnp.square(difference).sum(axis=-1)  # [B, h, w]
    usual = jnp.log(distance + 1e-6).mean(axis=(1, 2), keepdims=True)
    relative = distance * jnp.exp(-0.5 * usual)
    return jnp.repeat(
        jnp.repeat(relative, image_shape[0] // distance.shape[1], axis=1), image_shape[1] // distance.shape[2], axis=2
    )
