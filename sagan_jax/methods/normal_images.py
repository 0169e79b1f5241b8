"""What is known of normal images beside the networks that repair them: fitted after each epoch, without test images.

Half of the normal images are read by what is known of the other half, and the other way round: the readings of an image
that is known itself would be too low for new ones.
"""

from collections.abc import Callable
from functools import partial
from math import gcd
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sagan_jax.data.split import even_part
from sagan_jax.detector import Images, State, normalise
from sagan_jax.methods.feature_distance import (
    FeatureSums,
    NormalFeatures,
    example_count,
    fit_features,
    no_features,
    sum_features,
    with_examples,
)
from sagan_jax.methods.repair_map import Level, fit_components, fit_level, no_components, no_level

_HALF, _HALF_BATCH = 128, 32
"""At most this many images of each half say what normal features and readings are; and how many go at a time."""
_CROSSED = 8
"""From this many images on, they are read by what is known of others."""


class Normal(NamedTuple):
    """What is known of normal images.

    Attributes:
        population: The statistics that BatchNorm normalises by when scoring: those of what it was trained on.
        mean: The mean of images reduced to 64 pixels a side at most, in [-1, 1], `float32 [h, w, C]`.
        components: Their principal components, `float32 [128, h, w, C]`; zeros where there are fewer.
        features: What the generator's features are like.
        level: What the readings of the map come to.
    """

    population: Any
    mean: Array
    components: Array
    features: NormalFeatures
    level: Level


OfImages = Callable[[State, Array], Array]
"""What a state, whose field `normal` is a `Normal`, finds in images `float32 [B, H, W, C]` in [-1, 1]."""


def no_normal(population: Any, image_shape: tuple[int, ...], features: int) -> Normal:
    """What is known before any images were seen.

    Args:
        population: BatchNorm's statistics.
        image_shape: [H, W, C].
        features: How many features a cell has.
    """
    return Normal(population, *no_components(image_shape), no_features(image_shape, features), no_level())


def normal_fit(features_of: OfImages, worst_of: OfImages) -> Callable[[State, Images], State]:
    """How all but the population is fitted.

    Args:
        features_of: The generator's features, `[B, h, w, F]`.
        worst_of: The mean of the worst pixels of each reading of the map, `[5, B]`.

    Returns:
        From a state with the population, and normal images `uint8 [N, H, W, C]`, to the state with the rest.
    """

    @jax.jit
    def features_of_batch(state: State, batch: Array) -> Array:
        return features_of(state, normalise(batch))

    @jax.jit
    def summed(state: State, batches: Array, counted: Array, origin: Array) -> FeatureSums:
        """The sums of the features of batches [N, B, H, W, C], of which images count [N, B]."""

        def of_batch(given: tuple[Array, Array]) -> FeatureSums:
            batch, counts = given
            return sum_features(features_of_batch(state, batch), counts, origin)

        return jax.tree.map(lambda sums: sums.sum(axis=0), lax.map(of_batch, (batches, counted)))

    @jax.jit
    def compared(state: State, mean: Array, whitening: Array, images: Array) -> NormalFeatures:
        """What is known of normal features, with those of these images [N, H, W, C] to compare with."""
        cut = images.reshape(-1, gcd(len(images), _HALF_BATCH), *images.shape[1:])
        found = lax.map(partial(features_of_batch, state), cut)
        return with_examples(mean, whitening, found.reshape(len(images), *found.shape[2:]))

    @jax.jit
    def worst(state: State, batches: Array) -> Array:
        """The worst pixels of each reading of each image of batches [N, B, H, W, C]: [5, N * B]."""
        found = lax.map(lambda batch: worst_of(state, normalise(batch)), batches)
        return jnp.concatenate(list(found), axis=1)

    def fit(state: State, images: Images) -> State:
        images = np.asarray(images)

        def knowing(others: np.ndarray, sums: FeatureSums, level: Level) -> State:
            count = example_count(others.shape[1:])
            examples = np.resize(even_part(others, count), (count, *others.shape[1:]))  # repeated where there are fewer
            features = compared(state, *fit_features(sums, origin), jnp.asarray(examples))
            normal = Normal(state.normal.population, *fit_components(others), features, level)
            return state._replace(normal=normal)

        halves = (images[::2], images[1::2]) if len(images) >= _CROSSED else (images, images)
        parts = [_batched(half) for half in halves]
        origin = features_of_batch(state, parts[0][0][0]).mean(axis=0)  # [h, w, F]
        sums = [summed(state, *part, origin) for part in parts]
        found = []
        for (part, counted), other, known in zip(parts, halves[::-1], sums[::-1], strict=True):
            values = worst(knowing(other, known, no_level()), part)  # [5, N * B]
            found.append(np.asarray(values)[:, np.asarray(counted).ravel() > 0])
        level = fit_level(jnp.asarray(np.concatenate(found, axis=1)))
        return knowing(images, jax.tree.map(jnp.add, *sums), level)

    return fit


def _batched(images: np.ndarray) -> tuple[Array, Array]:
    """An even part of the images in batches [4, 32, H, W, C], filled up; and which of them count [4, 32].

    Always as many batches, so that one program serves any number of images.
    """
    part = even_part(images, _HALF)
    places = np.arange(_HALF)
    counted = (places < len(part)).astype(np.float32).reshape(-1, _HALF_BATCH)
    filled = part[np.minimum(places, len(part) - 1)].reshape(*counted.shape, *part.shape[1:])
    return jnp.asarray(filled), jnp.asarray(counted)
