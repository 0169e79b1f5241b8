"""A space in which views of one image lie close, and different normal images apart; fitted in closed form.

Filters are found by k-means on whitened patches, their responses thresholded and averaged over quarters of the image
(Coates & Ng, "Learning feature representations with k-means", 2012). Within the principal components of these
features, directions are kept in which images differ most, compared with crops, mirrorings and colour changes of one
image: Fisher's discriminant with each image as its own class.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sagan_jax.config import DensityConfig
from sagan_jax.detector import Images, normalise
from sagan_jax.ops.cells import cell_means

FEATURE_BATCH = 100
"""Images processed at once while fitting."""
_LARGEST_SIDE = 32
"""Side in pixels that larger images are averaged down to before patches are taken."""
THRESHOLD = 0.25
"""Responses of a filter below this count as zero."""
CONTRAST_FLOOR = 2.5e-3
"""Added to a patch's variance, of pixels in [-1, 1]: flat patches stay flat."""


class Space(NamedTuple):
    """The space that distances are measured in: F = 8 K features, D directions.

    Attributes:
        kernel: The patch filters, whitening included, `float32 [P, P, C, K]`.
        offset: What they give for the mean patch, `float32 [K]`.
        mean: Mean features of normal images, `float32 [F]`.
        directions: From features to the space, `float32 [F, D]`; normal images have variance 1 along each.
    """

    kernel: Float[Array, "patch patch channel filters"]
    offset: Float[Array, " filters"]
    mean: Float[Array, " features"]
    directions: Float[Array, "features directions"]


def batches(images: Array | np.ndarray) -> Iterator[tuple[int, Array]]:
    """Images by the hundred, each batch with the index of its first."""
    return (
        (start, jnp.asarray(images[start : start + FEATURE_BATCH])) for start in range(0, len(images), FEATURE_BATCH)
    )


@jax.jit
def place(space: Space, images: Float[Array, "batch height width channel"]) -> Float[Array, "batch directions"]:
    """The places of images in the space, `[B, D]`."""
    return (features(space.kernel, space.offset, shrink(images)) - space.mean[None]) @ space.directions


