"""Scanned handwritten digits that come with scikit-learn: real images, no download."""

import numpy as np

from sagan_jax.data.split import Dataset, official_ids
from sagan_jax.errors import require

_TRAINING_IMAGES = 1415  # the first 11 of 14 forms; the twelfth starts here


def load_digits(size: int = 32) -> Dataset:
    """Loads scikit-learn's digits: 1,797 scans of 0 to 9, brought from 8x8 to ``size`` x ``size``.

    The images are the test part of the Optical Recognition of Handwritten Digits set (Alpaydin and Kaynak, UCI, 1998):
    each pixel counts the inked ones, 0 to 16, in a 4x4 block of the scan. They are scaled to 0..255 and resized
    bilinearly; a larger ``size`` adds no detail.

    The set has no official split, so one is made here. Nothing in it names the writer of a digit, but its labels spell
    the same form of some 130 digits 14 times over, and 13 people are known to have filled the forms in. The first 11
    forms (1,415 images) are for training and the last 3 (382) for the test: no form is in both parts, and so hardly any
    handwriting. Every class has 35 test images or more.

    Args:
        size: Height and width of the images, in pixels.

    Returns:
        The set, with one channel and the classes ``"0"`` to ``"9"``.

    Raises:
        UserError: If the size is not positive.
    """
    require(size >= 1, "the image size", size, "at least 1 pixel")
    from PIL import Image
    from sklearn import datasets

    counts, labels = datasets.load_digits(return_X_y=True)  # [N, 64], [N]
    scans = np.rint(counts * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    images = [Image.fromarray(scan).resize((size, size), Image.Resampling.BILINEAR) for scan in scans]
    is_test = np.arange(len(scans)) >= _TRAINING_IMAGES
    return Dataset(
        name="digits",
        class_names=tuple("0123456789"),
        images=np.stack([np.asarray(image) for image in images])[..., None],  # [N, size, size, 1]
        labels=np.asarray(labels).astype(np.int32),
        ids=official_ids(is_test),
        is_test=is_test,
    )
