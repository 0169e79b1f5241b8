"""MNIST, one digit abnormal.

python -m experiments.mnist --abnormal=3
"""

from experiments.leave_one_out import main
from experiments.tfds import experiment_on

MNIST = experiment_on("mnist", "mnist", __doc__ or "", tuple("0123456789"))

if __name__ == "__main__":
    raise SystemExit(main(MNIST))
