"""Any image classification set of TensorFlow Datasets, one class abnormal. TensorFlow itself is not needed.

    python -m experiments.tfds --dataset=svhn_cropped --abnormal=3

CIFAR-10, MNIST and Fashion-MNIST (which have commands of their own), kmnist and svhn_cropped are downloaded and
prepared where they are not yet; of svhn_cropped the training and the test part, not the one named extra. Another set
must have been prepared, as array_record files, by TFDS's own command, which needs TensorFlow; the message for a set
that is not there has that command in full. It must have the parts train, and test or validation.
"""

from pathlib import Path
from typing import Any, Literal

from experiments.leave_one_out import LeaveOneOut, flag, main

DATA_DIR = flag("data_dir", Path | None, "A TFDS data folder; by default $TFDS_DATA_DIR, or TFDS's own.", default=None)


def load(options: Any, name: str | None = None):
    """The set, from where TFDS keeps it."""
    from sagan_jax.data.tfds_images import load_tfds

    return load_tfds(name or options.dataset, data_dir=options.data_dir, size=options.size)


Known = Literal["cifar10", "digits", "fashion_mnist", "mnist"]


def load_known(options: Any):
    """One of the sets that have a command of their own."""
    if options.dataset == "digits":
        from sagan_jax.data.digits import load_digits

        return load_digits(options.size)
    return load(options, options.dataset)


def experiment_on(dataset: str, name: str, description: str, classes: tuple[str, ...]) -> LeaveOneOut:
    """An experiment on one set of TFDS."""
    return LeaveOneOut(
        name=name,
        description=description,
        load=lambda options: load(options, dataset),
        classes=classes,
        flags=(DATA_DIR,),
    )


ANY = LeaveOneOut(
    name="tfds",
    description=__doc__ or "",
    load=load,
    flags=(flag("dataset", str, "The set's name in TFDS, such as svhn_cropped."), DATA_DIR),
)

if __name__ == "__main__":
    raise SystemExit(main(ANY))
