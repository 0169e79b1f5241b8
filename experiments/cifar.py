"""CIFAR-10, one class abnormal: the paper's Table 2.

    python -m experiments.cifar --abnormal=cat

45,000 images to train on, 9,000 normal and 6,000 abnormal test images. An epoch took 11 to 18 minutes on 2 cores shared
with other work. Expect a strict AUROC near chance: 0.550 for cat after 3 epochs, where the paper, by
another protocol, prints 0.951.
"""

from experiments.leave_one_out import main
from experiments.tfds import experiment_on

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR = experiment_on("cifar10", "cifar", __doc__ or "", CLASSES)

if __name__ == "__main__":
    raise SystemExit(main(CIFAR))
