"""The images that a run's report shows, as thumbnails: few and small, so that the page stays light."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from sagan_jax import run_folder
from sagan_jax.data.split import Split
from sagan_jax.judging.metrics import Labels, ScoreArray
from sagan_jax.report import gallery

FILE = "gallery.json"
VIEWS = ("input", "reconstruction", "map", "overlay")
SIDE = 160  # pixels of a thumbnail; smaller images are stored as they are
_LOSSLESS = 64  # up to this side every pixel is kept
OUTLINE = (0, 255, 200)  # of what is marked as abnormal: a colour the maps do not have


class Views(NamedTuple):
    """Test images to show, with the model's reconstructions and maps.

    Attributes:
        images: As the model is given them, or photographs reduced.
        reconstructed: In about [-1, 1].
        maps: Per-pixel anomaly.
        masks: True where an image is abnormal; None if there are no masks.
    """

    images: UInt8[np.ndarray, "chosen height width channel"]
    reconstructed: Float[np.ndarray, "chosen height width channel"]
    maps: Float[np.ndarray, "chosen height width"]
    masks: Bool[np.ndarray, "chosen height width"] | None


def choose(scores: ScoreArray, labels: Labels, threshold: float, count: int = 12) -> Int[np.ndarray, " chosen"]:
    """The images worth showing: the highest and lowest scores of each class and those nearest to the threshold.

    Args:
        scores: Finite, higher = more abnormal.
        labels: True = abnormal.
        threshold: The score above which an image is abnormal.
        count: How many of each; an image is chosen once.

    Returns:
        Indices of at most `6 * count` images, rising.
    """
    parts = [np.argsort(np.abs(scores - threshold), kind="stable")[: 2 * count]]
    for label in (False, True):
        members = np.flatnonzero(labels == label)
        order = members[np.argsort(scores[members], kind="stable")]
        parts += [order[:count], order[max(0, len(order) - count) :]]
    return np.unique(np.concatenate(parts))


def write_thumbnails(
    path: Path,
    split: Split,
    chosen: Int[np.ndarray, " chosen"],
    views: Views,
    scores: ScoreArray,
    shares: Float[np.ndarray, " image"],
) -> None:
    """Writes the thumbnails as JSON: for each image its id, label, kind, score and views, as data URIs.

    Args:
        path: The file to write.
        split: The test set.
        chosen: The images to show.
        views: What there is to see of them.
        scores: The scores of the whole test set.
        shares: Its calibrated scores.
    """
    heat = gallery.heat_scale(views.maps) if len(chosen) else None
    cards = []
    for place, index in enumerate(chosen):
        assert heat is not None
        image, mask = gallery.rgb(views.images[place]), None if views.masks is None else views.masks[place]
        warmth = heat.to_rgba(views.maps[place], bytes=True)[..., :3]
        pictures = (image, gallery.rgb(views.reconstructed[place]), warmth, overlay(image, warmth, mask))
        label = bool(split.test_labels[index])
        kind = ("abnormal" if label else "normal") if split.test_kinds is None else str(split.test_kinds[index])
        cards.append(
            {
                "id": str(split.test_ids[index]),
                "label": int(label),
                "kind": kind,
                "score": float(scores[index]),
                "calibrated": float(shares[index]),
            }
            | dict(zip(VIEWS, map(_data_uri, pictures), strict=True))
        )
    page = {
        "of": len(split.test),
        "pixelated": views.images.shape[2] <= _LOSSLESS,
        "masked": views.masks is not None,
        "cards": cards,
    }
    run_folder.write_text(path, json.dumps(page))


def overlay(
    image: UInt8[np.ndarray, "height width 3"],
    warmth: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"] | None = None,
) -> UInt8[np.ndarray, "high wide 3"]:
    """A map laid over its image, the image in grey; round the mask's regions an outline.

    Args:
        image: RGB.
        warmth: The map in colours.
        mask: True where the image is abnormal.

    Returns:
        RGB of the image's size; of small images a whole multiple of it, so that the outline is thin.
    """
    from scipy import ndimage

    grey = image.mean(axis=-1, keepdims=True)
    laid = (0.45 * grey + 0.55 * warmth.astype(np.float32)).astype(np.uint8)
    if mask is None:
        return laid
    zoom = max(1, SIDE // max(mask.shape))
    laid, mask = (np.repeat(np.repeat(values, zoom, axis=0), zoom, axis=1) for values in (laid, mask))
    laid[mask & np.logical_not(ndimage.binary_erosion(mask, border_value=1))] = OUTLINE
    return laid


def _data_uri(image: Shaped[np.ndarray, "height width 3"]) -> str:
    """An RGB image as a WebP data URI, no side over `SIDE`."""
    from PIL import Image

    picture, stored = Image.fromarray(image), BytesIO()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(stored, "WEBP", quality=85, lossless=max(image.shape) <= _LOSSLESS)
    return f"data:image/webp;base64,{base64.b64encode(stored.getvalue()).decode()}"
