"""How time and memory grow with the number of images, their size and the batch.

    python -m experiments.growth --out=experiments/results/growth

Each point is a process of its own that trains SAGAN on noise, with a number of images, a size and a batch size. Time is
that of the steps once compiled. Memory is the most that the process had at once (Linux; the host's memory if a GPU
trains). Along each axis the best exponent is printed, the slope of one logarithm over the other: 1 is linear.

Ten minutes on 2 cores. Expect time to grow to the power 1.0 with images, batch and pixels, and memory far more slowly:
1.4 to 2.2 GiB in all (docs/performance.md).
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.record import made_by, result_lines, write_results
from experiments.timing import own_peak_memory
from sagan_jax.flags import run_experiment


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Measure how time and memory grow with the number of images, their size and the batch."""

    width: int = 16
    """Channels of the first level of both networks."""
    images: tuple[int, ...] = (5_000, 15_000, 45_000)
    """Numbers of images, at 32 px and batch 64: a whole epoch each."""
    sizes: tuple[int, ...] = (32, 64, 128, 256)
    """Sides in pixels, at batch 8."""
    batches: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Batch sizes, at 32 px."""
    out: Path = Path("growth")
    """Where the table (.csv) and the plot (.png) go."""

    def __call__(self) -> None:
        """Measures every point in a process of its own, prints, writes the table and the plot."""
        rows: list[PointRow] = []
        lines: list[dict[str, Any]] = []
        context = multiprocessing.get_context("spawn")
        for point in points(self):
            with ProcessPoolExecutor(1, mp_context=context) as own_process:
                row, device = own_process.submit(measure_point, point, self.width).result()
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
            lines += result_lines([row], made_by(device))
            write_results(self.out.with_suffix(".csv"), lines)
        plot_growth(self.out.with_suffix(".png"), rows)
        print(growth_table(rows))


class Point(NamedTuple):
    """What is trained."""

    axis: str
    images: int
    size: int
    batch: int

    @property
    def along(self) -> int:
        """The quantity that the axis varies; of a size, the pixels."""
        return {"images": self.images, "pixels": self.size**2, "batch": self.batch}[self.axis]


class PointRow(NamedTuple):
    """A point and what it took: seconds an epoch over its images, milliseconds an image, MiB."""

    axis: str
    images: int
    size: int
    batch: int
    width: int
    seconds: float
    milliseconds_an_image: float
    memory_mib: int


TIMED_STEPS = 6
"""Steps that are timed where the number of images is not what varies."""


def points(options: Growth) -> list[Point]:
    """All points, axis by axis."""
    return [
        *(Point("images", count, 32, 64) for count in options.images),
        *(Point("pixels", TIMED_STEPS * 8, size, 8) for size in options.sizes),
        *(Point("batch", TIMED_STEPS * batch, 32, batch) for batch in options.batches),
    ]


def measure_point(point: Point, width: int) -> tuple[PointRow, str]:
    """Trains on one point, in this process; gives what it took and the device."""
    import jax
    import numpy as np

    from sagan_jax import device
    from sagan_jax.config import SaganConfig
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import PLAIN_STEP, run_steps, start_totals
    from sagan_jax.training.plan import plan_epoch

    machine = device.start()
    detector, shape = sagan(SaganConfig(width=width)), (point.size, point.size, 3)
    state = detector.init(jax.random.key(0), shape)
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, (point.images, *shape), np.uint8))
    plan = plan_epoch(jax.random.key(1), 0, point.images, point.batch)
    held = state, start_totals(detector, state, images, plan, PLAIN_STEP)
    steps = len(plan.order)
    held = jax.block_until_ready(run_steps(detector, *held, images, plan, 0, 1))  # compiles
    seconds = []
    for _ in range(1 if point.axis == "images" else 3):
        started = time.perf_counter()
        held = jax.block_until_ready(run_steps(detector, *held, images, plan, 0, steps))
        seconds.append(time.perf_counter() - started)
    taken = statistics.median(seconds)
    row = PointRow(*point, width, round(taken, 3), round(1e3 * taken / steps / point.batch, 3), own_peak_memory())
    return row, machine


def exponent(along: Sequence[float], taken: Sequence[float]) -> float:
    """The slope of the logarithm of one over that of the other, by least squares."""
    import numpy as np

    return float(np.polyfit(np.log(along), np.log(taken), 1)[0])


def growth_table(rows: Sequence[PointRow]) -> str:
    """A line a point, and the exponents of each axis."""
    lines = [f"{'axis':<8}{'images':>8}{'size':>6}{'batch':>7}{'seconds':>10}{'ms/image':>10}{'MiB':>8}"]
    lines += [
        f"{row.axis:<8}{row.images:>8}{row.size:>6}{row.batch:>7}{row.seconds:>10.2f}"
        f"{row.milliseconds_an_image:>10.2f}{row.memory_mib:>8}"
        for row in rows
    ]
    for axis in dict.fromkeys(row.axis for row in rows):
        here = [row for row in rows if row.axis == axis]
        along = [Point(*row[:4]).along for row in here]
        if len(here) > 1:
            of_time = exponent(along, [row.seconds for row in here])
            of_memory = exponent(along, [row.memory_mib for row in here])
            lines.append(f"with {axis}: time to the power {of_time:.2f}, memory to the power {of_memory:.2f}")
    return "\n".join(lines)


def plot_growth(path: Path, rows: Sequence[PointRow]) -> None:
    """Time and memory over each axis, both logarithmic, with a dashed line of slope 1 through the first point."""
    from matplotlib.figure import Figure

    axes_names = list(dict.fromkeys(row.axis for row in rows))
    figure = Figure(figsize=(3.2 * len(axes_names), 5.2), dpi=120, layout="constrained")
    panels = figure.subplots(2, len(axes_names), squeeze=False)
    for column, axis in enumerate(axes_names):
        here = [row for row in rows if row.axis == axis]
        along = [Point(*row[:4]).along for row in here]
        of_seconds, of_memory = [row.seconds for row in here], [row.memory_mib for row in here]
        for panel, values, label in zip(panels[:, column], (of_seconds, of_memory), ("seconds", "MiB"), strict=True):
            panel.loglog(along, values, marker="o")
            panel.loglog(along, [values[0] * x / along[0] for x in along], color="0.6", linestyle="--", zorder=0)
            panel.set(xlabel=axis, ylabel=label)
            panel.set_xticks(along, [f"{x:,}" for x in along], minor=False)
            panel.minorticks_off()
    figure.suptitle("A training epoch of SAGAN; dashed: linear growth")
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Growth, "growth", argv)


if __name__ == "__main__":
    raise SystemExit(main())
