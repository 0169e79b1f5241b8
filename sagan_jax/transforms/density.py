"""A score of how far an image is from normal ones, corrected for how complicated it is.

The reconstruction error of this literature mostly measures how complicated an image is. Here an image is compared with
the normal training images instead, and what its complexity alone would explain is subtracted:

1. A space is fitted in which two views of one image lie close (`patch_features`).
2. In it, the mean distance to the nearest normal images is taken, by angle.
3. From its logarithm is subtracted what a quadratic regression on the image's complexity expects of a normal image:
   on its brightness, contrast and edges, and the method's own terms R and L.

All of it is fitted in closed form on normal training images, after an epoch of training, and kept in the state.
"""

from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from sagan_jax.config import DensityConfig, Scoring
from sagan_jax.data.image_array import check_images
from sagan_jax.detector import Detector, Images, Metrics, Scores, State, Statistics, normalise
from sagan_jax.errors import UserError
from sagan_jax.transforms.patch_features import FEATURE_BATCH, Space, batches, fit_space, mean_pool, place

TERMS = 11
"""What `complexity` measures of an image."""


class Regression(NamedTuple):
    """Quadratic, of log distance on Q terms of complexity.

    Attributes:
        mean: Of each term over normal images, `float32 [Q]`.
        scale: Its standard deviation, `float32 [Q]`.
        weights: `float32 [1 + Q + Q (Q + 1) / 2]`.
    """

    mean: Float[Array, " terms"]
    scale: Float[Array, " terms"]
    weights: Float[Array, " weights"]


class Density(NamedTuple):
    """What is fitted on normal images.

    Attributes:
        space: What distances are measured in.
        bank: Normal images in it, unit vectors, `float32 [N, D]`.
        expected: The log distance to be expected of a normal image as complicated as this one.
    """

    space: Space
    bank: Float[Array, "kept directions"]
    expected: Regression


class DensityState(NamedTuple):
    """A method's state and, beside it, the density of normal images."""

    method: State
    density: Density


