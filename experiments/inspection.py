"""The restoration preset on several sets and seeds: what `sagan train DIR` comes to, with no further flag.

    python -m experiments.inspection --folders wood_screw_crops crackforest_patches --seeds=3
    python -m experiments.inspection --folders wood_screw_crops --scores published density --seeds=1

Trains what the folder of runs lacks, then collects every finished run below it, those of `experiments.bolts` too, into
one CSV file, and prints a line a set and score. Five minutes of 2 cores a run at 64 px; SAGAN as published, by its own
score or by the density, a minute or two. Expect an AUROC of about 0.98 on the screws and 0.91 on the cracks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.record import write_results
from sagan_jax import run_folder
from sagan_jax.config import TrainingConfig
from sagan_jax.errors import UserError, require
from sagan_jax.flags import run_experiment
from sagan_jax.runs.provenance import PROVENANCE
from sagan_jax.training.plan import all_steps

ScoreKind = Literal["restoration", "published", "density"]
"""SAGAN trained to repair; as published; as published, with the density in place of its own score."""
TRAINED_WITH: dict[ScoreKind, tuple[str, ...]] = {
    "restoration": (),
    "published": ("--preset=paper", "--epochs=20"),
    "density": ("--preset=paper", "--epochs=20", "--scoring=density"),
}
"""What `sagan train` is given for each."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Train and judge the restoration preset on folders of photographs, each with several seeds."""

    folders: tuple[Path, ...] = ()
    """Folders of photographs with a test set; none to collect alone."""
    scores: tuple[ScoreKind, ...] = ("restoration",)
    """What is trained: the restoration preset, SAGAN as published, the same with the density."""
    seeds: int = 3
    """How many seeds, from 0 on."""
    size: int = 64
    """Side in pixels of the images."""
    group: str | None = None
    """Tells which normal images are held out together, as for `sagan train`."""
    runs: Path = Path("runs/inspection")
    """The folder of runs: each is in SET/SCORE/seedN, or SET/SCORE-grouped/seedN."""
    out: Path = Path("inspection.csv")
    """The CSV file, written anew."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no comparison can have."""
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        require(self.size >= 1, "size", self.size, "at least 1")
        names = [folder.resolve().name for folder in self.folders]
        require(len(set(names)) == len(names), "folders", names, "folders of different names: their runs are named so")

    def __call__(self) -> None:
        """Trains what is missing, collects, writes, prints."""
        from sagan_jax.cli import main as sagan

        for seed in range(self.seeds):  # one seed of every set before second seeds
            for folder, score in product(self.folders, self.scores):
                kind, grouped = (score, []) if self.group is None else (f"{score}-grouped", [f"--group={self.group}"])
                out = self.runs / folder.resolve().name / kind / f"seed{seed}"
                if (result := run_folder.read_json(out / "result.json")) is not None:
                    found = result["image_shape"][0], result.get("group")
                    if found != (self.size, self.group):
                        told = "{} pixels, --group={}".format(*found)
                        raise UserError(f"{out} has a run of {told}; name another folder with --runs")
                else:
                    flags = [f"--size={self.size}", f"--seed={seed}", f"--out={out}", *TRAINED_WITH[score], *grouped]
                    if code := sagan(["train", str(folder), *flags]):
                        raise UserError(f"training on {folder} ended with {code}; what it printed says why")
        lines = collect_inspection(self.runs)
        if not lines:
            raise UserError(f"{self.runs} has no finished run; name --folders to train on")
        write_results(self.out, lines)
        print(inspection_table(lines))


class InspectionRow(NamedTuple):
    """One run, scored strictly; intervals are 95 %. What a set without masks does not have is empty."""

    dataset: str
    score: ScoreKind
    steps: int
    seed: int
    size: int
    group: str
    auroc: float
    low: float
    high: float
    pixel_auroc: float | str
    floor: float | str
    floor_pixel_auroc: float | str
    held_out: int
    calibration_images: int
    false_positive_rate: float | str
    false_positive_rate_low: float | str
    false_positive_rate_high: float | str
    recall: float | str
    train_seconds: float


