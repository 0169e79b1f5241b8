"""The trivial floor: what scores without any network reach. No paper of this family prints them.

    python -m experiments.floor
    python -m experiments.floor --data=DIR --size=64

It takes a set with one class abnormal, or a folder of photographs with its own test images. Every image is scored on
its own, so the protocol is strict. Four scores, by scikit-learn and Pillow, on all normal training images:

- the squared error of reconstructing an image from 64 principal components, over its worst 1 % of the pixels;
- its mean over all pixels;
- the size of the image as a PNG: how complicated it is;
- minus the log-likelihood under a mixture of 10 Gaussians on the first 32 of those components.

CIFAR-10's ten classes take ten minutes of one core. Expect mean AUROCs of 0.51, 0.50 and 0.52.
"""

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.datasets import ClassLeftOut
from experiments.record import made_by, result_lines, write_results
from sagan_jax.errors import UserError
from sagan_jax.flags import run_experiment

if TYPE_CHECKING:
    import numpy as np

    from sagan_jax.data.split import Split

MODELLED, GAUSSIANS = 32, 10


@dataclass(frozen=True, kw_only=True)
class TrivialFloor(ClassLeftOut):
    """Measure the trivial floor: how well normal and abnormal images are separated without any network."""

    dataset: str = "cifar10"
    """The data set, as in the other experiments."""
    data: Path | None = None
    """A folder of photographs in place of the data set, in a layout that `sagan train` takes."""
    abnormal: str = "all"
    """The classes to be found, with commas between them; 'all' takes every class in turn."""
    out: Path | None = None
    """A CSV file for the results, with what made them."""

    def __call__(self) -> None:
        """Measures, prints, and writes the results if asked to."""
        made = made_by()
        rows: list[FloorRow] = []
        for split in floor_splits(self):
            rows += measure_floor(split)
            print(f"{split.abnormal} measured", file=sys.stderr, flush=True)
            if self.out:
                write_results(self.out, result_lines(rows, made))
        print(floor_table(rows))


class FloorRow(NamedTuple):
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


def png_bytes(images: "np.ndarray") -> "np.ndarray":
    """Bytes of each image as an optimised PNG, `[N]`."""
    import numpy as np
    from PIL import Image

    def size(image: "np.ndarray") -> int:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "PNG", optimize=True)
        return file.tell()

    return np.array([size(image) for image in images], np.float64)


def measure_floor(split: "Split") -> list[FloorRow]:
    """The four scores on one split."""
    from sklearn.mixture import GaussianMixture

    from sagan_jax.judging.floor import COMPONENTS, Floor, fit_floor, floor_scores
    from sagan_jax.judging.metrics import summarise

    train, test = split.train[:], split.test[:]
    fitted: list[Floor] = []

    def by_worst() -> "np.ndarray":
        fitted.append(fit_floor(train))
        return floor_scores(fitted[0], test).worst

    def projected(images: "np.ndarray") -> "np.ndarray":
        mean, components = fitted[0]
        return (images.reshape(len(images), -1).astype("float32") / 255.0 - mean) @ components[:MODELLED].T

    def by_likelihood() -> "np.ndarray":
        mixture = GaussianMixture(min(GAUSSIANS, len(train)), random_state=0).fit(projected(train))
        return -mixture.score_samples(projected(test))

    # The first fits the components that the others use.
    methods: dict[str, Callable[[], np.ndarray]] = {
        f"PCA reconstruction, {COMPONENTS} components, worst 1 %": by_worst,
        f"PCA reconstruction, {COMPONENTS} components": lambda: floor_scores(fitted[0], test).mean,
        "PNG bytes": lambda: png_bytes(test),
        f"{GAUSSIANS} Gaussians on {MODELLED} components": by_likelihood,
    }
    rows = []
    for method, score in methods.items():
        started = time.process_time()
        scores = score()
        seconds = round(time.process_time() - started, 1)
        interval = summarise(split.test_labels, scores).auroc
        auroc, low, high = (round(value, 4) for value in interval)
        rows.append(FloorRow(split.name, method, split.abnormal, auroc, low, high, len(train), len(test), seconds))
    return rows


def floor_table(rows: Sequence[FloorRow]) -> str:
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


def floor_splits(options: TrivialFloor) -> "Iterator[Split]":
    """The folder's split, or one for each class wanted."""
    from sagan_jax.data.folder import load_folder
    from sagan_jax.judging.evaluation import has_both

    if options.data is not None:
        if options.abnormal != "all":
            raise UserError("--abnormal names classes of --dataset; of a folder (--data) all kinds are judged together")
        split, unused = load_folder(options.data, size=options.size)
        for line in (*(f"not used: {file}" for file in unused), *split.notes):
            print(line, file=sys.stderr)
        if not has_both(split.test_labels):
            raise UserError(f"{options.data} lacks normal or abnormal test images; the floor is measured on both")
        yield options.thinning.thin(split)
        return
    dataset = options.load()
    for abnormal in options.classes(dataset):
        yield options.split(dataset, abnormal)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(TrivialFloor, "floor", argv)


if __name__ == "__main__":
    raise SystemExit(main())
