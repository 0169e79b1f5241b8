"""The account of a published figure: how far each leak and each choice of the reference protocol moves a run's AUROC.

`experiments.audit` scores the test images of one trained network in every way; here the scores become figures, each
choice by itself against the strict one, and what no choice explains.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.paper import TABLES
from experiments.variants import recognise
from sagan_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sagan_jax.data.split import Dataset, Split
    from sagan_jax.detector import Detector, Scores, State

SCORES = {"0.2 R + 0.8 L": 0.2, "0.9 R + 0.1 L": 0.9, "R": 1.0, "L": 0.0}
"""Weights of R in the score: SAGAN's paper's, its authors' code's, either term alone."""
SCALED = ", R and L each scaled to 0..1 over the test set"
STATISTICS = ("running", "batches shuffled", "batches in order", "each image alone")
"""What BatchNorm normalises a test image by; batches are of the size of training."""


ABOUT = ("dataset", "method", "preset", "abnormal", "seed", "epochs", "test_images")
"""What a run is, in the first columns of `account.csv`."""


class EpochReading(NamedTuple):
    """AUROC of one epoch's model under one kind of statistics and one score; the validation loss chooses epochs."""

    test_images: int
    epoch: int
    validation: float
    statistics: str
    score: str
    auroc: float


class AccountLine(NamedTuple):
    """One choice: the AUROC it gives, and by how much that differs from the strict one.

    `reversed` is the AUROC with abnormal images labelled 0; `from_half` is the distance from guessing.
    """

    choice: str
    auroc: float
    change: float
    reversed: float
    from_half: float


class Account(NamedTuple):
    """A finished run accounted for: what it is, its account, the paper's figure, labels and scores by statistics."""

    about: tuple[Any, ...]
    lines: list[AccountLine]
    paper: float | None
    labels: "np.ndarray"
    scored: "dict[str, Scores]"

    @property
    def title(self) -> str:
        """The run in words."""
        dataset, method, preset, abnormal, seed, epochs, images = self.about
        return (
            f"{method} ({preset}), {dataset}, {abnormal} abnormal, seed {seed}: {epochs} epochs, {images:,} test images"
        )


def in_order(size: int, training: int) -> str:
    """The name of the statistics of batches of a size, in the order of the test set."""
    return "batches in order" if size == training else f"batches of {size} in order"


def scaled(values: "np.ndarray") -> "np.ndarray":
    """Values moved and stretched to 0..1; all 0 if they are all the same."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def aurocs(labels: "np.ndarray", scores: "Scores", weights: Mapping[str, float] = SCORES) -> dict[str, float]:
    """AUROC by every score that is made of R and L.

    Args:
        labels: True is abnormal.
        scores: Of the test images.
        weights: Of R, by the score's name.

    Returns:
        By the score's name; those of two terms also with each term scaled over the test set first. Scaling their sum
        over the test set, as the authors' code does, changes no order, and so no AUROC.
    """
    import numpy as np

    from sagan_jax.judging.metrics import auroc

    reconstruction, latent = (np.asarray(part, np.float64) for part in (scores.reconstruction, scores.latent))
    found = {name: auroc(labels, weight * reconstruction + (1 - weight) * latent) for name, weight in weights.items()}
    for name, weight in weights.items():
        if 0 < weight < 1:
            found[name + SCALED] = auroc(labels, weight * scaled(reconstruction) + (1 - weight) * scaled(latent))
    return found


def own_score(weight: float) -> str:
    """The name of the score with this weight of R."""
    return next((name for name, known in SCORES.items() if known == weight), f"{weight:g} R + {1 - weight:g} L")


def score_epoch(
    detector: "Detector", state: "State", split: "Split", batch_size: int, seed: int, sizes: Sequence[int] = ()
) -> "dict[str, Scores]":
    """The scores of one model under every kind of statistics.

    Args:
        detector: The method.
        state: Its state after an epoch.
        split: The test set, normal images first.
        batch_size: Of the test batches where BatchNorm sees a batch.
        seed: Deals the shuffled batches.
        sizes: Further sizes of test batches in order.

    Returns:
        By the name of the statistics.
    """
    import numpy as np

    from sagan_jax.judging.scoring import reference_protocol_scores, score_images

    def batches(size: int, order: "np.ndarray | None" = None) -> "Scores":
        return reference_protocol_scores(detector, state, split.test, batch_size=size, order=order)

    shuffled = np.random.default_rng(seed).permutation(len(split.test))
    found = (score_images(detector, state, split.test), batches(batch_size, shuffled), batches(batch_size), batches(1))
    others = {in_order(size, batch_size): batches(size) for size in sizes if size != batch_size}
    return dict(zip(STATISTICS, found, strict=True)) | others


def readings_of(
    labels: "np.ndarray",
    scored: "Mapping[str, Scores]",
    epoch: int,
    validation: float,
    weights: Mapping[str, float] = SCORES,
) -> list[EpochReading]:
    """The AUROC of one epoch's model by every statistics and score."""
    return [
        EpochReading(len(labels), epoch, validation, statistics, name, value)
        for statistics, scores in scored.items()
        for name, value in aurocs(labels, scores, weights).items()
    ]