def collect_inspection(runs: Path) -> list[dict[str, Any]]:
    """The lines of every finished run of SAGAN below a folder, with what made them."""
    lines = []
    for path in sorted(runs.rglob("result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["method"] == "sagan" and "auroc" in result.get("strict", {}):  # others have no test set to judge by
            made = {name: result["provenance"][name] for name in PROVENANCE}
            lines.append(inspection_row(result)._asdict() | made)
    return lines


def inspection_row(result: Mapping[str, Any]) -> InspectionRow:
    """The row of a run's `result.json`."""
    strict, floor = result["strict"], result.get("floor", {})
    threshold = strict.get("threshold", {})
    rate = threshold.get("false_positive_rate_interval", {})

    training = TrainingConfig(**result["training"])
    images = result["images"]["train"]
    repairs = result["model"].get("repair", {}).get("restoration", False)

    def rounded(value: float | str) -> float | str:
        return value if isinstance(value, str) else round(value, 4)

    return InspectionRow(
        dataset=result["dataset"],
        score="restoration" if repairs else "density" if training.scoring == "density" else "published",
        steps=all_steps(images, training),
        seed=training.seed,
        size=result["image_shape"][0],
        group=result.get("group", ""),
        auroc=round(strict["auroc"]["value"], 4),
        low=round(strict["auroc"]["low"], 4),
        high=round(strict["auroc"]["high"], 4),
        pixel_auroc=rounded(strict.get("pixel_auroc", {}).get("value", "")),
        floor=rounded(floor.get("auroc_worst", {}).get("value", "")),
        floor_pixel_auroc=rounded(floor.get("pixel_auroc", {}).get("value", "")),
        held_out=result["images"]["held_out"],
        calibration_images=threshold.get("calibration_images", result["images"]["held_out"]),
        false_positive_rate=rounded(threshold.get("false_positive_rate", "")),
        false_positive_rate_low=rounded(rate.get("low", "")),
        false_positive_rate_high=rounded(rate.get("high", "")),
        recall=rounded(threshold.get("recall", "")),
        train_seconds=result["train_seconds"],
    )


def inspection_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line a set, way of holding out, score and steps: the mean over seeds of each figure, and the AUROC's range."""
    columns = ("auroc", "pixel_auroc", "floor", "floor_pixel_auroc", "false_positive_rate", "recall")
    text = [
        f"{'set':<31}{'px':>3} {'score':<12}{'steps':>6}{'seeds':>6}{'AUROC':>8}   {'seeds from, to':<16}{'pixels':>7}"
        f"{'floor':>8}{'pixels':>8}{'FPR':>7}{'recall':>8}"
    ]
    kinds = ("dataset", "size", "score", "steps", "group")
    for kind in dict.fromkeys(tuple(line[name] for name in kinds) for line in lines):
        of_set = [line for line in lines if tuple(line[name] for name in kinds) == kind]
        values = [float(line["auroc"]) for line in of_set]
        means = []
        for column in columns:
            known = [float(line[column]) for line in of_set if line[column] != ""]
            means.append(f"{sum(known) / len(known):.3f}" if known else "")
        auroc, pixels, floor, floor_pixels, rate, recall = means
        spread = f"{min(values):.3f}, {max(values):.3f}"
        dataset, size, score, steps, group = kind
        name = f"{dataset} by {group}" if group else dataset
        text.append(
            f"{name:<31}{size:>3} {score:<12}{steps:>6}{len(of_set):>6}{auroc:>8}   {spread:<16}{pixels:>7}{floor:>8}"
            f"{floor_pixels:>8}{rate:>7}{recall:>8}"
        )
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Inspection, "inspection", argv)


if __name__ == "__main__":
    raise SystemExit(main())
