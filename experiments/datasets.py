"""The data sets by name: the one table that every experiment's `--dataset` chooses from.

A set of your own is a function `(size, data_dir) -> Dataset` in any module; `--dataset=MODULE:NAME` finds it. Any other
name is taken for one of TensorFlow Datasets.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sagan_jax.errors import UserError, one_line

if TYPE_CHECKING:
    from sagan_jax.data.split import Dataset

Load = Callable[[int, Path | None], "Dataset"]
"""`(side of the images in pixels, the TFDS data folder or None) -> the set`."""


def _tfds(name: str, size: int, data_dir: Path | None) -> "Dataset":
    from sagan_jax.data.tfds_images import load_tfds

    return load_tfds(name, data_dir=data_dir, size=size)


def _digits(size: int, data_dir: Path | None) -> "Dataset":
    from sagan_jax.data.digits import load_digits

    return load_digits(size)


DATASETS: Mapping[str, Load] = {
    "cifar10": partial(_tfds, "cifar10"),
    "digits": _digits,
    "fashion_mnist": partial(_tfds, "fashion_mnist"),
    "mnist": partial(_tfds, "mnist"),
}

CLASSES: Mapping[str, tuple[str, ...]] = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "digits": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "mnist": tuple("0123456789"),
}
"""The classes of the sets that are known before they are read; an experiment on one lists them in its help."""


def load_dataset(name: str, size: int, data_dir: Path | None = None) -> "Dataset":
    """The set of that name in the table, at MODULE:NAME, or in TensorFlow Datasets.

    Args:
        name: What `--dataset` says.
        size: Side in pixels the images are resized to.
        data_dir: A TFDS data folder; by default `$TFDS_DATA_DIR`, or TFDS's own.

    Raises:
        UserError: If there is none of that name.
    """
    if name in DATASETS:
        return DATASETS[name](size, data_dir)
    module, colon, attribute = name.partition(":")
    if not colon:
        return _tfds(name, size, data_dir)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        load: Load = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"dataset is {name!r}, which cannot be imported: {one_line(str(error))}") from error
    return load(size, data_dir)
