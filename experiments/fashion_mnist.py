"""Fashion-MNIST, one kind of garment abnormal.

python -m experiments.fashion_mnist --abnormal=Sandal

Hours on 2 cores at the paper's settings. `--width=8 --train-images=2000 --test-images=1000 --epochs=2` takes a minute
or two; expect a strict AUROC of about 0.32 from it, for sandals, below chance.
"""

from collections.abc import Sequence

from experiments.leave_one_out import experiment_on
from sagan_jax.flags import run_experiment

FashionMnist = experiment_on("fashion_mnist", __doc__ or "")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(FashionMnist, "fashion_mnist", argv)


if __name__ == "__main__":
    raise SystemExit(main())
