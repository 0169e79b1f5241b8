"""The data sets by name: the one table that every experiment's `--dataset` chooses from.

A set of your own is a function `(size, data_dir) -> Dataset` in any module; `--dataset=MODULE:NAME` finds it. Any other
name is taken for one of TensorFlow Datasets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sagan_jax.errors import UserError
from sagan_jax.named_object import import_named

if TYPE_CHECKING:
    from sagan_jax.data.split import Dataset, Split

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
    if ":" not in name:
        return _tfds(name, size, data_dir)
    load: Load = import_named("dataset", name)
    return load(size, data_dir)


@dataclass(frozen=True, kw_only=True)
class TfdsConfig:
    """Where sets of TensorFlow Datasets are."""

    data_dir: Path | None = None
    """A TFDS data folder; by default $TFDS_DATA_DIR, or TFDS's own."""


@dataclass(frozen=True, kw_only=True)
class ThinningConfig:
    """How much of a set is used."""

    train_images: int | None = None
    """Train on this many images, evenly spread; by default all."""
    test_images: int | None = None
    """Judge by this many test images, evenly spread; by default all."""

    def thin(self, split: "Split") -> "Split":
        """The part of a split that is used."""
        from sagan_jax.data.split import thinned

        return thinned(split, self.train_images, self.test_images)


@dataclass(frozen=True, kw_only=True)
class ClassLeftOut:
    """The flags of every experiment that leaves a class out of a set and looks for it."""

    dataset: str
    """The data set: cifar10, digits, fashion_mnist, mnist, another one's name in TensorFlow Datasets, or MODULE:NAME of
    a function of your own that loads one."""
    abnormal: str
    """The class to be found, in no training image; several with commas between them, or 'all': each in turn."""
    size: int = 32
    """Side in pixels the images are resized to: 32, 64, 128 or 256."""
    tfds: TfdsConfig = field(default_factory=TfdsConfig)
    thinning: ThinningConfig = field(default_factory=ThinningConfig)

    def load(self) -> "Dataset":
        """The data set."""
        return load_dataset(self.dataset, self.size, self.tfds.data_dir)

    def classes(self, dataset: "Dataset") -> tuple[str, ...]:
        """The classes to be found, each in turn; raises UserError for one that the set does not have."""
        if self.abnormal == "all":
            return dataset.class_names
        names = (self.abnormal,) if self.abnormal in dataset.class_names else tuple(self.abnormal.split(","))
        if unknown := [name for name in names if name not in dataset.class_names]:
            raise UserError(
                f"{dataset.name} has no class {', '.join(unknown)}; its classes are {', '.join(dataset.class_names)}"
            )
        return names

    def split(self, dataset: "Dataset", abnormal: str) -> "Split":
        """The set with one class abnormal, thinned as wanted."""
        from sagan_jax.data.split import leave_one_out

        return self.thinning.thin(leave_one_out(dataset, abnormal))
