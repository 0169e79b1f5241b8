"""Which estimate of a threshold keeps the rate of false positives that was asked for, from few normal images.

    python -m experiments.thresholds --folders wood_screw_crops crackforest_patches

A part of the normal training images is held out of training. Thresholds for 5 % false positives are set on n of them,
drawn at random many times. The rate that results is counted twice: on the held-out images that were not drawn (`same`:
they differ by chance alone), and on the set's own normal test images (`test`: written by other people, or other parts
of a surface). Abnormal images are not used. The scores are those of the trivial floor, and with `--networks` of a small
SAGAN after little training too, since only the shape of normal scores matters here.

Two minutes of one core. Expect `interpolated` to have a mean rate of 5 % on `same` from 20 images on, and to lie within
2 to 10 % in about nine of ten draws from 100 images on. On `test`, crackforest_patches has 25 %: its patches are cut
from few photographs, and the held-out ones are of the same photographs as those trained on.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.datasets import TfdsConfig
from experiments.record import made_by, result_lines, write_results
from sagan_jax.errors import UserError
from sagan_jax.flags import run_experiment

if TYPE_CHECKING:
    import numpy as np

    from sagan_jax.data.split import Split

RATE = 0.05
WITHIN = (0.02, 0.10)
COUNTS = (15, 30, 50, 100, 200, 400)
NETWORK_CLASSES = {"digits": ("0", "3", "8"), "fashion_mnist": ("Sandal",)}  # a network each; the floor does all


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Measure how well thresholds set on few normal images hold."""

    folders: tuple[Path, ...] = ()
    """Folders of photographs, read at 64 px, beside digits and Fashion-MNIST."""
    draws: int = 200
    """How often n images are drawn of each set of scores."""
    networks: bool = False
    """Score by small networks too, beside the floor; it takes some ten minutes more."""
    tfds: TfdsConfig = field(default_factory=TfdsConfig)
    out: Path = Path("thresholds.csv")
    """The CSV file."""

    def __call__(self) -> None:
        """Measures, prints, writes."""
        from sagan_jax import device

        made, measured = made_by(device.start() if self.networks else None), []
        for split, network in threshold_splits(self):
            for pool in pools(split, network=network):
                measured.append((pool, rates_of_draws(pool, self.draws)))
                print(f"{pool.dataset}, {pool.abnormal}, {pool.scorer}: measured", file=sys.stderr, flush=True)
            write_results(self.out, result_lines(summarised(measured), made))
        print(threshold_table(summarised(measured)))


class Pool(NamedTuple):
    """Scores of normal images that a model was not trained on: held out of its training images, and test images."""

    dataset: str
    abnormal: str
    scorer: str
    held_out: "np.ndarray"
    test: "np.ndarray"


class ThresholdRow(NamedTuple):
    """How one estimate holds on one set of scores.

    The rates are over draws, and over the set's classes; `low` and `high` are their 5 % and 95 % points, `within` is
    the share of draws whose rate is between 2 and 10 %, `over` the share above 10 %.
    """

    dataset: str
    scorer: str
    on: str
    images: int
    estimate: str
    mean: float
    low: float
    high: float
    within: float
    over: float


Estimate = Callable[["np.ndarray", float], float]


