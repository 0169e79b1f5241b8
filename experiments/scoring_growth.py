"""How the cost of scoring on Ray Data grows with the number of photographs, and what a hundred million would take.

    pip install -e '.[ray]' -c constraints.txt
    python -m experiments.scoring_growth --out=experiments/results/scoring_growth.csv

Each point is a process of its own that scores JPEGs with a number of actors, by `sagan score --ray=local`, or
without Ray (0 actors). The network, SAGAN as it is on photographs by default, is not trained: speed does not depend on
it. There are 16 different photographs, each under many names: each name is read and decoded by itself. Beside the
seconds by the clock there are those of processors, of all processes together, Ray's own among them: other work on the
machine changes them little. A straight line through the points of a number of actors has what starting costs and what a
photograph costs; the printed reckoning to 100,000,000 rests on it alone.

Takes four minutes on 2 quiet cores. An actor counts as one CPU, but XLA and the decoders use whatever the machine has.
"""

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from experiments.benchmark_scoring import write_photographs, write_run
from experiments.record import made_by, result_lines, write_results
from experiments.timing import own_peak_memory
from sagan_jax.errors import UserError
from sagan_jax.flags import run_experiment

DIFFERENT = 16
WIDTH, HEIGHT = 290, 216  # pixels of a photograph
MANY = 100_000_000
SMALL_STORE = 200_000_000  # bytes
PATIENCE = 20  # attempts to start Ray


@dataclass(frozen=True, kw_only=True)
class ScoringGrowth:
    """Measure how the cost of scoring on Ray Data grows with the number of photographs."""

    photographs: tuple[int, ...] = (2_000, 8_000, 32_000)
    """How many are scored."""
    actors: tuple[int, ...] = (2, 1, 0)
    """By how many actors; 0 is `sagan score` without Ray."""
    size: int = 32
    """Side in pixels of what the model takes."""
    folder: Path | None = None
    """Where the run and the photographs are, made if they are not; by default they are made, and go in the end."""
    out: Path = Path("scoring_growth.csv")
    """Where the table goes."""

    def __call__(self) -> None:
        """Measures every point in a process of its own, prints, and writes the table."""
        context = multiprocessing.get_context("spawn")
        lines: list[dict[str, Any]] = []
        rows: list[ScoringCost] = []
        with tempfile.TemporaryDirectory(prefix="sagan-growth-") as folder:
            place = self.folder or Path(folder)
            with ProcessPoolExecutor(1, mp_context=context) as own_process:
                own_process.submit(prepare_folder, place, max(self.photographs), self.size).result()

            def measured(count: int, actors: int) -> tuple[ScoringCost, str]:
                with ProcessPoolExecutor(1, mp_context=context) as own_process:
                    return own_process.submit(measure_scoring, place, count, actors, self.size).result()

            measured(1, max(self.actors))  # Ray is read from the disk, and what it compiles is kept
            for actors, count in product(self.actors, self.photographs):
                row, device = measured(count, actors)
                print(row, file=sys.stderr, flush=True)
                rows.append(row)
                lines += result_lines([row], made_by(device))
                write_results(self.out, lines)
        print(reckoning(rows))


class ScoringCost(NamedTuple):
    """A point and what it took, starting among it: seconds, those of processors, MiB of the process that starts it."""

    photographs: int
    actors: int
    size: int
    seconds: float
    processor_seconds: float
    memory_mib: int


def prepare_folder(folder: Path, count: int, size: int) -> None:
    """A run, and a list of that many photographs, in a folder."""
    from PIL import Image

    if not (folder / "photographs").exists():
        write_run(folder / "run", size)
        for source in write_photographs(folder / "sources", DIFFERENT):
            with Image.open(source) as image:
                image.resize((WIDTH, HEIGHT)).save(source, quality=90)
        (folder / "photographs").mkdir()
    sources = sorted((folder / "sources").iterdir())
    for number in range(count):
        if not (name := folder / "photographs" / f"{number:08d}.jpg").exists():
            os.link(sources[number % DIFFERENT], name)
    measure_scoring(folder, 1, 0, size)  # compiles the program, which is kept


