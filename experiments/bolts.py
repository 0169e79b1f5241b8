"""Bolts of train axles, sound and damaged: the paper's Table 3, on synthetic scenes in place of its own photographs.

    python -m experiments.bolts --size=32 --quick
    python -m experiments.bolts
    python -m experiments.bolts --site=field

The first takes about four minutes on 2 cores. The second has the paper's counts, 4,000 normal scenes to train on and
500 normal and 500 abnormal ones to test on, at 128 pixels: a job for an accelerator. Both are of one inspection
station: one rig, one type of part, and photographs that differ in pose, light, wear and dirt. The third has another
part, paint, camera and lamp in every photograph, which is far harder: 64 principal components have an AUROC of 0.94 at
the station and 0.60 in the field (64 px, quick). The whole table, a row a method, is
`python -m experiments.tables --table=3`. Every scene is made by `sagan_jax.data.bolts.scenes` from a seed: results on
them are results on synthetic images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan_jax.config import Site
from sagan_jax.errors import require
from sagan_jax.flags import TrainingFlags, run_experiment, with_method
from sagan_jax.methods.table import find_method

QUICK = {"train": 1000, "test_normal": 200, "test_abnormal": 200}
QUICK_EPOCHS = 6


@dataclass(frozen=True, kw_only=True)
class Bolts(TrainingFlags):
    """Find damaged axle bolts among sound ones, on synthetic scenes: the paper's Table 3."""

    size: int = 128
    """Side in pixels of the scenes: 32, 64, 128 or 256. Smaller ones are the larger ones reduced."""
    quick: bool = False
    """Fewer scenes and epochs: 1,000 to train on, 200 and 200 to test on."""
    site: Site = "station"
    """Where the photographs are taken: at one inspection station, which sees one type of part in nearly the same view
    and light, or in the field, where every photograph has another part, camera and lamp (harder)."""
    scenes: int = 0
    """Seed of the scenes; at a station also of its rig and its type of part."""
    cache_dir: Path = Path("runs") / "bolt-scenes"
    """Where the scenes are kept once they are made."""

    @classmethod
    def of_command_line(cls, argv: Sequence[str]) -> type["Bolts"]:
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
        from sagan_jax.runs.run_state import continued
        from sagan_jax.training.progress import pace

        machine, chosen = device.start_run(self.hardware), find_method(self.method)
        counts: dict[str, Any] = QUICK if self.quick else {}
        with tqdm(desc="scenes", unit="scene", **pace()) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)

            split = load_bolts(
                size=self.size, seed=self.scenes, site=self.site, cache_dir=self.cache_dir, progress=progress, **counts
            )
        quick, method = "-quick" if self.quick else "", "" if self.method == "sagan" else f"-{self.method}"
        folder = self.output.out or Path("runs") / f"bolts-{self.site}-{self.size}px{quick}{method}-{self.preset}"
        prepared = prepare(split, chosen, self.model, continued(self.training, folder, self.output), self.judging)
        result = run(prepared, folder, machine, command(), output=self.output)
        print(f"{text.summary(result)}\n\nwritten to {folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Bolts, "bolts", argv)


if __name__ == "__main__":
    raise SystemExit(main())
