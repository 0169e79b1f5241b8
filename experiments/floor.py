"""The trivial floor: what scoring reaches that knows no networks, rows that no paper of this family prints.

    python -m experiments.floor

One class of a set abnormal, as in the other experiments, under the strict protocol by their nature: every image is
scored on its own. Three scores, by scikit-learn and Pillow, on all normal training images:

- the mean squared error of reconstructing an image from 64 principal components;
- the bytes of the image as a PNG: how complicated it is;
- minus the log-likelihood under a mixture of 10 Gaussians on the first 32 of those components.

CIFAR-10's ten classes take ten minutes of one core. Expect mean AUROCs of 0.51, 0.50 and 0.52.
"""

import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.datasets import load_dataset
from experiments.record import MADE_BY, made_by
from sagan_jax.cli import parse_as
from sagan_jax.exit_codes import guarded

if TYPE_CHECKING:
    import numpy as np

    from sagan_jax.data.split import Split

RECONSTRUCTED, MODELLED, GAUSSIANS = 64, 32, 10


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the trivial floor: how well images are told apart without any network."""

    dataset: str = "cifar10"
    """The data set."""
    abnormal: str = "all"
    """The class to be found; 'all' takes every class in turn."""
    size: int = 32
    """Side in pixels the images are resized to."""
    data_dir: Path | None = None
    """A TFDS data folder; by default $TFDS_DATA_DIR, or TFDS's own."""
    out: Path | None = None
    """A CSV file for the results, with what made them."""


class Row(NamedTuple):
    """One method on one class: AUROC with its bootstrap interval over test images."""

    dataset: str
    method: str
    abnormal: str
    auroc: float
    low: float
    high: float
    train_images: int
    test_images: int
    cpu_seconds: float


def flat(images: "np.ndarray") -> "np.ndarray":
    """Bytes `[N, H, W, C]` to float32 `[N, H * W * C]` in [0, 1]."""
    import numpy as np

    return images.reshape(len(images), -1).astype(np.float32) / 255.0


def png_bytes(images: "np.ndarray") -> "np.ndarray":
    """Bytes of each image as an optimised PNG, `[N]`."""
    import numpy as np
    from PIL import Image

    def size(image: "np.ndarray") -> int:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "PNG", optimize=True)
        return file.tell()

    return np.array([size(image) for image in images], np.float64)


def measure(split: "Split") -> list[Row]:
    """The three methods on one split."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    from sagan_jax.judging.metrics import summarise

    train, test = flat(split.train[:]), flat(split.test[:])
    components = min(RECONSTRUCTED, *train.shape)
    pca = PCA(components, svd_solver="randomized", iterated_power=4, random_state=0)  # pyright: ignore[reportArgumentType]

    def by_reconstruction() -> "np.ndarray":
        pca.fit(train)
        return ((test - pca.inverse_transform(pca.transform(test))) ** 2).mean(axis=1)

    def by_likelihood() -> "np.ndarray":  # its components are those of the fit above
        mixture = GaussianMixture(GAUSSIANS, random_state=0).fit(pca.transform(train)[:, :MODELLED])
        return -mixture.score_samples(pca.transform(test)[:, :MODELLED])

    methods: dict[str, Callable[[], np.ndarray]] = {
        f"PCA reconstruction, {RECONSTRUCTED} components": by_reconstruction,
        "PNG bytes": lambda: png_bytes(split.test[:]),
        f"{GAUSSIANS} Gaussians on {MODELLED} components": by_likelihood,
    }
    rows = []
    for method, score in methods.items():
        started = time.process_time()
        scores = score()
        seconds = round(time.process_time() - started, 1)
        interval = summarise(split.test_labels, scores).auroc
        auroc, low, high = (round(value, 4) for value in interval)
        rows.append(Row(split.name, method, split.abnormal, auroc, low, high, len(train), len(test), seconds))
    return rows


def table(rows: Sequence[Row]) -> str:
    """A line a class, a column a method, and the means."""
    methods = list(dict.fromkeys(row.method for row in rows))
    classes = list(dict.fromkeys(row.abnormal for row in rows))
    values = {(row.method, row.abnormal): row.auroc for row in rows}
    columns = [[values[method, name] for name in classes] for method in methods]
    lines = [f"{'abnormal':<12}" + "".join(f"  {method}" for method in methods)]
    for name, *cells in zip(
        [*classes, "mean"], *([*column, sum(column) / len(column)] for column in columns), strict=True
    ):
        cells = (f"  {value:{len(method)}.3f}" for value, method in zip(cells, methods, strict=True))
        lines.append(f"{name:<12}" + "".join(cells))
    return "\n".join(lines)


def floor(options: Options) -> None:
    """Measures, prints, and writes the results if asked to."""
    from sagan_jax import run_folder
    from sagan_jax.data.split import leave_one_out

    dataset, made = load_dataset(options.dataset, options.size, options.data_dir), made_by()
    rows: list[Row] = []
    for abnormal in dataset.class_names if options.abnormal == "all" else (options.abnormal,):
        rows += measure(leave_one_out(dataset, abnormal))
        print(f"{abnormal} measured", file=sys.stderr, flush=True)
        if options.out:
            run_folder.write_csv(options.out, (*Row._fields, *MADE_BY), [(*row, *made) for row in rows])
    print(table(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Measures the floor as a command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    return guarded(lambda: floor(parse_as(Options, "python -m experiments.floor", argv)))


if __name__ == "__main__":
    raise SystemExit(main())