@jax.jit
def features(
    kernel: Float[Array, "patch patch channel filters"], offset: Float[Array, " filters"], images: Array
) -> Float[Array, "batch features"]:
    """Square roots of the mean responses, of either sign, of each filter in each quarter of the image.

    A response is that of the patch less its mean and divided by its standard deviation.
    """
    size = kernel.shape[0]

    def convolve(x: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    moments = jnp.stack([images.mean(axis=-1), jnp.square(images).mean(axis=-1)], axis=-1)  # [B, H, W, 2]
    box = jnp.full((size, size, 1, 1), 1.0 / size**2)
    mean, square = (convolve(moments[..., i : i + 1], box) for i in range(2))  # [B, h, w, 1]
    response = convolve(images, kernel) - mean * kernel.sum(axis=(0, 1, 2))[None, None, None]
    response = response / jnp.sqrt(jnp.maximum(square - mean**2, 0.0) + CONTRAST_FLOOR)
    response = response - offset[None, None, None]  # [B, h, w, K]
    h, w = response.shape[1] // 2, response.shape[2] // 2
    rest = response.shape[1] - h, response.shape[2] - w
    quarters = [
        jnp.maximum(sign * part - THRESHOLD, 0.0).mean(axis=(1, 2))
        for sign in (1.0, -1.0)
        for rows in (response[:, :h], response[:, -rest[0] :])
        for part in (rows[:, :, :w], rows[:, :, -rest[1] :])
    ]
    return jnp.sqrt(jnp.concatenate(quarters, axis=-1))  # [B, 8 K]


def shrink(images: Array) -> Array:
    """Images averaged down to 32 pixels if they are larger."""
    factor = images.shape[1] // _LARGEST_SIDE
    return mean_pool(images, factor) if factor > 1 else images


def mean_pool(images: Array, factor: int) -> Array:
    """Averages blocks of `factor` by `factor` pixels; what does not fill a block at the far edges is left out."""
    height, width = (side // factor * factor for side in images.shape[1:3])
    return cell_means(images[:, :height, :width], factor, factor)


def fit_space(images: Images, key: Array, config: DensityConfig) -> Space:
    """Fits filters and directions to uint8 images."""
    filter_key, view_key, direction_key = jax.random.split(key, 3)
    images = jnp.concatenate([shrink(normalise(batch)) for _, batch in batches(images)])
    kernel, offset = _fit_filters(images, filter_key, config)
    measured = jnp.concatenate([features(kernel, offset, batch) for _, batch in batches(images)])  # [N, F]
    views = [
        _describe_views(kernel, offset, batch, jax.random.fold_in(view_key, start)) for start, batch in batches(images)
    ]
    first, second = (jnp.concatenate(view) for view in zip(*views, strict=True))
    mean, directions = fit_directions(measured, first, second, direction_key, config.components, config.directions)
    return Space(kernel, offset, mean, directions)


@jax.jit
def _describe_views(kernel: Array, offset: Array, images: Array, key: Array) -> tuple[Array, Array]:
    """Features of two views of each image."""
    first, second = jax.random.split(key)
    return features(kernel, offset, view(images, first)), features(kernel, offset, view(images, second))


@partial(jax.jit, static_argnames="config")
def _fit_filters(images: Array, key: Array, config: DensityConfig) -> tuple[Array, Array]:
    """Spherical k-means on whitened patches: a convolution's kernel, and what it gives for the mean patch."""
    place_key, start_key = jax.random.split(key)
    size, count = config.patch, config.patches
    which, top, left = jax.random.randint(place_key, (3, count), 0, 2**30)
    _, height, width, channels = images.shape

    def cut(which: Array, top: Array, left: Array) -> Array:
        start = which % len(images), top % (height - size + 1), left % (width - size + 1), 0
        return jax.lax.dynamic_slice(images, start, (1, size, size, channels)).reshape(-1)

    patches = jax.vmap(cut)(which, top, left)  # [patches, P P C]
    patches = patches - patches.mean(axis=1, keepdims=True)
    patches = patches / jnp.sqrt(jnp.square(patches).mean(axis=1, keepdims=True) + CONTRAST_FLOOR)
    mean = patches.mean(axis=0)
    centred = patches - mean[None]
    values, vectors = jnp.linalg.eigh(centred.T @ centred / count)
    whitening = (vectors / jnp.sqrt(jnp.maximum(values, 0.0) + 0.1)[None]) @ vectors.T
    white = centred @ whitening

    def unit(x: Array) -> Array:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    centres = unit(white[jax.random.choice(start_key, count, (config.filters,), replace=False)])
    for _ in range(6):
        response = white @ centres.T
        nearest = jnp.abs(response).argmax(axis=1)  # a patch and its negative are one
        sign = jnp.sign(jnp.take_along_axis(response, nearest[:, None], axis=1))
        centres = unit(1e-3 * centres + jax.ops.segment_sum(white * sign, nearest, num_segments=config.filters))
    filters = centres @ whitening  # [K, P P C]
    return filters.T.reshape(size, size, channels, config.filters), filters @ mean


@partial(jax.jit, static_argnames=("rank", "count"))
def fit_directions(
    measured: Array, first: Array, second: Array, key: Array, rank: int, count: int
) -> tuple[Array, Array]:
    """Directions in which images differ most, compared with two views of one image, within the largest components.

    Args:
        measured: Features of the images, `float32 [N, F]`.
        first: Features of a view of each.
        second: Features of another view of each.
        key: Of the principal components' random start.
        rank: How many principal components.
        count: D, how many directions.

    Returns:
        The mean features and the directions `[F, D]`, along which the images have variance 1.
    """
    mean = measured.mean(axis=0)
    centred = measured - mean[None]
    basis = jax.random.normal(key, (measured.shape[1], rank))
    for _ in range(2):
        basis, _ = jnp.linalg.qr(centred.T @ (centred @ basis))
    basis = basis / (centred @ basis).std(axis=0)[None]  # [F, rank]

    def covariance(x: Array) -> Array:
        x = x - x.mean(axis=0)[None]
        return x.T @ x / len(x)

    first, second = first @ basis, second @ basis
    total = covariance(jnp.concatenate([first, second]))
    within = (first - second).T @ (first - second) / (2 * len(first))
    within = within + 0.1 * jnp.trace(within) / rank * jnp.eye(rank)
    lower = jnp.linalg.cholesky(within)
    half = jax.scipy.linalg.solve_triangular(lower, total, lower=True)
    whole = jax.scipy.linalg.solve_triangular(lower, half.T, lower=True)
    _, vectors = jnp.linalg.eigh((whole + whole.T) / 2)  # the largest come last
    chosen = jax.scipy.linalg.solve_triangular(lower.T, vectors[:, -count:])
    directions = basis @ chosen
    return mean, directions / (centred @ directions).std(axis=0)[None]


def view(images: Float[Array, "batch height width channel"], key: Array) -> Float[Array, "batch height width channel"]:
    """One random view of each image, of its own size."""
    batch, height, width, _ = images.shape
    keys = iter(jax.random.split(key, 10))

    def draw(low: float, high: float) -> Array:
        return jax.random.uniform(next(keys), (batch,), minval=low, maxval=high)

    area, ratio = draw(0.3, 1.0), jnp.exp(draw(-1.0, 1.0) * jnp.log(4.0 / 3.0))

    def interpolation(size: int, part: Array, start: Array, mirrored: Array) -> Array:
        """Linear, from the pixels of an axis to those of the crop, `[B, size, size]`."""
        at = (jnp.arange(size) + 0.5)[None, :] * part[:, None] + start[:, None] * size * (1 - part[:, None]) - 0.5
        at = jnp.where(mirrored[:, None], at[:, ::-1], at).clip(0, size - 1)
        return jnp.maximum(1.0 - jnp.abs(at[:, :, None] - jnp.arange(size)[None, None, :]), 0.0)

    never = jnp.zeros(batch, bool)
    rows = interpolation(height, jnp.sqrt(area / ratio).clip(max=1.0), draw(0.0, 1.0), never)
    columns = interpolation(width, jnp.sqrt(area * ratio).clip(max=1.0), draw(0.0, 1.0), draw(0.0, 1.0) < 0.5)
    x = jnp.einsum("bih,bhwc->biwc", rows, images)
    x = (jnp.einsum("bjw,biwc->bijc", columns, x) + 1.0) / 2.0

    def per_image(values: Array) -> Array:
        return values[:, None, None, None]

    def grey() -> Array:
        return x.mean(axis=-1, keepdims=True)

    x = x * per_image(draw(0.6, 1.4))  # brightness
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    x = mean + (x - mean) * per_image(draw(0.6, 1.4))  # contrast
    x = grey() + (x - grey()) * per_image(draw(0.6, 1.4))  # saturation
    x = x * jax.random.uniform(next(keys), (batch, 1, 1, x.shape[-1]), minval=0.85, maxval=1.15)  # tint
    x = jnp.where(per_image(draw(0.0, 1.0) < 0.2), grey(), x)
    return 2.0 * x.clip(0.0, 1.0) - 1.0
