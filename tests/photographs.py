"""Image files for the tests: noise, no two alike, and how they get to disk."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def tiff(pixels: bytes, width, height, **tags):
    """A TIFF of these samples, as they are, with what tags say of them beside the rest: for what Pillow does not write.

    Tags are `bits`, `photometric` (0: zero is white, 1: zero is black), `sample_format` (2: with a sign).
    """
    numbers = {"bits": 258, "photometric": 262, "sample_format": 339}
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(pixels)}
    values |= {numbers[name]: value for name, value in tags.items()}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items())]
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + b"\0" * 4
    )


def packed(values):
    """Even rows of 12-bit values as bytes, two values in three."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()
