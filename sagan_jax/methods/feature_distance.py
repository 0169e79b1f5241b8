"""How unfamiliar a network's features are: their distance from those of normal images, place by place.

The features of a network that learned to find damage tell more kinds of defects than the damage it learned (Li et al.
2021, CutPaste). Two distances say how unusual they are: Mahalanobis's from normal features at the same place (Defard et
al. 2021, PaDiM), and that to the nearest of some normal images there or beside it (after Roth et al. 2022, PatchCore).
Here one covariance serves all places, so that few images are enough.
"""

from collections.abc import Mapping
from functools import reduce
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.ops.cells import cell_means, repeat_cells

_CELL = 4
"""Side in pixels of the cells that features are averaged over."""
_SHRINKAGE = 0.003
"""This share of the mean variance is added to each feature's, so that the covariance can be inverted."""
_EXAMPLES, _EXAMPLE_CELLS = (16, 128), 65536
"""How many normal images are compared with: the fewest, the most, and in between so that they have this many cells."""
_DIRECTIONS = 64
"""How many directions features are compared along: those in which normal ones vary most."""
_BESIDE = 3
"""Side in cells of the square in which the nearest is looked for."""
_LEAST_APART = 0.01
"""Nothing is nearer: normal images that are copies of each other would say that all others are far away."""


class NormalFeatures(NamedTuple):
    """What the features of normal images are like.

    Attributes:
        mean: Of each cell, `float32 [h, w, F]`.
        whitening: Takes the difference from the mean to one whose sum of squares is the distance, `float32 [F, F]`; the
            direction in which normal features vary most comes first.
        examples: Some normal images' whitened differences, along the first of those directions, `float32 [h, w, D, N]`.
    """

    mean: Array
    whitening: Array
    examples: Array


