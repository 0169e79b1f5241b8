"""Checks of images that come as arrays.

Anything but bytes would be scored as a different image: numbers in [0, 1] as an almost black one.
"""

from typing import Any

import jax
import numpy as np

from sagan_jax.data.patches import Patches
from sagan_jax.data.photographs import Photographs
from sagan_jax.detector import Detector, State, abstract_state
from sagan_jax.errors import UserError

CHANNELS = {1: "grey", 3: "RGB"}
_TRIED_SIDES = tuple(2**power for power in range(4, 11))  # tried when a state's own image shape is to be named


def check_pixels(images: Any) -> None:
    """Raises UserError unless the values are bytes, whatever the shape; says how to make bytes of what they are."""
    if not isinstance(images, (np.ndarray, jax.Array)):
        raise UserError(f"images are of type {type(images).__name__}; they must be a NumPy or JAX array of uint8")
    if images.dtype == np.uint8:
        return
    raise UserError(
        f"images are {images.dtype}{_range_of(images)}; they must be uint8, 0 (black) to 255 (white){_remedy(images)}"
    )


def check_images(images: Any) -> None:
    """Checks an array of images.

    Args:
        images: Any value; `Photographs`, which are read as bytes, pass.

    Raises:
        UserError: Unless it is uint8 `[N, H, W, C]` with 1 or 3 channels.
    """
    if isinstance(images, Photographs):
        return
    check_pixels(images)
    wanted = "they must be [N, H, W, C], the channels last, 1 (grey) or 3 (RGB)"
    if images.ndim == 3 and images.shape[-1] in CHANNELS:
        raise UserError(f"images have the shape {images.shape}; {wanted}; if this is one image, take images[None]")
    if images.ndim == 3:
        raise UserError(f"images have the shape {images.shape}; {wanted}; if they are grey, take images[..., None]")
    if images.ndim != 4:
        raise UserError(f"images have the shape {images.shape}; {wanted}")
    if images.shape[-1] not in CHANNELS:
        hint = "; take np.moveaxis(images, 1, -1)" if images.shape[1] in CHANNELS else ""
        raise UserError(f"images have the shape {images.shape}, {images.shape[-1]} channels; {wanted}{hint}")
    if 0 in images.shape[1:]:
        raise UserError(f"images have the shape {images.shape}: there are no pixels")


def check_images_for(detector: Detector, state: State, images: Any, patches: Patches | None = None) -> None:
    """Checks that images are what a detector's state was made for.

    Args:
        detector: The method.
        state: Its state.
        images: Any value; uint8 `[N, H, W, C]` and `Photographs` may pass.
        patches: How the images, then of any size, are cut.

    Raises:
        UserError: As `check_images`, or if the size or the number of channels is not that of the state.
    """
    check_images(images)
    if patches is not None:
        channels = images.channels if isinstance(images, Photographs) else images.shape[-1]
        image_shape = patches.shape(channels)
    else:
        image_shape = tuple(images.shape[1:])
    if _is_for(detector, state, image_shape):
        return
    raise UserError(f"images are {_words(image_shape)}; {_wanted_by(detector, state, image_shape)}")


def check_training_images(detector: Detector, state: State, images: Any) -> None:
    """As `check_images_for`, and there must be a pixel brighter than 1 of 255: numbers in [0, 1] made bytes have none.

    Raises:
        UserError: As `check_images_for`, or if no pixel is brighter than 1.
    """
    check_images_for(detector, state, images)
    if len(images) and all(_nearly_black(images[start : start + 64]) for start in range(0, len(images), 64)):
        raise UserError(
            "no pixel of the training images is brighter than 1; uint8 images go from 0 (black) to 255 (white). "
            "Multiply numbers in [0, 1] by 255 before you make them uint8"
        )


def _nearly_black(images: Any) -> bool:
    return int(np.asarray(images).max()) <= 1


def _is_for(detector: Detector, state: State, image_shape: tuple[int, ...]) -> bool:
    """Whether the state has the shapes that one for such images has; what only one of them has does not count."""
    expected = dict(jax.tree_util.tree_leaves_with_path(abstract_state(detector, image_shape)))
    there = jax.tree_util.tree_leaves_with_path(state)
    return all(np.shape(leaf) == expected[path].shape for path, leaf in there if path in expected)


def _wanted_by(detector: Detector, state: State, image_shape: tuple[int, ...]) -> str:
    """What images the state is for, as far as it can be found by trying."""
    own = image_shape[:2]
    for size in (own, *((side, side) for side in _TRIED_SIDES)):
        for channels in CHANNELS:
            try:
                found = _is_for(detector, state, (*size, channels))
            except UserError:
                continue
            if found:
                return f"the model takes {_words((*size, channels))}"
    return "the model was made for another size or number of channels"


def _words(image_shape: tuple[int, ...]) -> str:
    height, width, channels = image_shape
    return f"{height} x {width}, {CHANNELS[channels]}"


def _range_of(images: Any) -> str:
    """Where the values lie, of numbers; empty of anything else and of no values."""
    if not images.size or images.dtype.kind not in "iufV":
        return ""
    values = np.asarray(images)
    if images.dtype.kind != "f" and images.dtype.kind != "V":
        return f" from {values.min()} to {values.max()}"
    values = values.astype(np.float64)
    return f" from {values.min():g} to {values.max():g}" if np.isfinite(values).all() else ", not all of them finite"


def _remedy(images: Any) -> str:
    """How to make bytes of such values, where they tell."""
    if images.dtype == bool:
        return ": images.astype(np.uint8) * 255"
    if not images.size or images.dtype.kind not in "iufV":
        return ""
    values = np.asarray(images).astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite(values).all() or low < -1 or (low < 0 and high > 1):
        return ""
    if low < 0:
        return ". If -1 is black and 1 white: np.rint(127.5 * (images + 1)).astype(np.uint8)"
    if high <= 1:
        return ". If 1 is white: np.rint(255 * images).astype(np.uint8)"
    if high <= 255:
        return ". If 255 is white: np.rint(images).astype(np.uint8)"
    return ". If 65,535 is white: np.rint(images / 257).astype(np.uint8)" if high <= 65_535 else ""
