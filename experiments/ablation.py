"""The paper's two claims, strictly: attention on the skips helps; depthwise-separable convolutions cost nothing.

    python -m experiments.ablation --folders wood_screw_crops crackforest_patches
    python -m experiments.ablation --parts=damage --folders wood_screw_crops crackforest_patches --out=damage_kinds.csv

SAGAN is trained with both, without attention, and with plain convolutions; as published, and to repair. The second
command asks what each kind of synthetic damage is worth to a generator that repairs, by leaving it out. Seeds are
paired: networks that differ in a part see the same images in the same order. Images are scored one by one, nothing is
chosen by the test set. The networks are small and trained for a minute, so that there can be many: what is printed is
the difference that each part makes, with its interval over seeds. A training that the file has is not done again, so
the command can be interrupted. About a minute of 2 cores a training at 32 px.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from experiments.record import made_by, read_results, write_results
from sagan_jax.config import INSPECTION, SaganConfig, TrainingConfig, sagan_preset
from sagan_jax.errors import UserError, require
from sagan_jax.flags import run_experiment

if TYPE_CHECKING:
    from sagan_jax.data.split import Split

WHOLE = "whole"
"""Nothing is left out."""
ABLATED: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "no attention": {"attention": False},
    "plain convolutions": {"depthwise": False},
}
"""What is trained for the paper's claims, by the settings that are changed."""
DAMAGED: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "no lines": {"not_drawn": ("curve", "scratch")},
    "no areas": {"not_drawn": ("blob", "box")},
    "no other place": {"not_drawn": ("other_image", "other_place")},
    "no colour": {"not_drawn": ("colour",)},
    "no light": {"not_drawn": ("light",)},
    "no surroundings": {"not_drawn": ("surroundings", "blur")},
    "opaque": {"opacity": 1.0},
    "in one light": {"relit": 0.0},
}
"""The damage that is trained with, by the settings that are changed."""
REMOVED = {"no attention": "attention", "plain convolutions": "separable convs"}
"""What is taken away, in words, where that is not the name itself."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Train SAGAN with and without a part of it, or a kind of damage, in paired seeds."""

    folders: tuple[Path, ...]
    """Folders of photographs with a test set."""
    parts: Literal["claims", "damage"] = "claims"
    """What is left out: attention and depthwise-separable convolutions, or kinds of synthetic damage."""
    seeds: int = 5
    """How many seeds, from 0 on."""
    size: int = 32
    """Side in pixels of the images."""
    width: int = 16
    """Channels of the first level of the networks."""
    steps: int = 600
    """Training steps of each, on batches of 32 images."""
    published: bool = True
    """Train SAGAN as published, beside the one that repairs; not asked where it is damage that is left out."""
    out: Path = Path("ablation.csv")
    """The CSV file; added to if it is there."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no comparison can have."""
        require(len(self.folders) > 0, "folders", self.folders, "at least one folder")
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        require(self.steps >= 1, "steps", self.steps, "at least 1")

    def __call__(self) -> None:
        """Trains what the file lacks, adding each to it, and prints the differences."""
        import jax

        from sagan_jax import device
        from sagan_jax.data.folder import load_folder

        machine, lines = device.start(), read_results(self.out)
        splits = [load_folder(folder, size=self.size)[0] for folder in self.folders]
        for split in splits:
            if not split.test_labels.any() or split.test_labels.all():
                raise UserError(f"{split.name} has no test set with normal and abnormal images")
        trainings = ("published", "restoration") if self.published and self.parts == "claims" else ("restoration",)
        for seed in range(self.seeds):  # one seed of everything before second seeds
            for split in splits:
                for training in trainings:
                    for part in ABLATED if self.parts == "claims" else DAMAGED:
                        run = Run(split.name, training, part, seed, self.size, self.width, self.steps)
                        if any(recorded(line) == run for line in lines):
                            continue
                        lines.append(run._asdict() | measured(split, run) | made_by(machine, seed))
                        jax.clear_caches()  # a process may have so many programs in memory; each training has its own
                        write_results(self.out, lines)
                        print(f"{run} measured", file=sys.stderr, flush=True)
        print(difference_table(lines))


