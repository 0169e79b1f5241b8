"""Data sets and their splits, as uint8 images in memory or memory-mapped."""

from sagan_jax.data.digits import load_digits
from sagan_jax.data.split import Dataset, Split, hold_out, leave_one_out
from sagan_jax.data.tfds_images import load_tfds

__all__ = ["Dataset", "Split", "hold_out", "leave_one_out", "load_digits", "load_tfds"]
