"""A mask file: which pixels of an image are abnormal; reduced without losing any of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool

from sagan_jax.data.image_file import pair
from sagan_jax.data.open_image import MAX_PIXELS, content_of, open_image
from sagan_jax.data.white import FULL_RANGE, is_negative
from sagan_jax.errors import UnusableFile

if TYPE_CHECKING:
    from PIL import Image

_LOSSY = ("JPEG", "MPO", "AVIF", "HEIF")  # formats that add greys around a drawn edge
_SHADES = 16  # a mask drawn by hand or program has fewer; one with more was resized smoothly or was a JPEG once
HALF = 128  # of 255; what counts as marked in such masks

File = str | os.PathLike[str]


class Marked(NamedTuple):
    """A mask as it is on disk.

    Attributes:
        pixels: True where it marks its image as abnormal.
        halved: Whether it has soft greys, so that only what is at least half white counts.
    """

    pixels: Bool[np.ndarray, "height width"]
    halved: bool


def read_mask(
    path: File | Sequence[File], *, image_shape: tuple[int, int], size: int | tuple[int, int] | None = None
) -> Bool[np.ndarray, "height width"]:
    """Reads a mask, resized as `reduce` does.

    Args:
        path: The file, or several whose marks are taken together.
        image_shape: Height and width of the image it belongs to.
        size: (height, width), or one number for both; None keeps the image's own.

    Raises:
        UnusableFile: As `decode_mask`.
    """
    marked = decode_mask(path, image_shape=image_shape).pixels
    return marked if size is None else reduce(marked, pair(size))


def decode_mask(path: File | Sequence[File], *, image_shape: tuple[int, int]) -> Marked:
    """Reads a mask: whatever is not black is abnormal.

    A lossy format (JPEG) surrounds what was marked with greys, and so does smooth resizing, which leaves more than
    `_SHADES` shades. In such a mask what is at least half white is abnormal.

    Raises:
        UnusableFile: The mask cannot be read, has not the image's height and width, or marks nothing.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    marks = [_decode(Path(one), image_shape) for one in paths]
    return Marked(np.logical_or.reduce([mark.pixels for mark in marks]), any(mark.halved for mark in marks))


def _decode(path: Path, image_shape: tuple[int, int]) -> Marked:
    from PIL import ImageOps

    content = content_of(path)
    with open_image(path, max(MAX_PIXELS, image_shape[0] * image_shape[1]), content) as image:
        image.load()
        lossy = image.format in _LOSSY or (image.format == "WEBP" and b"VP8L" not in content[:64])
        ImageOps.exif_transpose(image, in_place=True)
        brightness = _brightness(image)
        drawn = image.mode in ("1", "P")
    if not np.isfinite(brightness).all():
        raise UnusableFile(path, "the mask has values that are not numbers")
    height, width = brightness.shape
    if (height, width) != image_shape:
        raise UnusableFile(path, f"the mask is {height} x {width} but its image {image_shape[0]} x {image_shape[1]}")
    halved = lossy or (not drawn and np.unique(brightness).size > _SHADES)
    half = HALF if brightness.dtype == np.uint8 else brightness.max() / 2  # of more bits white is not known
    pixels = brightness >= half if halved else brightness > 0
    if not pixels.any():
        why = "; it has soft greys, so only what is at least half white counts" if halved else ""
        raise UnusableFile(path, f"the mask of an abnormal image marks nothing{why}")
    return Marked(pixels, bool(halved))


def _brightness(image: "Image.Image") -> np.ndarray:
    """[H, W], 0 where the mask is black: of colours the brightest channel, whose smallest value still marks."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        return (1.0 if image.mode == "F" else FULL_RANGE) - values if is_negative(image) else values
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))  # [H, W, 4]
        return np.where(rgba[..., 3] > 0, rgba[..., :3].max(axis=-1), 0).astype(np.uint8)
    return np.asarray(image.convert("RGB")).max(axis=-1)


def reduce(mask: Bool[np.ndarray, "height width"], size: tuple[int, int]) -> Bool[np.ndarray, "new_height new_width"]:
    """A mask in another size: a pixel is marked if anything marked falls on it, so that nothing marked is ever lost.

    Args:
        mask: True = abnormal.
        size: The new height and width.
    """
    for axis, count in enumerate(size):
        length = mask.shape[axis]
        pixel = np.arange(count)
        first, end = pixel * length // count, -(-(pixel + 1) * length // count)  # what falls on each, end excluded
        blank = np.zeros_like(np.take(mask, [0], axis))
        spans = np.stack([first, end], axis=1).ravel()  # every second result lies between two pixels' spans
        mask = np.logical_or.reduceat(np.concatenate([mask, blank], axis), spans, axis)
        mask = np.take(mask, np.arange(0, 2 * count, 2), axis)
    return mask
