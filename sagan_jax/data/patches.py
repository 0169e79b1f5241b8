"""Large photographs as overlapping square patches, and their scores and maps back as one.

The paper cuts its axle-bolt photographs into 128 x 128 patches with an overlapping sliding window (section 4.1).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from sagan_jax.errors import UserError

Corners = Int[np.ndarray, "patch 2"]
Maps = Float[np.ndarray, "patch size size"]


class PhotographScore(NamedTuple):
    """What `score_large` finds in one photograph.

    Attributes:
        score: The greatest patch score.
        map: float32 [H, W], the patches' maps blended.
        patch_scores: float32 [P], in the order of `windows`.
    """

    score: float
    map: Float[np.ndarray, "height width"]
    patch_scores: Float[np.ndarray, " patch"]


def windows(height: int, width: int, size: int, stride: int) -> Corners:
    """Top-left corners (row, column) of windows that cover an image to its edges, row by row.

    The windows lie `stride` apart; the last of a row or column is moved back to lie flush with the edge. An image
    smaller than a window is refused, not padded: a mirrored edge is nothing the detector was trained on.

    Raises:
        UserError: The image is smaller than a window, or the stride would leave gaps.
    """
    if not 1 <= stride <= size:
        raise UserError(f"a stride of {stride} is impossible; allowed are 1 to the patch size, {size}")
    if height < size or width < size:
        raise UserError(f"an image of {height} x {width} is smaller than a patch of {size} x {size}: enlarge it first")

    def starts(length: int) -> np.ndarray:
        regular = np.arange(0, length - size + 1, stride)
        return regular if regular[-1] == length - size else np.append(regular, length - size)

    rows, columns = np.meshgrid(starts(height), starts(width), indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], axis=1)  # [P, 2]


def extract(image: Shaped[np.ndarray, "height width *channel"], corners: Corners, size: int) -> np.ndarray:
    """The windows of an image, or of a mask, as a new array [P, size, size, ...] of its dtype."""
    views = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))  # type: ignore[call-overload]
    patches = views[corners[:, 0], corners[:, 1]]  # [P, ..., s, s]
    return np.ascontiguousarray(np.moveaxis(patches, (-2, -1), (1, 2)))


def taper(size: int) -> Float[np.ndarray, "size size"]:
    """Blending weights: a raised cosine sampled at pixel centres, so that even the corners count for something."""
    edge = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return np.outer(edge, edge).astype(np.float32)


def blend(maps: Maps, corners: Corners, shape: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Tapered weighted mean of overlapping maps: float32, zero where no window lies.

    A constant field blends to exactly that constant.
    """
    return blend_batches([(maps, corners)], shape)


def blend_batches(batches: Iterable[tuple[Maps, Corners]], shape: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """`blend` over a stream of batches; holds two float32 images of `shape` and one batch, however many there are.

    The weighted mean is kept as a running one, m += (w / W)(x - m), W the weights so far (West, 1979): it needs no
    division at the end, and rounding cannot move it off a constant, as it could with sums of products.
    """
    mean, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for maps, corners in batches:
        size = maps.shape[-1]
        weight = taper(size)
        for patch, (row, column) in zip(maps, corners, strict=True):
            place = np.s_[row : row + size, column : column + size]
            total[place] += weight
            mean[place] += weight / total[place] * (patch - mean[place])
    return mean


def score_large(
    image: UInt8[np.ndarray, "height width channel"],
    score_patches: Callable[[UInt8[np.ndarray, "batch size size channel"]], tuple[np.ndarray, np.ndarray]],
    *,
    size: int,
    stride: int,
    batch: int,
) -> PhotographScore:
    """Scores a photograph of any size in bounded memory: beside the image, two float32 images and one batch.

    The photograph's score is the greatest of its patches': one missing bolt condemns a photograph however many
    sound ones surround it, which a mean would forget as the photograph grows; and it stays in the patches' units,
    so the photograph exceeds a threshold exactly if some patch does. More patches have a greater maximum by chance:
    set a false-positive rate per photograph on whole normal photographs.

    Args:
        image: The photograph.
        score_patches: uint8 [batch, size, size, C] to scores [batch] and maps [batch, size, size]. Every call gets
            exactly `batch` patches (the last one's are filled up with copies), so a compiled function is
            compiled once.
        size: Side of a patch, in pixels.
        stride: Pixels between neighbouring patches, at most `size`.
        batch: Patches scored together.

    Raises:
        UserError: As `windows`, or the batch is empty.
    """
    if batch < 1:
        raise UserError(f"a batch of {batch} patches is impossible; it must be at least 1")
    height, width = image.shape[:2]
    corners = windows(height, width, size, stride)
    patch_scores = np.empty(len(corners), np.float32)

    def batches() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(corners), batch):
            here = corners[start : start + batch]
            padded = np.pad(here, ((0, batch - len(here)), (0, 0)), mode="edge")
            scores, maps = score_patches(extract(image, padded, size))
            patch_scores[start : start + batch] = np.asarray(scores)[: len(here)]
            yield np.asarray(maps)[: len(here)], here

    blended = blend_batches(batches(), (height, width))
    return PhotographScore(float(patch_scores.max()), blended, patch_scores)
