"""Large photographs as overlapping square patches, and their scores and maps back as one.

The paper cuts its axle-bolt photographs into 128 x 128 patches with an overlapping sliding window (section 4.1).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from sagan_jax.errors import UserError, require

Corners = Int[np.ndarray, "patch 2"]
PatchMaps = Float[np.ndarray, "patch size size *channel"]


class Patches(NamedTuple):
    """How photographs are cut: the side of a patch and the step between neighbours, in pixels."""

    size: int
    stride: int

    def shape(self, channels: int) -> tuple[int, int, int]:
        """[H, W, C] of a patch."""
        return (self.size, self.size, channels)


def too_small(height: int, width: int, size: int) -> str:
    """Why no patch of a size can be cut from an image of a height and width; "" if one can."""
    return f"{height} x {width} is smaller than a patch of {size} x {size}" if min(height, width) < size else ""


def windows(height: int, width: int, size: int, stride: int) -> Corners:
    """Top-left corners (row, column) of windows that cover an image to its edges, row by row.

    The windows lie `stride` apart; the last of a row or column is moved back to lie flush with the edge. An image
    smaller than a window is refused, not padded: a mirrored edge is nothing the detector was trained on.

    Raises:
        UserError: The image is smaller than a window, or the stride would leave gaps.
    """
    if not 1 <= stride <= size:
        raise UserError(f"a stride of {stride} is impossible; allowed are 1 to the patch size, {size}")
    if reason := too_small(height, width, size):
        raise UserError(f"an image of {reason}: enlarge it first")

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


def _taper(size: int) -> Float[np.ndarray, "size size"]:
    """Blending weights: a raised cosine sampled at pixel centres, so that even the corners have some weight."""
    edge = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return np.outer(edge, edge).astype(np.float32)


class Blend:
    """The tapered weighted mean of overlapping maps, bit by bit: one float32 image, however many patches are added.

    A constant field blends to exactly that constant. Pixels that no patch covers are zero.
    The weighted mean is kept as a running one, m += (w / W)(x - m), W the weights so far (West, 1979): it needs no
    division at the end, and rounding cannot move it off a constant, as it could with sums of products.

    Attributes:
        mean: float32 [H, W, ...], the mean so far; None before the first patches.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.top = 0
        self.total = np.zeros((0, shape[1]), np.float32)  # W of the rows from `top` on that a patch there covers
        self.mean: np.ndarray | None = None

    def add(self, maps: PatchMaps, corners: Corners) -> None:
        """Adds patches at their places: row by row, as `windows` has them, so that no row above is needed again."""
        size = maps.shape[1]
        if self.mean is None:
            self.mean = np.zeros((*self.shape, *maps.shape[3:]), np.float32)
            self.total = np.zeros((size, self.shape[1]), np.float32)
        weight = _taper(size)
        for patch, (row, column) in zip(maps, corners, strict=True):
            if row != self.top:
                assert row > self.top, "patches come row by row"
                kept = self.total[row - self.top :]
                self.total = np.pad(kept, ((0, size - len(kept)), (0, 0)))
                self.top = row
            place = np.s_[row : row + size, column : column + size]
            total = self.total[:, column : column + size]
            total += weight
            share = (weight / total).reshape(size, size, *(1,) * (patch.ndim - 2))
            self.mean[place] += share * (patch - self.mean[place])


def score_large(
    image: UInt8[np.ndarray, "height width channel"],
    score_patches: Callable[[UInt8[np.ndarray, "batch size size channel"]], Mapping[str, Any]],
    patches: Patches,
    *,
    batch: int,
) -> dict[str, np.ndarray]:
    """Scores a photograph of any size in bounded memory: beside the image, one float32 image a map and one batch.

    Args:
        image: The photograph.
        score_patches: uint8 [batch, size, size, C] to fields by name: [batch], a number a patch, or
            [batch, size, size, ...], a number or more a pixel. Every call gets exactly `batch` patches (the last one's
            are filled up with copies), so a compiled function is compiled once.
        patches: How the photograph is cut.
        batch: Patches scored together.

    Returns:
        The fields by name: numbers a patch as float32 [P], in the order of `windows`; numbers a pixel blended to
        float32 [H, W, ...].

    Raises:
        UserError: As `windows`, or the batch is empty.
    """
    require(batch >= 1, "the batch of patches", batch, "at least 1")
    height, width = image.shape[:2]
    corners = windows(height, width, *patches)
    numbers: dict[str, list[np.ndarray]] = {}
    blends: dict[str, Blend] = {}
    for start in range(0, len(corners), batch):
        here = corners[start : start + batch]
        padded = np.pad(here, ((0, batch - len(here)), (0, 0)), mode="edge")
        for name, values in score_patches(extract(image, padded, patches.size)).items():
            values = np.asarray(values, np.float32)[: len(here)]
            if values.ndim == 1:
                numbers.setdefault(name, []).append(values)
            else:
                blends.setdefault(name, Blend((height, width))).add(values, here)
    blended = {name: blend.mean for name, blend in blends.items() if blend.mean is not None}
    return {name: np.concatenate(parts) for name, parts in numbers.items()} | blended