def scored_by(scoring: Scoring, detector: Detector, images: int) -> Detector:
    """The detector with its own score, or with a density score, fitted on as many of the images as its settings allow.

    Raises:
        UserError: If there are too few images.
    """
    if scoring == "method":
        return detector
    config = DensityConfig()
    kept, components = min(config.kept, images), min(config.components, images // 2)
    if components < config.directions:
        raise UserError(
            f"there are {images} images to fit a density on; --scoring=density needs at least {2 * config.directions}"
        )
    return with_density(detector, replace(config, kept=kept, components=components))


@lru_cache(maxsize=32)
def with_density(detector: Detector, config: DensityConfig) -> Detector:
    """The same method, trained as it is, with its score replaced by the distance from normal images.

    R, L, the map and the reconstruction remain the method's own. Until `fit_normal` has been called, no score is a
    number.

    Args:
        detector: Any method.
        config: The density's settings.

    Returns:
        The detector; its state is a `DensityState`. The same arguments give the same functions.
    """

    def init(key: Array, image_shape: tuple[int, ...]) -> DensityState:
        features = 8 * config.filters
        space = Space(
            kernel=jnp.zeros((config.patch, config.patch, image_shape[-1], config.filters)),
            offset=jnp.zeros(config.filters),
            mean=jnp.zeros(features),
            directions=jnp.zeros((features, config.directions)),
        )
        unknown = jnp.full(1 + TERMS + TERMS * (TERMS + 1) // 2, jnp.nan)
        expected = Regression(jnp.zeros(TERMS), jnp.ones(TERMS), unknown)
        density = Density(space, jnp.zeros((config.kept_of(image_shape), config.directions)), expected)
        return DensityState(detector.init(key, image_shape), density)

    def update(state: DensityState, batch: Array, key: Array) -> tuple[DensityState, Metrics]:
        method, metrics = detector.update(state.method, batch, key)
        return state._replace(method=method), metrics

    def score(state: DensityState, images: Array, statistics: Statistics = "running") -> Scores:
        scores = detector.score(state.method, images, statistics=statistics)
        space, bank, expected = state.density
        points = place(space, images)  # [B, D]
        terms = complexity(images, points, scores.reconstruction, scores.latent)
        distance = nearest_distance(bank, unit(points), config.neighbours)
        return scores._replace(total=distance - predict(expected, terms))

    def fit_normal(state: DensityState, images: Images, key: Array) -> DensityState:
        check_images(images)
        method = detector.fit_normal(state.method, images, key) if detector.fit_normal else state.method
        return DensityState(method, fit_density(detector, method, images, key, config))

    return Detector(init, update, score, fit_normal, latent=detector.latent)


def fit_density(detector: Detector, state: State, images: Images, key: Array, config: DensityConfig) -> Density:
    """Fits the density of normal images on a random part of them.

    Args:
        detector: The method, for its terms R and L.
        state: The method's state.
        images: Normal training images, `uint8 [N, H, W, C]`.
        key: Of all that is random.
        config: The density's settings.
    """
    images, space_key = choose_kept(images, key, config)
    viewed = images[: config.viewed]
    space = fit_space(viewed, space_key, config)
    points = jnp.concatenate([place(space, normalise(batch)) for _, batch in batches(images)])
    bank = unit(points)
    terms = [
        complexity(normalise(batch), points[start : start + len(batch)], *_own_terms(detector, state, batch))
        for start, batch in batches(viewed)
    ]
    target = bank_distance(bank, len(viewed), config.neighbours)
    return Density(space, bank, fit_regression(jnp.concatenate(terms), target))


def choose_kept(
    images: Images, key: Array, config: DensityConfig
) -> tuple[UInt8[Array | np.ndarray, "kept height width channel"], Array]:
    """The images that are kept, and a key for the rest. Raises UserError if there are fewer than that."""
    kept = config.kept_of(images.shape[1:])
    if len(images) < kept:
        raise UserError(f"the density keeps {kept} normal images and there are {len(images)}")
    choice_key, key = jax.random.split(key)
    chosen = jax.random.permutation(choice_key, len(images))[:kept]
    return images[np.asarray(chosen)], key


@partial(jax.jit, static_argnames="detector")
def _own_terms(
    detector: Detector, state: State, images: UInt8[Array, "batch height width channel"]
) -> tuple[Array, Array]:
    """The method's own R and L of uint8 images, `float32 [B]` each."""
    scores = detector.score(state, normalise(images))
    return scores.reconstruction, scores.latent


def unit(points: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Each row divided by its length."""
    return points / length(points)[:, None]


def length(points: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Each row's length, a little more than 0."""
    return jnp.sqrt(jnp.square(points).sum(axis=-1) + 1e-12)


def _log_distance(cosines: Float[Array, "n neighbours"]) -> Float[Array, " n"]:
    """Logarithm of the mean distance on the unit sphere."""
    return jnp.log(jnp.sqrt(jnp.maximum(2.0 - 2.0 * cosines, 1e-6)).mean(axis=-1))


def nearest_distance(
    bank: Float[Array, "n d"], points: Float[Array, "batch d"], neighbours: int
) -> Float[Array, " batch"]:
    """Log distance of unit vectors to the nearest of the bank's."""
    return _log_distance(jax.lax.top_k(points @ bank.T, neighbours)[0])  # [B, N] -> [B, neighbours]


def bank_distance(bank: Float[Array, "n d"], count: int, neighbours: int) -> Float[Array, " count"]:
    """The log distance of each of the first kept images, as many as that, to the nearest others of all."""

    def one(index: Array) -> Array:
        cosines = (bank @ bank[index]).at[index].set(-1.0)  # an image is not its own neighbour
        return jax.lax.top_k(cosines, neighbours)[0]

    return _log_distance(jax.lax.map(one, jnp.arange(count), batch_size=FEATURE_BATCH))


@jax.jit
def complexity(images: Array, points: Array, reconstruction: Array, latent: Array) -> Float[Array, "batch terms"]:
    """How complicated images are: brightness, contrast, colour, fine and coarse edges, R, L, length of the features.

    Args:
        images: `float32 [B, H, W, C]` in [-1, 1].
        points: Where they lie, `float32 [B, D]`.
        reconstruction: The method's R of them, `float32 [B]`.
        latent: Its L, `float32 [B]`.
    """
    grey = images.mean(axis=-1)  # [B, H, W]
    coarse = mean_pool(images, 4).mean(axis=-1)  # [B, H / 4, W / 4]

    def edges(x: Array) -> list[Array]:
        return [jnp.log(jnp.abs(jnp.diff(x, axis=axis)).mean(axis=(1, 2)) + 1e-3) for axis in (1, 2)]

    terms = [
        grey.mean(axis=(1, 2)),
        grey.std(axis=(1, 2)),
        images.std(axis=(1, 2, 3)),
        (images.max(axis=-1) - images.min(axis=-1)).mean(axis=(1, 2)),
        *edges(grey),
        *edges(coarse),
        jnp.log(length(points)),
        jnp.log(reconstruction + 1e-6),
        jnp.log(latent + 1e-6),
    ]
    return jnp.stack(terms, axis=-1)


def quadratic(terms: Float[Array, "n terms"]) -> Float[Array, "n weights"]:
    """1, the terms, and the products of every two."""
    rows, columns = jnp.triu_indices(terms.shape[-1])
    return jnp.concatenate([jnp.ones_like(terms[:, :1]), terms, terms[:, rows] * terms[:, columns]], axis=-1)


def fit_regression(terms: Float[Array, "n terms"], target: Float[Array, " n"]) -> Regression:
    """Least squares with a ridge of 1 on terms of mean 0 and variance 1; one that never varies has the weight 0."""
    mean, scale = terms.mean(axis=0), jnp.maximum(terms.std(axis=0), 1e-3)
    design = quadratic((terms - mean[None]) / scale[None])
    weights = jnp.linalg.solve(design.T @ design + jnp.eye(design.shape[1]), design.T @ target)
    return Regression(mean, scale, weights)


def predict(regression: Regression, terms: Float[Array, "n terms"]) -> Float[Array, " n"]:
    """The log distance expected given the terms."""
    return quadratic((terms - regression.mean[None]) / regression.scale[None]) @ regression.weights
