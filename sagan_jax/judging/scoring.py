"""Scoring images under the two protocols, whole or cut into patches.

Strict, the default: BatchNorm has its running statistics, so an image's score depends on that image alone.
Reference: what the published numbers of this family were made with. The networks stay in training mode at test time,
so every test batch is normalised by itself; with the test set in order, normal images first, batches are pure and
the labels leak into the scores. It is here to measure that leak, never to report a result.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int, UInt8

from sagan_jax.data.image_array import check_images_for
from sagan_jax.data.patches import Patches, score_large
from sagan_jax.data.photographs import Photographs
from sagan_jax.detector import PICTURES, Detector, Picture, Scores, State, Statistics, normalise
from sagan_jax.errors import UserError, require
from sagan_jax.ops import native

PATCHES_AT_ONCE = 32  # of a photograph, however few it has

_PART_PIXELS = 2**14
"""How many pixels of a batch a CPU scores at once, at most: their maps stay in its cache, and for so little memory the
system maps no new pages each time. But at least `_PART_IMAGES`, for weights are made ready anew for each part."""
_PART_IMAGES = 2  # not 1: a product with one row takes another way, to other last bits
_BATCHES = 64
"""How many test batches of the reference protocol an accelerator scores in one call; alone, each takes it no time."""


ScoreBatch = Callable[[np.ndarray, int], Scores]
"""Scores a batch of one size: `(images uint8 [B, H, W, C], count) -> Scores`, of which the first `count` count."""


@partial(jax.jit, static_argnames=("detector", "statistics", "pictures"))
def score_batch(
    detector: Detector,
    state: State,
    images: UInt8[Array | np.ndarray, "batch height width channel"],
    statistics: Statistics = "running",
    pictures: tuple[Picture, ...] = (),
    count: Array | np.ndarray | int | None = None,
) -> Scores:
    """Scores one batch of uint8 images; pictures that are not wanted are not computed.

    Args:
        detector: The method.
        state: Its state.
        images: The batch.
        statistics: "running" for strict scores, "batch" for the reference protocol.
        pictures: Which of "map" and "reconstructed" are wanted.
        count: How many of the images count, the first ones; the others only fill the batch up, and a CPU leaves out
            most of them. None counts all.

    Returns:
        The scores; pictures that are not wanted are None. Those of images that do not count mean nothing.
    """

    def score(images: Array | np.ndarray) -> Scores:
        scores = detector.score(state, normalise(images), statistics=statistics)
        return scores._replace(**{name: None for name in PICTURES if name not in pictures})

    batch, height, width, _ = images.shape
    most = max(_PART_IMAGES, _PART_PIXELS // (height * width))
    part = next((size for size in range(min(most, batch), most // 2, -1) if batch % size == 0), batch)
    if part == batch or statistics == "batch" or not native.for_cpu():
        return score(images)
    parts = jnp.reshape(images, (-1, part, *images.shape[1:]))  # [N, part, H, W, C]
    nothing = jax.tree.map(
        lambda values: jnp.zeros((len(parts), *values.shape), values.dtype), jax.eval_shape(score, parts[0])
    )

    def score_part(index: Array, scores: Scores) -> Scores:
        return jax.tree.map(lambda values, part: values.at[index].set(part), scores, score(parts[index]))

    wanted = len(parts) if count is None else -(-jnp.asarray(count, jnp.int32) // part)
    scores = lax.fori_loop(0, wanted, score_part, nothing)
    return jax.tree.map(lambda values: values.reshape(batch, *values.shape[2:]), scores)


def score_images(
    detector: Detector,
    state: State,
    images: UInt8[np.ndarray, "count height width channel"] | Photographs,
    *,
    batch_size: int = 128,
    pictures: tuple[Picture, ...] = (),
    patches: Patches | None = None,
) -> Scores:
    """Strict scores, in the order of the images; neither order, batch size nor padding changes an image's score.

    Args:
        detector: The method.
        state: Its state.
        images: Any number of images; the last batch is padded, so one program serves all.
        batch_size: Images scored at once.
        pictures: Which of "map" and "reconstructed" are wanted; of patches, none.
        patches: How the images, then photographs of any size, are cut; see `score_photographs`.

    Returns:
        The scores as NumPy arrays, float32, their first axis the images'; pictures that are not wanted are None.

    Raises:
        UserError: If there are no images, they are not what the state was made for, or a score is not finite.
    """
    check_images_for(detector, state, images, patches)
    if not len(images):
        raise UserError("there are no images to score")
    require(batch_size >= 1, "batch_size", batch_size, "1 or more")
    score_one = batch_scorer(detector, state, pictures)
    if patches is not None:
        found = score_photographs(score_one, images, patches)
        return join_scores([jax.tree.map(lambda value: np.asarray(value)[None], scores) for scores in found])

    def score(start: int) -> Scores:
        return filled_up(score_one, images[start : start + batch_size], batch_size)

    # Two at once: one batch has the cores that the other leaves idle, and is copied while the other is scored.
    pool = ThreadPoolExecutor(2)
    try:
        parts = list(pool.map(score, range(0, len(images), batch_size)))
    finally:
        pool.shutdown(cancel_futures=True)
    return join_scores(parts)


def batch_scorer(detector: Detector, state: State, pictures: tuple[Picture, ...] = ()) -> ScoreBatch:
    """`score_batch` of a detector, strict, compiled at its first call."""
    pictures = tuple(pictures)
    require(set(pictures) <= set(PICTURES), "pictures", pictures, f"some of {', '.join(PICTURES)}, or none")
    return lambda images, count: score_batch(detector, state, images, pictures=pictures, count=count)


def filled_up(score: ScoreBatch, images: UInt8[np.ndarray, "count height width channel"], batch_size: int) -> Scores:
    """The scores of up to `batch_size` images by a program that takes exactly that many, as NumPy arrays."""
    padding = np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)
    scores = score(np.concatenate([images, padding]), len(images))
    return jax.tree.map(lambda values: np.asarray(values)[: len(images)], scores)


def score_photographs(
    score: ScoreBatch, photographs: Iterable[UInt8[np.ndarray, "height width channel"]], patches: Patches
) -> Iterator[Scores]:
    """Strict scores of large photographs, one after the other, each in bounded memory.

    A photograph's score is the greatest of its patches': one missing bolt condemns a photograph however many sound
    ones surround it, which a mean would forget as the photograph grows. More patches have a greater maximum by chance,
    so the threshold too must come from whole normal photographs.

    Args:
        score: Scores `PATCHES_AT_ONCE` patches, from `batch_scorer`.
        photographs: Images of any size, none smaller than a patch.
        patches: How they are cut.

    Yields:
        The scores of a photograph. Its total, R and L are float32 scalars, those of the patch with the greatest total;
        its map [H, W] and reconstruction [H, W, C] are blended from all patches.

    Raises:
        UserError: If a photograph is smaller than a patch, or a score is not finite.
    """

    def score_patches(batch: np.ndarray) -> dict[str, Array]:
        scores = score(batch, PATCHES_AT_ONCE)._asdict()
        return {name: values for name, values in scores.items() if values is not None}

    for photograph in photographs:
        found: dict[str, Any] = score_large(photograph, score_patches, patches, batch=PATCHES_AT_ONCE)
        worst = int(found["total"].argmax())
        scores = Scores(**{name: value[worst] if value.ndim == 1 else value for name, value in found.items()})
        for name, value in scores._asdict().items():
            if value is not None and not np.isfinite(value).all():
                raise UserError(f"a photograph has a {name} that is not finite")
        yield scores


def reference_protocol_scores(
    detector: Detector,
    state: State,
    images: UInt8[np.ndarray, "count height width channel"] | Photographs,
    *,
    batch_size: int,
    order: Int[np.ndarray, " count"] | None = None,
) -> Scores:
    """Scores with each test batch normalised by itself, as the published numbers were made. Leaks labels.

    Args:
        detector: The method.
        state: Its state.
        images: The test set, normal images first.
        batch_size: The batch size of training, for a leak of the published size.
        order: The order in which images are dealt to batches; None is the order they have, which is the leak in
            full. A random one leaves only the leak of batch statistics as such.

    Returns:
        The scores without pictures, in the order of `images`.

    Raises:
        UserError: If there are no images, the order has not each of them once, the batch size is under 1, or a score
            is not finite.
    """
    if not len(images):
        raise UserError("there are no images to score")
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    order = np.arange(len(images)) if order is None else order
    if not np.array_equal(np.sort(order), np.arange(len(images))):
        raise UserError(f"the order must have each index of the {len(images)} images once")
    many = _BATCHES * batch_size
    together = 0 if native.for_cpu() else len(images) // many * many
    parts = []
    for start in range(0, together, many):
        batches = images[order[start : start + many]]
        batches = batches.reshape(_BATCHES, batch_size, *batches.shape[1:])
        parts.append(jax.tree.map(np.asarray, _score_batches(detector, state, batches)))
    for start in range(together, len(images), batch_size):  # the last batch may be small, as it is in the authors' code
        scores = score_batch(detector, state, images[order[start : start + batch_size]], "batch")
        parts.append(jax.tree.map(np.asarray, scores))
    inverse = np.argsort(order)
    return jax.tree.map(lambda values: values[inverse], join_scores(parts))


@partial(jax.jit, static_argnames=("detector",))
def _score_batches(
    detector: Detector, state: State, batches: UInt8[Array | np.ndarray, "count batch height width channel"]
) -> Scores:
    """Scores of many batches, each normalised by itself, end to end and without pictures."""
    scores = lax.map(lambda images: score_batch(detector, state, images, "batch"), jnp.asarray(batches))
    return jax.tree.map(lambda values: values.reshape(-1), scores)


def join_scores(parts: Sequence[Scores]) -> Scores:
    """The scores of several batches end to end; raises UserError if one is not finite."""
    scores = jax.tree.map(lambda *values: np.concatenate(values), *parts)
    for name, values in scores._asdict().items():
        if values is None:
            continue
        if bad := int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum()):
            why = "the weights are broken, or `fit_normal` was not called"
            raise UserError(f"{bad} of {len(values)} images have a {name} that is not finite: {why}")
    return scores