def measure_scoring(folder: Path, count: int, actors: int, size: int) -> tuple[ScoringCost, str]:
    """Scores that many photographs, in this process and its actors; gives what it took and the device."""
    from sagan_jax import device
    from sagan_jax.cli import main

    names = [folder / "photographs" / f"{number:08d}.jpg" for number in range(count)]
    listed = folder / "list"
    listed.write_text("".join(f"{name}\n" for name in names))
    argv = ["score", str(folder / "run"), "-", f"--out={folder / f'{count}-{actors}.csv'}"]
    processors = ProcessorSeconds()
    processors.start()
    started = time.perf_counter()
    if actors:
        start_ray(actors)
        argv.append("--ray=local")
    with listed.open() as sys.stdin, Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = main(argv)
    seconds = time.perf_counter() - started
    if code not in (0, 1):
        raise UserError(f"scoring ended with {code}")
    taken = processors.so_far()
    return ScoringCost(count, actors, size, round(seconds, 2), round(taken, 2), own_peak_memory()), device.start()


def start_ray(processors: int) -> None:
    """Starts a Ray of that many, again if a busy machine took longer than the half minute that Ray allows."""
    import ray

    for _ in range(PATIENCE):
        try:
            ray.init(num_cpus=processors, object_store_memory=SMALL_STORE, include_dashboard=False, log_to_driver=False)
            return
        except Exception as error:
            print(f"Ray did not start: {error}", file=sys.stderr, flush=True)
            ray.shutdown()
    raise UserError(f"Ray did not start in {PATIENCE} attempts")


class ProcessorSeconds(Thread):
    """What this process and all below it use of processors, looked at twice a second, as some end meanwhile (Linux)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.of: dict[int, float] = {}

    def run(self) -> None:
        """Looks until the process ends."""
        while True:
            self.so_far()
            time.sleep(0.5)

    def so_far(self) -> float:
        """The seconds until now."""
        parents, used = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                fields = path.read_text(errors="replace").rpartition(")")[2].split()
                parents[int(path.parent.name)] = int(fields[1])
                used[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for process, seconds in used.items():
            above = process
            while above in parents and above != os.getpid():
                above = parents[above]
            if above == os.getpid():
                self.of[process] = seconds
        return sum(self.of.values())


def line_through(rows: Sequence[ScoringCost]) -> tuple[float, float]:
    """Seconds of a processor that starting takes, and that one photograph more takes, by least squares."""
    import numpy as np

    slope, start = np.polyfit([row.photographs for row in rows], [row.processor_seconds for row in rows], 1)
    return float(start), float(slope)


def reckoning(rows: Sequence[ScoringCost]) -> str:
    """A line a point, and for each number of actors what it starts with, what a photograph takes, and `MANY` would."""
    lines = [f"{'actors':>6}{'photographs':>13}{'seconds':>10}{'processor':>11}{'MiB':>7}"]
    lines += [
        f"{row.actors:>6}{row.photographs:>13,}{row.seconds:>10.1f}{row.processor_seconds:>11.1f}{row.memory_mib:>7,}"
        for row in rows
    ]
    for actors in dict.fromkeys(row.actors for row in rows):
        here = [row for row in rows if row.actors == actors]
        if len({row.photographs for row in here}) < 2:
            continue
        start, each = line_through(here)
        lines.append(
            f"{actors} actors: {start:.1f} s of a core to start, {1e3 * each:.2f} ms of a core a photograph; {MANY:,} "
            f"would take a core {MANY * each / 86_400:.1f} days"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(ScoringGrowth, "scoring_growth", argv)


if __name__ == "__main__":
    raise SystemExit(main())
