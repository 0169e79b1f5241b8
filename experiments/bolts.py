"""Bolts of train axles, sound and damaged: the paper's Table 3, on synthetic scenes in place of its own photographs.

    python -m experiments.bolts --size=32 --quick
    python -m experiments.bolts

The first takes about four minutes on 2 cores. The second has the paper's counts, 4,000 normal scenes to train on and
500 normal and 500 abnormal ones to test on, at 128 pixels: a job for an accelerator. The whole table, a row a method,
is `python -m experiments.tables --table=3`. Every scene is made by `sagan_jax.data.bolts.scenes` from a seed: results
on them are results on synthetic images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sagan_jax.cli import run_experiment, with_method
from sagan_jax.config import HardwareConfig, JudgingConfig, OutputConfig, Preset, TrainingConfig, require
from sagan_jax.methods.table import find_method

QUICK = {"train": 1000, "test_normal": 200, "test_abnormal": 200}
QUICK_EPOCHS = 6


@dataclass(frozen=True, kw_only=True)
class Bolts:
    """Find damaged axle bolts among sound ones, on synthetic scenes: the paper's Table 3."""

    method: str = "sagan"
    preset: Preset = "paper"
    """The settings of the method's paper, or of its authors' released code."""
    size: int = 128
    """Side in pixels of the scenes: 32, 64, 128 or 256. Smaller ones are the larger ones reduced."""
    quick: bool = False
    """Fewer scenes and epochs: 1,000 to train on, 200 and 200 to test on."""
    scenes: int = 0
    """Seed of the scenes."""
    cache_dir: Path = Path("runs") / "bolt-scenes"
    """Where the scenes are kept once they are made."""
    model: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    judging: JudgingConfig = field(default_factory=JudgingConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

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

        from sagan_jax import device
        from sagan_jax.data.bolts.scenes import load_bolts
        from sagan_jax.report import text
        from sagan_jax.runs.prepare import prepare
        from sagan_jax.runs.provenance import command
        from sagan_jax.runs.run import run
        from sagan_jax.training.progress import pace

        machine, chosen = device.start_run(self.hardware), find_method(self.method)
        counts = QUICK if self.quick else {}
        with tqdm(desc="scenes", unit="scene", **pace()) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)

            split = load_bolts(size=self.size, seed=self.scenes, cache_dir=self.cache_dir, progress=progress, **counts)
        quick, method = "-quick" if self.quick else "", "" if self.method == "sagan" else f"-{self.method}"
        folder = self.output.out or Path("runs") / f"bolts-{self.size}px{quick}{method}-{self.preset}"
        prepared = prepare(split, chosen, self.model, self.training, self.judging.map)
        result = run(prepared, folder, machine, command(), output=self.output, judging=self.judging)
        print(f"{text.summary(result)}\n\nwritten to {folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Bolts, "bolts", argv)


if __name__ == "__main__":
    raise SystemExit(main())
