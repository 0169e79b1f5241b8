"""Image files for the tests: noise, no two alike, and how they get to disk."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path
