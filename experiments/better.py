"""Scorings of one network compared under the strict protocol, and the trivial floor beside them.

    python -m experiments.better --abnormal=automobile,frog,ship --out=selection.csv
    python -m experiments.better --abnormal=airplane,bird,cat,deer,dog,horse,truck --out=untouched.csv

The results on record are of `--network-images=8000 --test-images=3000 --width=16 --epochs=1`, to save time: some four
minutes of one core a class. Expect a mean AUROC of 0.621 for the density, and about 0.5 for the others.

For each class of CIFAR-10 a SAGAN with the paper's settings is trained on images of the other nine, and scored in every
way below. Everything about the density was chosen on automobile, frog and ship alone; the other seven classes were
measured twice, and nothing was chosen by them. A class that the file already has is not measured again, so the command
can be interrupted.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.datasets import ClassLeftOut
from experiments.record import made_by, read_results, result_lines, write_results
from sagan_jax.config import DensityConfig, SaganConfig, TrainingConfig
from sagan_jax.errors import UserError
from sagan_jax.flags import run_experiment

if TYPE_CHECKING:
    import numpy as np

    from sagan_jax.data.split import Split
    from sagan_jax.detector import Scores

SELECTION = ("automobile", "frog", "ship")


@dataclass(frozen=True, kw_only=True)
class Better(ClassLeftOut):
    """Compare scorings of one network under the strict protocol, with the trivial floor beside them."""

    dataset: str = "cifar10"
    """The data set, as in the other experiments."""
    abnormal: str = "all"
    """The classes to be found, with commas between them; 'all' takes every class in turn."""
    network_images: int | None = None
    """Train the network, but not what is fitted beside it, on the first ones of a random order; by default all."""
    model: SaganConfig = field(default_factory=SaganConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    density: DensityConfig = field(default_factory=DensityConfig)
    out: Path = Path("better.csv")
    """A CSV file for the results, with what made them; added to if it is there."""

    def __call__(self) -> None:
        """Measures the classes that the file lacks, adding each to it, and prints the table."""
        from sagan_jax import device

        machine, dataset = device.start(), self.load()
        made, lines = made_by(machine, self.training.seed), read_results(self.out)
        for abnormal in self.classes(dataset):
            split = self.split(dataset, abnormal)
            if not self.has(lines, split):
                lines += result_lines(measure_scorings(split, self), made)
                write_results(self.out, lines)
                print(f"{abnormal} measured", file=sys.stderr, flush=True)
        print(scoring_table(lines))

    def has(self, lines: Sequence[Mapping[str, Any]], split: "Split") -> bool:
        """Whether there are results on a split; raises UserError if there are some of other settings."""
        wanted = self.identity(split)
        there = [line for line in lines if line["abnormal"] == split.abnormal or line["dataset"] != split.name]
        for line, (name, value) in product(there, zip(IDENTITY, wanted, strict=True)):
            if str(line[name]) != str(value):
                told = f"{name} {line[name]}, not {value}"
                raise UserError(f"{self.out} has results of other settings ({told}); name another file with --out")
        return bool(there)

    def identity(self, split: "Split") -> tuple[str | int, ...]:
        """What results on a split are of, as `IDENTITY` names it."""
        images = len(split.train), self.network_images or len(split.train), len(split.test)
        return (split.name, self.model.width, self.training.epochs, self.training.seed, *images)


IDENTITY = ("dataset", "width", "epochs", "seed", "train_images", "network_images", "test_images")
"""Columns that tell results of other settings apart."""


class ScoringRow(NamedTuple):
    """One scoring on one class: AUROC with its bootstrap interval over test images."""

    dataset: str
    abnormal: str
    chosen_on: bool
    scoring: str
    auroc: float
    low: float
    high: float
    method: str
    width: int
    epochs: int
    seed: int
    train_images: int
    network_images: int
    test_images: int


def scorings(split: "Split", options: Better) -> "dict[str, np.ndarray]":
    """Trains on a split, scores its test images in every way; higher is more abnormal."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from sagan_jax.data.split import hold_out
    from sagan_jax.detector import normalise
    from sagan_jax.judging.scoring import score_images
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import fit
    from sagan_jax.training.plan import all_steps
    from sagan_jax.training.progress import progress_bar
    from sagan_jax.transforms import density, patch_features

    training = options.training
    kept, _ = hold_out(len(split.train), training.validation_fraction, training.seed)
    train, test = split.train[:], split.test[:]
    images, key = train[kept], jax.random.key(training.seed)
    shown = images[np.random.default_rng(training.seed).permutation(len(images))[: options.network_images]]
    detector = sagan(options.model, all_steps(len(shown), training))
    state = detector.init(key, images.shape[1:])
    with progress_bar(training.epochs, training.batch_size) as progress:
        *_, (_, state, _) = fit(detector, state, shown, training, progress=progress)
    own = score_images(detector, state, test)
    found = {
        "the paper's: 0.2 R + 0.8 L": own.total,
        "R, the reconstruction term": own.reconstruction,
        "L, the latent term": own.latent,
    }
    # The steps of `density.fit_density` and of its score, taken apart.
    config = replace(options.density, kept=min(options.density.kept, len(images)))
    chosen, space_key = density.choose_kept(images, key, config)
    viewed = np.asarray(chosen[: config.viewed])
    space = patch_features.fit_space(viewed, space_key, config)
    normal, tested = (
        jnp.concatenate([patch_features.place(space, normalise(batch)) for _, batch in patch_features.batches(part)])
        for part in (chosen, test)
    )
    viewed_own = score_images(detector, state, viewed)

    def measured(images: Any, points: jax.Array, scores: "Scores") -> jax.Array:
        parts = []
        for start, batch in patch_features.batches(images):
            here = slice(start, start + len(batch))
            own = jnp.asarray(scores.reconstruction[here]), jnp.asarray(scores.latent[here])
            parts.append(density.complexity(normalise(batch), points[here], *own))
        return jnp.concatenate(parts)

    normal_terms = measured(viewed, normal, viewed_own)
    test_terms = measured(test, tested, own)
    bank = density.unit(normal)
    target = density.bank_distance(bank, len(viewed), config.neighbours)
    angle = jnp.concatenate(
        [
            density.nearest_distance(bank, density.unit(batch), config.neighbours)
            for _, batch in patch_features.batches(tested)
        ]
    )
    found["distance from the mean"] = np.asarray(density.length(tested))
    found["distance to the nearest by angle"] = np.asarray(angle)
    for name, columns in {
        "the same, given the image's complexity": slice(0, 9),
        "density: the same, given R and L too": slice(0, 11),
        "the same, given R and L alone": slice(9, 11),
    }.items():
        regression = density.fit_regression(normal_terms[:, columns], target)
        found[name] = np.asarray(angle - density.predict(regression, test_terms[:, columns]))
    return found


