"""The trivial floor: how well the distance from 64 principal components separates the same test images.

It uses no network and takes about a second. A method that does not beat it on a set has learned no more there than
linear algebra gives. A bottleneck of few components cannot copy what is small and thin, such as a crack; a missing part
is often easier for it to copy than a present one.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sagan_jax.data.split import Split, even_part, take
from sagan_jax.detector import Images, worst_share
from sagan_jax.errors import UserError
from sagan_jax.judging.evaluation import has_both
from sagan_jax.judging.metrics import Interval, summarise
from sagan_jax.judging.pixel_metrics import (
    bin_edges,
    count_pixels,
    counted_only,
    has_both_kinds,
    joined,
    summarise_pixels,
)
from sagan_jax.ops.principal_components import principal_components

COMPONENTS = 64
_FITTED_NUMBERS = 2**26  # numbers in the images that a run fits its floor on, at most: 256 MB as float32
_PART_NUMBERS = 2**24  # numbers in the images that are scored at a time, at most


class Floor(NamedTuple):
    """The principal components of normal images, as flat images in [0, 1].

    Attributes:
        mean: The mean image.
        components: Orthonormal rows, the first with the greatest variance.
    """

    mean: Float[np.ndarray, " pixel"]
    components: Float[np.ndarray, "component pixel"]


class FloorScores(NamedTuple):
    """Two scores of each image from its map; higher is more abnormal.

    Attributes:
        worst: The mean of the worst 1 % of the pixels.
        mean: The mean of all pixels.
    """

    worst: Float[np.ndarray, " image"]
    mean: Float[np.ndarray, " image"]


def fit_floor(images: Images, components: int = COMPONENTS) -> Floor:
    """Fits the components (`ops.principal_components`).

    Args:
        images: Normal images, uint8 `[N, H, W, C]`.
        components: How many are kept; fewer where there are fewer images or numbers in an image.

    Returns:
        The floor, float32.

    Raises:
        UserError: If there are fewer than two images.
    """
    if len(images) < 2:
        raise UserError(f"the trivial floor is fitted on at least 2 images; here there are {len(images)}")
    return Floor(*principal_components(_flat(images), components))


def floor_maps(floor: Floor, images: Images) -> Float[np.ndarray, "image height width"]:
    """How far each pixel is from what the components can say: the squared residual, averaged over channels.

    Args:
        floor: From `fit_floor`.
        images: Of the shape it was fitted on, uint8 `[N, H, W, C]`.

    Returns:
        float32 `[N, H, W]`, 0 or more.

    Raises:
        UserError: If the images are of another size.
    """
    flat = _flat(images)
    if flat.shape[1] != len(floor.mean):
        raise UserError(f"the floor is of images of {len(floor.mean)} numbers; these have {flat.shape[1]}")
    flat -= floor.mean
    residual = flat - (flat @ floor.components.T) @ floor.components
    return np.square(residual).reshape(images.shape).mean(axis=-1)


def floor_scores(floor: Floor, images: Images) -> FloorScores:
    """Both scores of any number of images, uint8 `[N, H, W, C]`, in bounded memory; float32."""
    parts = [_scores(floor_maps(floor, images[part])) for part in _parts(images)]
    return FloorScores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def judge_floor(
    split: Split, kept: np.ndarray, held_out: np.ndarray
) -> dict[str, dict[str, dict[str, float]] | dict[str, str]]:
    """The floor's row of a run's result: fitted on the images the network trains on, judged on the same test images.

    Args:
        split: The training images and the test set.
        kept: Which of the training images are trained on. The floor is fitted on an even part of them where all
            would take too much memory.
        held_out: Which are held out; their maps give the bins that pixels are counted in.

    Returns:
        JSON values: `{"floor": {"auroc_worst": {"value", "low", "high"}, "auroc_mean": {...}}}`, with `pixel_auroc`
        where the test images have masks. `{"floor": {"left_out": why}}` where it would take longer than a second: of
        patches, and of photographs that are left on disk. Nothing of a test set without normal or abnormal images.
    """
    if not has_both(split.test_labels):
        return {}
    train, test, masks = split.train, split.test, split.test_masks
    if split.patches is not None:
        return {"floor": {"left_out": "photographs are scored in patches"}}
    if not isinstance(train, np.ndarray) or not isinstance(test, np.ndarray):
        return {"floor": {"left_out": "photographs are left on disk"}}
    if len(kept) < 2:
        return {"floor": {"left_out": "there are fewer than two images to fit it on"}}
    floor = fit_floor(train[even_part(kept, max(2, _FITTED_NUMBERS // max(1, train[0].size)))])
    masked = isinstance(masks, np.ndarray) and bool(masks.any())
    part_of_held_out = held_out[: max(1, _PART_NUMBERS // max(1, train[0].size))]
    edges = bin_edges(floor_maps(floor, take(train, part_of_held_out))) if masked else np.zeros(0)
    scores, counts = [], []
    for part in _parts(test):
        maps = floor_maps(floor, test[part])
        scores.append(_scores(maps))
        if masked and isinstance(masks, np.ndarray):
            counts.append(count_pixels(maps, masks[part], edges))
    found = FloorScores(*(np.concatenate(column) for column in zip(*scores, strict=True)))
    metrics: dict[str, Interval] = {
        "auroc_worst": summarise(split.test_labels, found.worst).auroc,
        "auroc_mean": summarise(split.test_labels, found.mean).auroc,
    }
    if masked and has_both_kinds(pixels := counted_only(joined(counts), split.test_mask_known)):
        metrics["pixel_auroc"] = summarise_pixels(pixels)["pixel_auroc"]
    return {"floor": {name: interval._asdict() for name, interval in metrics.items()}}


def _flat(images: Images) -> Float[np.ndarray, "image pixel"]:
    """Bytes `[N, H, W, C]` to float32 `[N, H * W * C]` in [0, 1]."""
    return np.asarray(images).reshape(len(images), -1).astype(np.float32) / 255.0


def _scores(maps: np.ndarray) -> FloorScores:
    return FloorScores(np.asarray(worst_share(maps)), maps.mean(axis=(1, 2)))


def _parts(images: Any) -> list[slice]:
    """Consecutive parts of this many images, each small enough to be mapped at once."""
    step = max(1, _PART_NUMBERS // max(1, int(np.prod(images.shape[1:]))))
    return [slice(start, start + step) for start in range(0, len(images), step)]
