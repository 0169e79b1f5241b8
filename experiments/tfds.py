"""Any image classification set of TensorFlow Datasets, one class abnormal. TensorFlow itself is not needed.

    python -m experiments.tfds --dataset=svhn_cropped --abnormal=3

CIFAR-10, MNIST and Fashion-MNIST (which have commands of their own), kmnist and svhn_cropped are downloaded and
prepared if needed; of svhn_cropped the training and the test part, not the one named extra. Another set must have
been prepared, as array_record files, by TFDS's own command, which needs TensorFlow; the message for a missing set has
that command in full. It must have the parts train, and test or validation.

Hours on 2 cores at the paper's settings; `--width=16 --train-images=6000 --epochs=3` takes minutes. No figure is on
record.
"""

from collections.abc import Sequence

from experiments.leave_one_out import LeaveOneOut
from sagan_jax.flags import run_experiment


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(LeaveOneOut, "tfds", argv)


if __name__ == "__main__":
    raise SystemExit(main())
