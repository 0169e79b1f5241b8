"""scikit-learn's digits, one digit abnormal: real scans that come with the package, so nothing is downloaded.

    python -m experiments.digits --abnormal=3
"""

from experiments.leave_one_out import LeaveOneOut, main
from sagan_jax.errors import UserError


def load(data_dir, size):
    """The digits; there is no data folder to look in."""
    from sagan_jax.data.digits import load_digits

    if data_dir is not None:
        raise UserError("--data-dir has no use here: the digits come with scikit-learn")
    return load_digits(size)


DIGITS = LeaveOneOut(
    name="digits",
    description=__doc__,
    classes=tuple("0123456789"),
    load=load,
    defaults={"width": 16, "epochs": 15},
)

if __name__ == "__main__":
    raise SystemExit(main(DIGITS))
