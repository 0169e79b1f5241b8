"""The paper's Tables 2 and 3, and the size of the runs that answer them."""

from typing import NamedTuple

from experiments.datasets import CLASSES


class Table(NamedTuple):
    """One of the paper's tables.

    Attributes:
        title: What it is of.
        dataset: The name of the set, as results have it, or its beginning.
        classes: What is abnormal, each in turn.
        paper: The paper's AUROCs, by variant and class.
        size: Side of the images, in pixels.
        epochs: Of the protocol: the authors' code's.
        train_images: Normal training images, those held out for calibration among them.
        test_images: Test images.
    """

    title: str
    dataset: str
    classes: tuple[str, ...]
    paper: dict[str, dict[str, float]]
    size: int
    epochs: int
    train_images: int
    test_images: int


IN_TABLE_2 = ("frog", "bird", "cat", "deer", "dog", "horse", "ship", "truck")
PAPER_2 = {
    "egbad": (0.512, 0.523, 0.466, 0.467, 0.502, 0.387, 0.534, 0.579),
    "ganomaly": (0.777, 0.552, 0.647, 0.684, 0.815, 0.683, 0.818, 0.844),
    "skip_ganomaly": (0.955, 0.611, 0.670, 0.845, 0.706, 0.666, 0.909, 0.857),
    "sagan": (0.996, 0.957, 0.951, 0.998, 0.975, 0.891, 0.990, 0.980),
}
PAPER_3 = {"egbad": 0.489, "ganomaly": 0.900, "skip_ganomaly": 0.840, "sagan_without_dscs": 0.960, "sagan": 0.958}
TABLES = {
    2: Table(
        title="Table 2: AUROC on CIFAR-10, one class abnormal",
        dataset="cifar10",
        classes=CLASSES["cifar10"],
        paper={name: dict(zip(IN_TABLE_2, values, strict=True)) for name, values in PAPER_2.items()},
        size=32,
        epochs=15,
        train_images=45_000,
        test_images=15_000,
    ),
    3: Table(
        title="Table 3: AUROC on bolts; the paper's are private photographs, ours synthetic scenes",
        dataset="bolts",
        classes=("damaged",),
        paper={name: {"damaged": value} for name, value in PAPER_3.items()},
        size=128,
        epochs=15,
        train_images=4_000,
        test_images=1_000,
    ),
}