def estimates() -> dict[str, Estimate]:
    """Every estimate of the score that a share `rate` of normal images exceed, from sorted scores `[n]`."""
    import numpy as np
    from scipy import stats

    def empirical(scores: np.ndarray, rate: float) -> float:
        return float(np.quantile(scores, 1 - rate))

    def conformal(scores: np.ndarray, rate: float) -> float:
        count = len(scores)
        return float(scores[min(count, int(np.ceil((count + 1) * (1 - rate)))) - 1])

    def interpolated(scores: np.ndarray, rate: float) -> float:  # its mean rate is `rate` whatever the distribution
        return float(np.quantile(scores, 1 - rate, method="weibull"))

    def harrell_davis(scores: np.ndarray, rate: float) -> float:  # all order statistics, weighted by a beta density
        count = len(scores)
        edges = stats.beta.cdf(np.arange(count + 1) / count, (count + 1) * (1 - rate), (count + 1) * rate)
        return float(np.diff(edges) @ scores)

    def tolerance(scores: np.ndarray, rate: float) -> float:  # at most `rate` with a confidence of 90 %
        ranks = np.arange(1, len(scores) + 1)
        sure = stats.beta.cdf(rate, len(scores) + 1 - ranks, ranks) >= 0.9
        return float(scores[np.argmax(sure)] if sure.any() else scores[-1])

    def gaussian(scores: np.ndarray, rate: float) -> float:  # the bound of one further image, by Student's t
        count = len(scores)
        return float(scores.mean() + stats.t.ppf(1 - rate, count - 1) * scores.std(ddof=1) * np.sqrt(1 + 1 / count))

    def log_normal(scores: np.ndarray, rate: float) -> float:
        return float(np.exp(gaussian(np.log(np.maximum(scores, 1e-12)), rate)))

    def tail(scores: np.ndarray, share: float) -> tuple[float, np.ndarray, float]:
        above = max(4, round(share * len(scores)))
        start = scores[-above - 1]
        return float(start), scores[-above:] - start, (above + 1) / (len(scores) + 1)

    def exponential_tail(scores: np.ndarray, rate: float) -> float:
        start, excess, share = tail(scores, 0.3)
        return float(start + excess.mean() * np.log(share / rate)) if share > rate else interpolated(scores, rate)

    def pareto_tail(scores: np.ndarray, rate: float) -> float:  # generalised, by probability-weighted moments
        start, excess, share = tail(scores, 0.3)
        count = len(excess)
        mean, weighted = excess.mean(), (excess * (count - np.arange(1, count + 1)) / max(1, count - 1)).mean()
        shape = float(np.clip(2 - mean / max(mean - 2 * weighted, 1e-12), -0.5, 0.5))
        scale = mean * (1 - shape)
        ratio = np.log(share / rate)
        return float(start + scale * (ratio if abs(shape) < 1e-6 else np.expm1(shape * ratio) / shape))

    return {
        "empirical": empirical,
        "conformal": conformal,
        "interpolated": interpolated,
        "Harrell-Davis": harrell_davis,
        "tolerance bound": tolerance,
        "Gaussian": gaussian,
        "log-normal": log_normal,
        "exponential tail": exponential_tail,
        "Pareto tail": pareto_tail,
    }


def threshold_splits(options: Thresholds) -> "Iterator[tuple[Split, bool]]":
    """The sets, and whether a network is trained on each."""
    from sagan_jax.data.digits import load_digits
    from sagan_jax.data.folder import load_folder
    from sagan_jax.data.split import leave_one_out, thinned
    from sagan_jax.data.tfds_images import load_tfds

    for folder in options.folders:
        yield load_folder(folder, size=64)[0], options.networks
    for dataset in (load_digits(16), load_tfds("fashion_mnist", data_dir=options.tfds.data_dir, size=32)):
        networks = NETWORK_CLASSES[dataset.name] if options.networks else ()
        for abnormal in dataset.class_names:
            split = leave_one_out(dataset, abnormal)
            few = thinned(split, min(4000, len(split.train)))
            yield few, abnormal in networks


def pools(split: "Split", *, network: bool) -> "Iterator[Pool]":
    """Scores of the normal images of a split, by the floor and by a network."""
    from sagan_jax.data.split import hold_out
    from sagan_jax.judging.floor import fit_floor, floor_scores

    kept, held_out = hold_out(len(split.train), 0.4, seed=0)
    if split.test_labels.all():
        raise UserError(f"{split.name} has no normal test images; the rate is counted on them")
    images, normal, test = split.train[kept], split.train[held_out], split.test[~split.test_labels]
    floor = fit_floor(images)
    for name, held, tested in zip(
        ("worst 1 %", "mean"), floor_scores(floor, normal), floor_scores(floor, test), strict=True
    ):
        yield Pool(split.name, split.abnormal, f"floor, {name}", held, tested)
    if network:
        held, tested = by_network(images, (normal, test))
        for i, name in enumerate(("score", "worst 1 %")):
            yield Pool(split.name, split.abnormal, f"SAGAN, {name}", held[i], tested[i])


