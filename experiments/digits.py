"""scikit-learn's digits, one of them abnormal: real scans that come with the package, nothing is downloaded.

python -m experiments.digits --abnormal=3

Two minutes on 2 cores, narrow networks (--width=16) for 1,200 small images. Expect a strict AUROC of about 0.56.
"""

from collections.abc import Sequence

from experiments.leave_one_out import experiment_on
from sagan_jax.flags import run_experiment

Digits = experiment_on("digits", __doc__ or "", width=16, epochs=15)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Digits, "digits", argv)


if __name__ == "__main__":
    raise SystemExit(main())
