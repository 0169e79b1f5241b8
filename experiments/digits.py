"""scikit-learn's digits, one of them abnormal: real scans that come with the package, nothing is downloaded.

python -m experiments.digits --abnormal=3

Two minutes on 2 cores, narrow networks (--width=16) for 1,200 small images. Expect a strict AUROC of about 0.56.
"""

from typing import Any

from experiments.leave_one_out import LeaveOneOut, main


def load(options: Any):
    """The digits, at the size asked for."""
    from sagan_jax.data.digits import load_digits

    return load_digits(options.size)


DIGITS = LeaveOneOut(
    name="digits",
    description=__doc__ or "",
    load=load,
    classes=tuple("0123456789"),
    defaults={"width": 16, "epochs": 15},
)

if __name__ == "__main__":
    raise SystemExit(main(DIGITS))
