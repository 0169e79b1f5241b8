"""What huge pages of memory are worth on this machine: training and scoring with them and without, in turn.

    python -m experiments.huge_pages

Each reading is a process of its own, for pages are chosen when one starts. On Linux; about a minute of 2 cores a round.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sagan_jax.errors import require
from sagan_jax.flags import run_experiment

_TUNABLES = {"small": "glibc.malloc.hugetlb=0", "huge": "glibc.malloc.hugetlb=1"}
_IMAGES = 1024
_READ = "import json; from experiments.huge_pages import read_speeds; print(json.dumps(read_speeds()))"


@dataclass(frozen=True, kw_only=True)
class HugePages:
    """Train and score with huge pages of memory and with small ones, in turn."""

    rounds: int = 5
    """How often each is read; the first round, which compiles, is not counted."""
    out: Path = Path("huge_pages.json")
    """The result."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no comparison can have."""
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")

    def __call__(self) -> None:
        """Reads, writes, prints."""
        from sagan_jax import device, run_folder
        from sagan_jax.runs.provenance import command, provenance

        readings = [{pages: _read_apart(pages) for pages in _TUNABLES} for _ in range(self.rounds + 1)][1:]
        cases: dict[str, Any] = {}
        for case in readings[0]["huge"]:
            ratios = sorted(reading["huge"][case] / reading["small"][case] for reading in readings)
            rates = {pages: round(median(reading[pages][case] for reading in readings), 1) for pages in _TUNABLES}
            cases[case] = {
                "images_per_second": rates,
                "ratio": {"median": median(ratios), "low": ratios[0], "high": ratios[-1]},
            }
            print(f"{case:<24}{rates['huge']:>8} images/s, {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        run_folder.write_json(self.out, {"provenance": provenance(command(), device.start()), "cases": cases})
        print(f"written to {self.out}")


def _read_apart(pages: str) -> dict[str, float]:
    """`read_speeds` in a process of its own with such pages."""
    environment = os.environ | {"GLIBC_TUNABLES": _TUNABLES[pages]}
    done = subprocess.run([sys.executable, "-c", _READ], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout)


def read_speeds() -> dict[str, float]:
    """Images a second in training and in scoring: SAGAN as published at 32 px, and the restoration preset at 64 px."""
    from experiments.speed import Kind, measure_speed
    from sagan_jax import device
    from sagan_jax.config import INSPECTION, Preset, TrainingConfig, sagan_preset
    from sagan_jax.methods.sagan import sagan

    device.start("cpu")
    kinds: dict[str, tuple[Preset, int, TrainingConfig]] = {
        "published, 32 px": ("paper", 32, TrainingConfig(batch_size=64)),
        "restoration, 64 px": ("inspection", 64, INSPECTION),
    }
    found: dict[str, float] = {}
    for name, (preset, side, training) in kinds.items():
        kind = Kind(sagan(sagan_preset(preset), 2000), (side, side, 3), _IMAGES, _IMAGES, training)
        with tempfile.TemporaryDirectory() as scratch:
            speed = measure_speed(kind, 1, Path(scratch))
        found |= {f"{name}, training": speed.training, f"{name}, scoring": speed.scoring}
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(HugePages, "huge_pages", argv)


if __name__ == "__main__":
    raise SystemExit(main())
