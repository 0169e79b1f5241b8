"""Bolts of train axles, sound and damaged: the paper's Table 3, on synthetic scenes in place of its own photographs.

    python -m experiments.bolts --size=32 --quick
    python -m experiments.bolts

The first takes about three minutes on 2 cores. The second has the paper's counts, 4,000 normal scenes to train on and
500 normal and 500 abnormal ones to test on, at 128 pixels: a job for an accelerator. `--table` runs every row of the
table. Every scene is made by `sagan_jax.data.bolts` from a seed: results on them are results on synthetic images.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.paper import TABLES
from experiments.variants import VARIANTS
from sagan_jax.cli import parse_as, with_method
from sagan_jax.command import guarded
from sagan_jax.config import SETTINGS, MethodName, Preset, RunConfig, TrainingConfig, require

QUICK = {"train": 1000, "test_normal": 200, "test_abnormal": 200}
QUICK_EPOCHS = 6


PAPER = TABLES[3].paper


@dataclass(frozen=True, kw_only=True)
class Bolts:
    """Find damaged axle bolts among sound ones, on synthetic scenes: the paper's Table 3."""

    method: MethodName = "sagan"
    """SAGAN, or a method it is compared with; each has flags of its own."""
    preset: Preset = "paper"
    """The settings of the method's paper, or of its authors' released code."""
    table: bool = False
    """Run every row of Table 3, one after the other, each method with the preset's settings whatever its flags say."""
    size: int = 128
    """Side in pixels of the scenes: 32, 64, 128 or 256. Smaller ones are the larger ones reduced."""
    quick: bool = False
    """A quarter of the scenes and few epochs: 1,000 to train on, 200 and 200 to test on."""
    scenes: int = 0
    """Seed of the scenes."""
    cache_dir: Path = Path("runs") / "bolt-scenes"
    """Where the scenes are kept once they are made."""
    model: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @classmethod
    def of(cls, argv: Sequence[str]) -> type["Bolts"]:
        """The command with the flags and defaults of the method and preset that the command line names."""
        return with_method(cls, argv, **({"epochs": QUICK_EPOCHS} if "--quick" in argv else {}))

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.size >= 16, "size", self.size, "at least 16")
        require(self.scenes >= 0, "scenes", self.scenes, "0 or more")

    def __call__(self) -> None:
        """Makes the scenes, trains, and prints the result."""
        from tqdm import tqdm

        from sagan_jax.data.bolts import load_bolts

        counts = QUICK if self.quick else {}
        with tqdm(desc="scenes", unit="scene", mininterval=0.5 if sys.stderr.isatty() else 30.0) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)

            split = load_bolts(size=self.size, seed=self.scenes, cache_dir=self.cache_dir, progress=progress, **counts)
        name = f"bolts-{self.size}px{'-quick' if self.quick else ''}"
        if not self.table:
            method = "" if self.method == "sagan" else f"-{self.method}"
            run_row(
                split, self.method, self.model, self, self.run.out or Path("runs") / f"{name}{method}-{self.preset}"
            )
            return
        results = []
        for row in PAPER:
            variant = VARIANTS[row]
            training = replace(self.training, batch_size=SETTINGS[variant.method].batch_size)
            folder = (self.run.out or Path("runs") / f"{name}-table3-{self.preset}") / row
            model = variant.model(self.preset)
            results.append(run_row(split, variant.method, model, replace(self, training=training), folder))
        print(table(results))


def run_row(split: Any, method: str, model: Any, settings: Bolts, folder: Path) -> dict[str, Any]:
    """Trains and tests one method and prints how it did."""
    from sagan_jax import evaluation
    from sagan_jax.provenance import command
    from sagan_jax.run import Experiment, run

    result = run(Experiment(split, method, model, settings.training, settings.run, folder), command())
    print(f"{evaluation.summary(result)}\n\nwritten to {folder}\n", flush=True)
    return result


def table(results: Sequence[dict[str, Any]]) -> str:
    """Table 3 as text: AUROC, pixel AUROC and AUPRO on synthetic scenes, beside the paper's AUROC on photographs."""
    lines = [f"{'synthetic bolts':<20}  AUROC  pixel AUROC  AUPRO  the paper, on its private photographs"]
    for (row, paper), result in zip(PAPER.items(), results, strict=True):
        image, pixel, overlap = (result["strict"][name]["value"] for name in ("auroc", "pixel_auroc", "aupro"))
        (auroc,) = paper.values()
        lines.append(f"{VARIANTS[row].title:<20}  {image:5.3f}  {pixel:11.3f}  {overlap:5.3f}  {auroc:5.3f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.command.guarded`."""
    return guarded(parse(sys.argv[1:] if argv is None else list(argv)))


def parse(argv: list[str]) -> Bolts:
    """The command line as settings, to be called. Unknown flags and values end the process with exit code 2."""
    return parse_as(Bolts, "python -m experiments.bolts", argv)


if __name__ == "__main__":
    raise SystemExit(main())