def by_network(images: "np.ndarray", judged: "Sequence[np.ndarray]") -> "list[tuple[np.ndarray, np.ndarray]]":
    """Trains a small SAGAN for some 150 steps; its score and the worst 1 % of its map, for each of `judged`."""
    import jax
    import numpy as np

    from sagan_jax.config import SaganConfig, TrainingConfig
    from sagan_jax.detector import worst_share
    from sagan_jax.judging.scoring import score_images
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import fit

    training = TrainingConfig(epochs=max(1, round(150 * 32 / len(images))), batch_size=32)
    detector = sagan(SaganConfig(width=8), training.epochs * (len(images) // 32))
    state = detector.init(jax.random.key(0), images.shape[1:])
    for _, trained, _ in fit(detector, state, images, training):
        state = trained
    found = [score_images(detector, state, part, pictures=("map",)) for part in judged]
    return [(scores.total, np.asarray(worst_share(scores.map))) for scores in found]


def rates_of_draws(pool: Pool, draws: int, seed: int = 0) -> "dict[tuple[str, int, str], np.ndarray]":
    """The rates that come out in each draw, by what they are counted on, how many images were drawn, the estimate."""
    import numpy as np

    rng, methods = np.random.default_rng(seed), estimates()
    rates: dict[tuple[str, int, str], list[float]] = {}
    for count in COUNTS:
        if len(pool.held_out) < count + 40:  # the rest must tell the rate
            continue
        for _ in range(draws):
            order = rng.permutation(len(pool.held_out))
            drawn, rest = np.sort(pool.held_out[order[:count]].astype(np.float64)), pool.held_out[order[count:]]
            for name, estimate in methods.items():
                limit = estimate(drawn, RATE)
                rates.setdefault(("same", count, name), []).append(float((rest > limit).mean()))
                rates.setdefault(("test", count, name), []).append(float((pool.test > limit).mean()))
    return {key: np.array(values) for key, values in rates.items()}


def summarised(measured: "Sequence[tuple[Pool, dict[tuple[str, int, str], np.ndarray]]]") -> list[ThresholdRow]:
    """A row a set, scorer, number of images and estimate; a set's classes together."""
    import numpy as np

    together: dict[tuple[str, str, str, int, str], list[np.ndarray]] = {}
    for pool, rates in measured:
        for (on, count, estimate), values in rates.items():
            together.setdefault((pool.dataset, pool.scorer, on, count, estimate), []).append(values)
    rows = []
    for key, parts in together.items():
        values = np.concatenate(parts)
        low, high = np.percentile(values, (5, 95))
        within = ((values >= WITHIN[0]) & (values <= WITHIN[1])).mean()
        numbers = (values.mean(), low, high, within, (values > WITHIN[1]).mean())
        rows.append(ThresholdRow(*key, *(round(float(number), 4) for number in numbers)))
    return rows


def threshold_table(rows: Sequence[ThresholdRow]) -> str:
    """For each estimate and number of images, over all sets alike: mean rate, the share of draws within 2 to 10 %."""
    lines = []
    for on in ("same", "test"):
        lines.append(f"{on:<18}" + "".join(f"{count:>16} images" for count in COUNTS))
        for name in estimates():
            cells = []
            for count in COUNTS:
                some = [row for row in rows if (row.on, row.images, row.estimate) == (on, count, name)]
                mean, within = (
                    sum(part) / max(1, len(some)) for part in ([r.mean for r in some], [r.within for r in some])
                )
                cells.append(f"  {mean:7.1%} {within:6.0%} within")
            lines.append(f"{name:<18}" + "".join(cells))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Thresholds, "thresholds", argv)


if __name__ == "__main__":
    raise SystemExit(main())
