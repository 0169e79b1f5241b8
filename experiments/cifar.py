"""CIFAR-10, one class abnormal: the paper's Table 2.

    python -m experiments.cifar --abnormal=cat

45,000 images to train on, 9,000 normal and 6,000 abnormal test images. An epoch took 11 to 18 minutes on 2 cores shared
with other work. Expect a strict AUROC near chance: 0.550 for cat after 3 epochs, where the paper, by
another protocol, prints 0.951.
"""

from collections.abc import Sequence

from experiments.leave_one_out import experiment_on
from sagan_jax.flags import run_experiment

Cifar = experiment_on("cifar10", __doc__ or "")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Cifar, "cifar", argv)


if __name__ == "__main__":
    raise SystemExit(main())