class Run(NamedTuple):
    """One training."""

    dataset: str
    training: str
    part: str
    seed: int
    size: int
    width: int
    steps: int


def recorded(line: Mapping[str, Any]) -> Run:
    """The training behind a line of the file."""
    return Run(
        line["dataset"],
        line["training"],
        line["part"],
        *(int(line[name]) for name in ("seed", "size", "width", "steps")),
    )


def settings_of(run: Run) -> tuple[SaganConfig, TrainingConfig]:
    """The network's settings, and how it is trained, which is the same for all parts."""
    base = SaganConfig() if run.training == "published" else sagan_preset("inspection")
    training = replace(INSPECTION, epochs=1, steps=run.steps, batch_size=32, seed=run.seed)
    base = replace(base, repair=replace(base.repair, **DAMAGED.get(run.part, {})))
    return replace(base, width=run.width, **ABLATED.get(run.part, {})), training


def measured(split: "Split", run: Run) -> dict[str, Any]:
    """Trains once and scores the test images one by one: `auroc`, and `pixel_auroc`, empty without masks."""
    import jax
    import numpy as np

    from sagan_jax.data.split import take
    from sagan_jax.judging.metrics import auroc
    from sagan_jax.judging.scoring import score_images
    from sagan_jax.methods.table import METHODS
    from sagan_jax.runs.prepare import prepare
    from sagan_jax.training.loop import fit

    prepared = prepare(split, METHODS["sagan"], *settings_of(run))
    detector, images, key = prepared.detector, np.asarray(take(split.train, prepared.kept)), jax.random.key(run.seed)
    *_, (_, state, _) = fit(detector, detector.init(key, prepared.image_shape), images, prepared.training)
    if detector.fit_normal:
        state = detector.fit_normal(state, images, key)
    scores = score_images(detector, state, np.asarray(split.test[:]), pictures=("map",))
    pixels: float | str = ""
    if split.test_masks is not None:
        masks = np.asarray(split.test_masks[:]).astype(bool)
        pixels = round(auroc(masks.ravel(), np.asarray(scores.map).ravel()), 4)
    return {"auroc": round(auroc(split.test_labels, scores.total), 4), "pixel_auroc": pixels}


def paired_difference(with_part: Sequence[float], without: Sequence[float]) -> tuple[float, float, float]:
    """The mean of `with_part - without` over seeds, and its 95 % interval by Student's t.

    Returns:
        Mean, low, high; the interval is infinite for one seed.
    """
    import numpy as np
    from scipy import stats

    difference = np.subtract(with_part, without)
    mean, count = float(difference.mean()), len(difference)
    if count < 2:
        return mean, -float("inf"), float("inf")
    half = float(stats.t.ppf(0.975, count - 1) * difference.std(ddof=1) / count**0.5)
    return mean, mean - half, mean + half


def difference_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line for each set, training and part: AUROC with all parts, without this one, and the paired difference."""
    values: dict[tuple[str, ...], dict[int, float]] = {}
    for line in lines:
        settings = (line["dataset"], line["training"], *(str(line[name]) for name in ("size", "width", "steps")))
        values.setdefault((*settings, line["part"]), {})[int(line["seed"])] = float(line["auroc"])
    text = [f"{'set':<24}{'training':<13}{'without':<20}{'seeds':>5}{'with':>8}{'without':>9}   difference [95 %]"]
    for (*settings, part), found in values.items():
        whole = values.get((*settings, WHOLE), {})
        seeds = sorted(found.keys() & whole.keys())
        if part == WHOLE or not seeds:
            continue
        both, without = ([of[seed] for seed in seeds] for of in (whole, found))
        mean, low, high = paired_difference(both, without)
        removed = REMOVED.get(part, part)
        text.append(
            f"{settings[0]:<24}{settings[1]:<13}{removed:<20}{len(seeds):>5}{sum(both) / len(both):>8.3f}"
            f"{sum(without) / len(without):>9.3f}   {mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        )
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Ablation, "ablation", argv)


if __name__ == "__main__":
    raise SystemExit(main())
