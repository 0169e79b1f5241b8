"""CIFAR-10, one class abnormal: the paper's Table 2.

    python -m experiments.cifar --abnormal=cat
"""

from pathlib import Path

from experiments.leave_one_out import LeaveOneOut, main

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(data_dir: Path | None, size: int):
    """CIFAR-10 through TFDS."""
    from sagan_jax.data.tfds_images import load_tfds

    return load_tfds("cifar10", data_dir=data_dir, size=size)


CIFAR = LeaveOneOut("cifar", __doc__, CLASSES, load)

if __name__ == "__main__":
    raise SystemExit(main(CIFAR))