class FeatureSums(NamedTuple):
    """Sums over images of which the normal features are made; those of two sets add up.

    They are of the features less an origin near their mean: of images that look much alike the features are far larger
    than their differences, which float32 would lose.

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
    height, width = layer.shape[1:3]
    if height > side[0]:
        return cell_means(layer, height // side[0], width // side[1])
    return repeat_cells(layer, side[0] // height, side[1] // width)


def sum_features(
    features: Float[Array, "batch height width feature"],
    counted: Float[Array, " batch"],
    origin: Float[Array, "height width feature"],
) -> FeatureSums:
    """The sums over a batch.

    Args:
        features: From `gather_features`.
        counted: 1 for an image that counts, 0 for one that only fills the batch.
        origin: Taken off the features: the same for all sums that are added up.
    """
    apart = features - origin[None]
    weighted = apart * counted[:, None, None, None]
    products = jnp.einsum("bhwf,bhwg->fg", weighted, apart, precision=lax.Precision.HIGHEST)
    return FeatureSums(counted.sum(), weighted.sum(axis=0), products)


def no_features(image_shape: tuple[int, ...], features: int) -> NormalFeatures:
    """The normal features before any images were seen: every distance is 0."""
    height, width, _ = image_shape
    side = (height // _CELL, width // _CELL)
    examples = jnp.zeros((*side, min(_DIRECTIONS, features), example_count(image_shape)))
    return NormalFeatures(jnp.zeros((*side, features)), jnp.zeros((features, features)), examples)


def example_count(image_shape: tuple[int, ...]) -> int:
    """How many normal images of that shape are compared with: the larger, the fewer; a multiple of 16."""
    fewest, most = _EXAMPLES
    cells = image_shape[0] // _CELL * (image_shape[1] // _CELL)
    return max(fewest, min(most, _EXAMPLE_CELLS // cells // fewest * fewest))


def fit_features(
    sums: FeatureSums, origin: Float[Array, "cell_height cell_width feature"]
) -> tuple[Float[Array, "cell_height cell_width feature"], Float[Array, "feature feature"]]:
    """The mean of each cell, and the whitening of the covariance around it that all cells share.

    Args:
        sums: Of normal images.
        origin: What was taken off their features.
    """
    images, total, products = (np.asarray(value, np.float64) for value in sums)
    apart = total / images  # [h, w, F]
    cells, features = apart.shape[0] * apart.shape[1], apart.shape[2]
    flat = apart.reshape(cells, features)
    covariance = (products / images - flat.T @ flat) / cells
    least = _SHRINKAGE * np.trace(covariance) / max(1, features) + 1e-12
    variances, directions = np.linalg.eigh(covariance)  # from the least to the greatest
    variances = np.maximum(variances, 0) + least  # rounding may leave some a little below 0
    root = (directions / np.sqrt(variances * max(1, features)))[:, ::-1]
    return jnp.asarray(np.asarray(origin) + apart, jnp.float32), jnp.asarray(root, jnp.float32)


def with_examples(
    mean: Float[Array, "cell_height cell_width feature"],
    whitening: Float[Array, "feature feature"],
    features: Float[Array, "example cell_height cell_width feature"],
) -> NormalFeatures:
    """What is known of normal features, with those of some normal images to compare with.

    Args:
        mean: From `fit_features`.
        whitening: From `fit_features`.
        features: From `gather_features`, of as many images as `example_count` says.
    """
    examples = _whitened(features, mean, whitening)[..., :_DIRECTIONS].transpose(1, 2, 3, 0)
    return NormalFeatures(mean, whitening, examples)


def _whitened(features: Float[Array, "batch height width feature"], mean: Array, whitening: Array) -> Array:
    return jnp.einsum("bhwf,fg->bhwg", features - mean[None], whitening, precision=lax.Precision.HIGHEST)


def unfamiliar(
    features: Float[Array, "batch cell_height cell_width feature"],
    normal: NormalFeatures,
    image_shape: tuple[int, ...],
) -> Float[Array, "batch height width"]:
    """The squared distance of each cell, divided by the root of the image's own (its geometric mean): 0 or more.

    It is the geometric mean of Mahalanobis's distance and of the one to the nearest example. It is divided halfway to
    its share of the image's: a new surface is unusual everywhere, a defect in places.

    Args:
        features: From `gather_features`.
        normal: From `with_examples`.
        image_shape: [H, W, C] of the images.
    """
    whitened = _whitened(features, normal.mean, normal.whitening)  # [B, h, w, F]
    nearest = _nearest(whitened[..., :_DIRECTIONS], normal.examples)
    distance = jnp.sqrt(jnp.square(whitened).sum(axis=-1) * nearest)  # [B, h, w]
    usual = jnp.log(distance + 1e-6).mean(axis=(1, 2), keepdims=True)
    relative = distance * jnp.exp(-0.5 * usual)
    height, width = distance.shape[1:]
    return repeat_cells(relative, image_shape[0] // height, image_shape[1] // width)


def _nearest(
    points: Float[Array, "batch height width direction"], examples: Float[Array, "height width direction example"]
) -> Float[Array, "batch height width"]:
    """The squared distance of each point to the nearest example of its cell and of those beside it, at least 0.01.

    Each cell's examples are read once, and compared with the points of all cells around: they are far more than the
    points are.
    """
    batch, height, width, directions = points.shape
    edge = (_BESIDE - 1) // 2
    beside = list(product(range(-edge, edge + 1), repeat=2))
    around = jnp.stack([_moved(points, row, column) for row, column in beside])
    around = around.transpose(2, 3, 0, 1, 4).reshape(height, width, len(beside) * batch, directions)  # [h, w, 9 * B, D]
    products = jnp.einsum("hwpd,hwdn->hwpn", around, examples, precision=lax.Precision.HIGHEST)
    least = (jnp.square(examples).sum(axis=2)[:, :, None] - 2 * products).min(axis=-1)  # [h, w, 9 * B]
    least = least.reshape(height, width, len(beside), batch).transpose(2, 3, 0, 1)[..., None]  # [9, B, h, w, 1]
    found = [
        jnp.where(_inside((height, width), -row, -column), _moved(least[place], -row, -column)[..., 0], jnp.inf)
        for place, (row, column) in enumerate(beside)
    ]
    apart = reduce(jnp.minimum, found) + jnp.square(points).sum(axis=-1)
    return jnp.maximum(apart, _LEAST_APART)


def _moved(maps: Float[Array, "batch height width channel"], row: int, column: int) -> Array:
    """Maps of which each place has what is that many rows and columns further; beyond an edge, the edge comes again."""
    for axis, by in ((1, row), (2, column)):
        size = maps.shape[axis]
        rest = lax.slice_in_dim(maps, max(by, 0), size + min(by, 0), axis=axis)
        edge = [lax.index_in_dim(maps, size - 1 if by > 0 else 0, axis)] * abs(by)
        maps = jnp.concatenate([rest, *edge] if by > 0 else [*edge, rest], axis)
    return maps


def _inside(shape: tuple[int, int], row: int, column: int) -> Array:
    """Which places have something that many rows and columns further, `bool [1, h, w]`."""
    down, across = (np.eye(size, k=by).any(axis=1) for size, by in zip(shape, (row, column), strict=True))
    return jnp.asarray(np.outer(down, across)[None])
