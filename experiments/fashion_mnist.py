"""Fashion-MNIST, one kind of garment abnormal.

python -m experiments.fashion_mnist --abnormal=Sandal
"""

from experiments.leave_one_out import main
from experiments.tfds import experiment_on

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_MNIST = experiment_on("fashion_mnist", "fashion_mnist", __doc__ or "", CLASSES)

if __name__ == "__main__":
    raise SystemExit(main(FASHION_MNIST))