def measure_scorings(split: "Split", options: Better) -> list[ScoringRow]:
    """Every scoring on one split, and the floor."""
    from experiments import floor
    from sagan_jax.judging.metrics import summarise

    def row(scoring: str, interval: Sequence[float], method: str) -> ScoringRow:
        values = (round(float(value), 4) for value in interval)
        dataset, *others = options.identity(split)
        chosen = split.abnormal in SELECTION
        return ScoringRow._make((dataset, split.abnormal, chosen, scoring, *values, method, *others))

    rows = [
        row(name, summarise(split.test_labels, scores).auroc, "sagan")
        for name, scores in scorings(split, options).items()
    ]
    return rows + [row(f.method, (f.auroc, f.low, f.high), "floor") for f in floor.measure_floor(split)]


def scoring_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line a scoring: its AUROC on each class and the mean, from the lines of the file."""
    classes = list(dict.fromkeys(line["abnormal"] for line in lines))
    values = {(line["scoring"], line["abnormal"]): float(line["auroc"]) for line in lines}
    widest = max(len(line["scoring"]) for line in lines)
    text = [f"{'AUROC':<{widest}}" + "".join(f"  {name:>10}" for name in (*classes, "mean"))]
    for scoring in dict.fromkeys(line["scoring"] for line in lines):
        cells = [values[scoring, name] for name in classes]
        text.append(f"{scoring:<{widest}}" + "".join(f"  {v:10.3f}" for v in (*cells, sum(cells) / len(cells))))
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Better, "better", argv)


if __name__ == "__main__":
    raise SystemExit(main())
