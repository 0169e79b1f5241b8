"""Decoded images kept on disk: reading them back takes a fraction of the time that decoding them does."""

import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sagan_jax.atomic_file import replacing
from sagan_jax.data.split import Dataset

UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for an array file that is missing, cut off or damaged, or would have to be unpickled."""


def read_cache(stem: Path) -> Dataset | None:
    """Reads what `write_cache` left under ``stem``, its images memory-mapped and read-only.

    Returns:
        The data set, or None if it is not there or not whole: missing, cut off, or changed since it was written.
    """
    try:
        images = np.load(_images_path(stem), mmap_mode="r", allow_pickle=False)
        with _rest_path(stem).open("rb") as file, np.load(file, allow_pickle=False) as rest:
            if zlib.crc32(images.data) != rest["crc32"]:
                return None
            return Dataset(
                name=str(rest["name"]),
                class_names=tuple(str(class_name) for class_name in rest["class_names"]),
                images=images,
                labels=rest["labels"],
                ids=rest["ids"],
                is_test=rest["is_test"],
            )
    except UNREADABLE:
        return None


def write_cache(stem: Path, dataset: Dataset) -> None:
    """Keeps a data set: its images in ``<stem>.npy``, all else and the images' checksum in ``<stem>.npz``.

    Each file appears whole or not at all. A folder that cannot be written to is only a logged warning: the
    images will be decoded again next time.
    """
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with replacing(_images_path(stem)) as file:
            np.save(file, dataset.images, allow_pickle=False)
        rest = {
            "name": np.array(dataset.name),
            "class_names": np.array(dataset.class_names),
            "labels": dataset.labels,
            "ids": dataset.ids,
            "is_test": dataset.is_test,
            "crc32": np.array(zlib.crc32(dataset.images.data)),
        }
        with replacing(_rest_path(stem)) as file:
            np.savez(file, allow_pickle=False, **rest)
    except OSError as error:
        logging.getLogger(__name__).warning("Decoded images are not kept in %s: %s", stem.parent, error)


def _images_path(stem: Path) -> Path:
    return stem.with_name(stem.name + ".npy")


def _rest_path(stem: Path) -> Path:
    return stem.with_name(stem.name + ".npz")
