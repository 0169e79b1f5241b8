"""Readers of the archives that data sets are published in: CIFAR-10's, MNIST's idx files, SVHN's MATLAB files."""

import contextlib
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from sagan_jax.errors import UserError


class LabelledImages(NamedTuple):
    """One part of a set, as it is in its archive."""

    images: UInt8[np.ndarray, "n height width *channel"]
    labels: UInt8[np.ndarray, " n"]


def read_svhn(path: Path) -> LabelledImages:
    """Reads a part of SVHN's cropped digits, a MATLAB file of `X`, uint8 [32, 32, 3, N], and `y` [N, 1].

    Returns:
        The images, uint8 [N, 32, 32, 3], and the digits they show; the file has 10 for a 0.

    Raises:
        UserError: If the file is cut off or something else.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with reading_archive(path, "a MATLAB file of SVHN"):
        try:
            content = loadmat(path, variable_names=("X", "y"))
        except (MatReadError, TypeError, NotImplementedError) as error:  # MATLAB's later format is another
            raise ValueError(str(error)) from error
        images, labels = content["X"], content["y"]
        if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3) or images.ndim != 4:
            raise ValueError(f"X is {images.dtype} {images.shape}")
        if labels.shape != (images.shape[3], 1):
            raise ValueError(f"y has the shape {labels.shape} for {images.shape[3]} images")
        if labels.min(initial=1) < 1 or labels.max(initial=1) > 10:
            raise ValueError(f"it has labels from {labels.min():g} to {labels.max():g}, and they go from 1 to 10")
    return LabelledImages(np.moveaxis(images, -1, 0), (labels[:, 0] % 10).astype(np.uint8))


def read_cifar10(path: Path) -> tuple[list[str], LabelledImages, LabelledImages]:
    """Reads CIFAR-10's binary archive, ``cifar-10-binary.tar.gz``.

    Five training files and a test file hold records of 3,073 bytes: the label, then the red, the green and the blue
    pixels row by row. A text file names the classes.

    Returns:
        The ten class names, the training images and the test images, uint8 [N, 32, 32, 3].

    Raises:
        UserError: If the file is cut off or something else.
    """
    record = np.dtype([("label", np.uint8), ("image", np.uint8, (3, 32, 32))])
    with reading_archive(path, "CIFAR-10's binary archive"):
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: archive.extractfile(member) for member in archive.getmembers()}
            files = {name: file.read() for name, file in members.items() if file is not None}
        class_names = files["batches.meta.txt"].decode().split()
        if len(class_names) != 10:
            raise ValueError(f"it names {len(class_names)} classes")
        train = np.concatenate([np.frombuffer(files[f"data_batch_{i}.bin"], record) for i in range(1, 6)])
        test = np.frombuffer(files["test_batch.bin"], record)
        parts = [LabelledImages(part["image"].transpose(0, 2, 3, 1), part["label"]) for part in (train, test)]
        for part in parts:
            require_ten_labels(part.labels)
    return class_names, parts[0], parts[1]


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Reads a gzipped idx file of bytes, the format of MNIST.

    Two zero bytes, a byte for the type (8 is uint8) and one for the rank; then each dimension as a big-endian 32-bit
    integer; then the values.

    Raises:
        UserError: If the file is cut off or something else.
    """
    with reading_archive(path, "a gzipped idx file of bytes"):
        content = gzip.decompress(path.read_bytes())
        if len(content) < 4 or content[:3] != b"\x00\x00\x08":
            raise ValueError(f"it starts with {content[:4]!r}")
        rank = content[3]
        shape = np.frombuffer(content, ">u4", count=rank, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


@contextlib.contextmanager
def reading_archive(path: Path, what: str) -> Iterator[None]:
    """Turns the errors of reading a file's content into one that names the file."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{path} is not {what}: there is no {error.args[0]} in it") from error
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path} is not {what}: {error}") from error


def require_ten_labels(labels: UInt8[np.ndarray, " n"]) -> None:
    """Raises ValueError for a label that none of ten classes has."""
    if labels.max() >= 10:
        raise ValueError(f"it has the label {labels.max()}, and there are 10 classes")
