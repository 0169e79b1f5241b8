"""What is white in an image of more than 8 bits: what its file declares, or what a camera's images show together."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sagan_jax.data.open_image import MAX_PIXELS, content_of, decoding_threads, open_image
from sagan_jax.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

FULL_RANGE = 65_535  # of 16 bits
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras have
_BITS, _PHOTOMETRIC, _MAX_SAMPLE = 258, 262, 281  # tags of TIFF


def find_white(paths: Sequence[Path], max_pixels: int = MAX_PIXELS) -> tuple[int, int] | None:
    """What is white in 16-bit grey files of a camera: the full range of the bits that their values need.

    Args:
        paths: Normal training images. Other kinds, those that declare their white or cannot be read do not count.
        max_pixels: As in `Reading`.

    Returns:
        The greatest number of the fewest bits, of `_DEPTHS`, that hold all values, and the greatest value; None if none
        of the files counts.
    """
    with ThreadPoolExecutor(decoding_threads(max_pixels)) as pool:
        found = [value for value in pool.map(lambda path: _greatest(path, max_pixels), paths) if value is not None]
    if not found:
        return None
    return next((2**bits - 1 for bits in _DEPTHS if max(found) < 2**bits), FULL_RANGE), max(found)


def _greatest(path: Path, max_pixels: int) -> int | None:
    try:
        with open_image(path, max_pixels) as image:  # of most files the header is enough
            if not image.mode.startswith("I") or declared_white(image) is not None:
                return None
        with open_image(path, max_pixels, content_of(path)) as image:
            return int(np.asarray(image).max())
    except UserError:
        return None


def declared_white(image: "Image.Image") -> int | None:
    """What a TIFF of more than 8 bits declares as its MaxSampleValue, or the greatest of its fewer than 16 bits.

    TIFF 6.0 has the tag for the greatest value used. Only the full range of a camera's bits is heeded, then: another
    number is the image's own maximum, and each image would have a white of its own.
    """
    if not image.mode.startswith("I"):
        return None
    tags = getattr(image, "tag_v2", {})
    if (declared := int(np.max(tags.get(_MAX_SAMPLE, 0)))) in [2**depth - 1 for depth in _DEPTHS]:
        return declared
    bits = int(np.max(tags.get(_BITS, 16)))
    return 2**bits - 1 if bits < 16 else None


def is_negative(image: "Image.Image") -> bool:
    """Whether 0 is white in a TIFF whose samples Pillow leaves as they are; those of 8 bits it turns over itself."""
    return (image.mode.startswith("I") or image.mode == "F") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def loses_low_byte(image: "Image.Image") -> bool:
    """Whether an image, not yet decoded, has 16 bits a sample of which Pillow keeps 8: colour, or grey with alpha."""
    grey = image.mode.startswith("I") or image.mode == "F"
    return not grey and image.format in ("PNG", "TIFF") and ";16" in str(getattr(image, "tile", ""))
