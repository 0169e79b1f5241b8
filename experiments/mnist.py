"""MNIST, one digit abnormal.

python -m experiments.mnist --abnormal=3

Hours on 2 cores at the paper's settings; `--width=16 --train-images=6000 --epochs=3` takes minutes. No figure is on
record.
"""

from collections.abc import Sequence

from experiments.leave_one_out import experiment_on
from sagan_jax.flags import run_experiment

Mnist = experiment_on("mnist", __doc__ or "")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Mnist, "mnist", argv)


if __name__ == "__main__":
    raise SystemExit(main())