def account(readings: Sequence[EpochReading], score: str, best_of_epochs: float | None = None) -> list[AccountLine]:
    """Each choice by itself, against the strict figure of the last epoch.

    Args:
        readings: Of the last epoch by every statistics and score; of other epochs, where they were judged.
        score: The score the method has.
        best_of_epochs: The best AUROC that any epoch had by batches in order, known from the run's history.

    Returns:
        The strict figure first, then each choice, then several at once, at last the most that any combination gives.
    """
    last = max(reading.epoch for reading in readings)
    epochs = {reading.epoch for reading in readings}
    ends = {(row.statistics, row.score): row.auroc for row in readings if row.epoch == last}
    statistics = list(dict.fromkeys(name for name, _ in ends))
    strict = ends["running", score]

    def line(choice: str, value: float) -> AccountLine:
        return AccountLine(choice, value, value - strict, 1 - value, abs(value - 0.5))

    lines = [line(f"strict: running statistics, last epoch, {score}", strict)]
    lines += [line(f"statistics: {name}", ends[name, score]) for name in statistics if name != "running"]
    if len(epochs) > 1:
        best = max(row.auroc for row in readings if (row.statistics, row.score) == ("running", score))
        lines.append(line("epoch: the best by the test set", best))
    others = [name for _, name in ends if _ == "running" and name != score]
    lines += [line(f"score: {name}", ends["running", name]) for name in others]
    lines.append(line("labels: abnormal = 0", 1 - strict))
    ordered = [row.auroc for row in readings if (row.statistics, row.score) == ("batches in order", score)]
    ordered += [] if best_of_epochs is None else [best_of_epochs]
    lines.append(line("reference protocol: batches in order, the best epoch by the test set", max(ordered)))
    lines += [line(f"batches in order, score: {name}", ends["batches in order", name]) for name in others]
    every = [row.auroc for row in readings] + ordered
    lines.append(line("the most of any combination, abnormal = 1", max(every)))
    lines.append(line("the most of any combination, abnormal = 0", 1 - min(every)))
    return lines


def paper_figure(dataset: str, method: str, abnormal: str) -> float | None:
    """What the paper prints for a method and class; None if it does not."""
    found = (
        table.paper.get(method, {}).get(abnormal) for table in TABLES.values() if dataset.startswith(table.dataset)
    )
    return next((value for value in found if value is not None), None)


def described(lines: Sequence[AccountLine], paper: float | None) -> str:
    """The account in words, and what of the paper's figure it does not explain."""
    width = max(len(line.choice) for line in lines)
    text = [f"{'':<{width}}  AUROC  change  abnormal = 0  |AUROC - 0.5|"]
    text += [
        f"{line.choice:<{width}}  {line.auroc:.3f}  {line.change:+.3f}         {line.reversed:.3f}"
        f"          {line.from_half:.3f}"
        for line in lines
    ]
    text.append("scaling the scores over the test set changes no order: +0.000")
    if paper is not None:
        protocol = next(line.auroc for line in lines if line.choice.startswith("reference protocol"))
        most = max(line.auroc for line in lines)
        text.append(
            f"the paper prints {paper:.3f}: {paper - protocol:+.3f} beyond the reference protocol, {paper - most:+.3f} "
            "beyond every combination"
        )
    return "\n".join(text)


def account_for(
    folder: Path,
    load: "Callable[[int], Dataset]",
    sizes: Sequence[int] = (),
    test_images: int | None = None,
) -> Account:
    """The account of a finished run, by its last epoch's checkpoint and its history.

    Args:
        folder: The run's.
        load: From the side of the images in pixels to the run's set.
        sizes: Of test batches in order, beside that of training.
        test_images: Score this many of the run's test images, evenly spread; by default all.

    Raises:
        UserError: If there is no finished run, or it is of another set.
    """
    from sagan_jax import run_folder
    from sagan_jax.data.split import leave_one_out, thinned
    from sagan_jax.judging.evaluation import REFERENCE_AUROC
    from sagan_jax.runs.model import load_model

    model, result = load_model(folder), run_folder.read_json(folder / "result.json")
    if result is None:
        raise UserError(f"{folder} has not ended: it has no result.json")
    images, training, abnormal = result["images"], result["training"], result["abnormal"]
    loaded = load(model.image_shape[0])
    if loaded.name != result["dataset"]:
        raise UserError(f"{folder} is of {result['dataset']}, not of {loaded.name}; name its set with --dataset")
    tested = images["test_normal"] + images["test_abnormal"]
    split = thinned(leave_one_out(loaded, abnormal), images["train"] + images["held_out"], tested)
    split = thinned(split, None, test_images)
    scored = score_epoch(model.detector, model.state, split, training["batch_size"], training["seed"], sizes)
    weight = result["model"]["score_weight"]
    readings = readings_of(split.test_labels, scored, model.epoch, 0.0, SCORES | {own_score(weight): weight})
    history = run_folder.read_metrics(folder / "metrics.jsonl")
    best = max((row[REFERENCE_AUROC] for row in history if REFERENCE_AUROC in row), default=None)
    lines = account(readings, own_score(weight), best if len(split.test) == tested else None)
    method, preset = recognise(result["method"], result["model"], training)
    about = (split.name, method, preset, abnormal, training["seed"], model.epoch, len(split.test))
    return Account(about, lines, paper_figure(split.name, method, abnormal), split.test_labels, scored)


def save_scores(folder: Path, run: Account) -> None:
    """Writes the labels and each image's R and L under every kind of statistics, as one `.npz`."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, scores in run.scored.items():
        arrays |= {f"{name}: R": scores.reconstruction, f"{name}: L": scores.latent}
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w-]+", "_", "-".join(map(str, run.about[:5])))
    np.savez_compressed(folder / f"scores-{name}.npz", labels=run.labels, **arrays)
