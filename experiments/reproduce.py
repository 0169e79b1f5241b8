"""The paper's Tables 2 and 3 within a budget of time: what this machine can run is planned and run, best first.

    python -m experiments.reproduce --budget-minutes=60 --dry-run
    python -m experiments.reproduce --budget-minutes=600
    python -m experiments.reproduce --budget-minutes=30 --tables 2 --methods sagan --seeds 0 1 2

It measures this machine for up to a minute, prints what it will run and how long each part takes, and what the budget
cannot hold. One seed of everything comes before second seeds, SAGAN before the other methods, cat and frog before the
other classes. On an accelerator the classes of a method train side by side as one program, as many as its memory holds;
on a CPU one after the other.

The runs are those of `experiments.tables`, in the same folders, recorded in the same form: `RUNS/table2.csv` and
`RUNS/table3.csv`. It may be stopped at any time and goes on where it was. Several processes, on one machine or on
several that see the folder, share the work: each takes what no other has claimed.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from experiments import plan as planning
from experiments.cells import CellRun, RunSettings, load_splits, prepare_cell
from experiments.claims import claimed
from experiments.paper import TABLES
from experiments.plan import Part
from experiments.record import collect, merged_rows, read_table_rows, result_lines, write_results
from experiments.speed import Kind
from experiments.tables import RESULTS
from experiments.variants import VARIANTS
from sagan_jax.config import Device, HardwareConfig, OutputConfig, Preset
from sagan_jax.errors import UserError, require
from sagan_jax.flags import run_experiment
from sagan_jax.methods.table import METHODS

if TYPE_CHECKING:
    from sagan_jax.data.split import Split
    from sagan_jax.device import Machine
    from sagan_jax.runs.prepare import Prepared


class BudgetSpent(BaseException):
    """The time is over. It is no `Exception`, so no handler of errors swallows it."""


@dataclass(frozen=True, kw_only=True)
class Reproduce(RunSettings):
    """Plan and run the paper's Tables 2 and 3 within a number of minutes, the most valuable cells first."""

    budget_minutes: float
    """How long it may take, measuring included. What does not fit is named, with what it would take."""
    tables: tuple[Literal[2, 3], ...] = (2, 3)
    """2 is CIFAR-10, 3 the bolts."""
    presets: tuple[Preset, ...] = ("paper", "reference")
    """The settings of the method's paper, of its authors' released code; one of them where both agree."""
    methods: tuple[str, ...] = ("sagan", "skip_ganomaly", "ganomaly", "egbad")
    """Methods and ablations of SAGAN, the most valuable first."""
    classes: tuple[str, ...] | None = None
    """The classes of table 2; by default all, cat and frog first. Table 3 has one of its own."""
    seeds: tuple[int, ...] = (0,)
    """All of one seed comes before the next."""
    dry_run: bool = False
    """Measure and print the plan, and run nothing."""
    together: Literal["auto", "vmap", "no"] = "auto"
    """Train the classes of a method side by side as one program (vmap) or one after the other (no). auto: as one
    program on an accelerator, if that is faster there."""
    device: Device = "auto"
    """Where it runs; auto takes an accelerator where there is one."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no plan can have."""
        super().__post_init__()
        require(self.budget_minutes > 0, "budget_minutes", self.budget_minutes, "over 0")
        for kind, names, known in (
            ("tables", self.tables, tuple(TABLES)),
            ("presets", self.presets, get_args(Preset)),
            ("methods", self.methods, tuple(VARIANTS)),
            ("classes", self.classes or (), TABLES[2].classes),
        ):
            if unknown := [name for name in names if name not in known]:
                raise UserError(f"{kind} has {', '.join(map(str, unknown))}; there are {', '.join(map(str, known))}")

    def wanted(self) -> list[CellRun]:
        """Every cell, the most valuable first; a method whose presets agree has one of them."""
        runs = []
        for number in self.tables:
            classes = TABLES[number].classes
            for method in self.methods:
                variant, chosen = VARIANTS[method], dict[object, Preset]()
                for preset in self.presets:
                    if preset in METHODS[variant.method].presets:
                        chosen.setdefault(variant.model(preset), preset)
                runs += [
                    CellRun(number, method, preset, abnormal, seed)
                    for abnormal in (classes if number == 3 else [c for c in self.classes or classes if c in classes])
                    for preset in chosen.values()
                    for seed in self.seeds
                ]
        return sorted(runs, key=lambda run: planning.value(run, self.methods, self.seeds, self.presets))

    def __call__(self) -> None:
        """Measures, prints the plan, runs it and records what came of it."""
        from sagan_jax import device

        over = time.monotonic() + 60 * self.budget_minutes
        machine = device.start_run(HardwareConfig(device=self.device))
        wanted = self.wanted()
        left = [run for run in wanted if not self.is_done(run)]
        print(f"{machine.name}: {len(wanted)} cells wanted, {len(wanted) - len(left)} of them on record", flush=True)
        if not left:
            return
        together = self.together == "vmap" or (self.together == "auto" and not planning.on_cpu(self.device))
        speeds = planning.measure_kinds(self, left, together, _say, always=self.together == "vmap")
        chosen = planning.fill_budget(planning.parts(self, left, speeds), over - time.monotonic())
        if not chosen.left_out:  # the order does not matter: seeds may fill the device's memory too
            chosen = planning.fill_budget(planning.parts(self, left, speeds, join_seeds=True), over - time.monotonic())
        print(planning.plan_text(chosen), flush=True)
        if self.dry_run:
            return
        splits: dict[int, Callable[[str], Split]] = {}
        done = 0
        with time_limit(over - time.monotonic()) as limit:
            for part in chosen.whole + chosen.begun:
                if part.runs[0].table not in splits:
                    splits[part.runs[0].table] = load_splits(self, part.runs[0].table)
                done += self.run(part, splits[part.runs[0].table], machine)
                self.record()
        self.record()
        if limit.reached:
            _say("the budget is spent: the same command goes on from the last whole epoch")
        files = [path for number in self.tables if (path := self.runs / f"table{number}.csv").exists()]
        print(f"{done} cells run" + (f"; results are in {' and '.join(map(str, files))}" if files else ""))

    def is_done(self, run: CellRun) -> bool:
        """Whether a cell has a result in its folder, of as many epochs or more, or one of this size is on record."""
        if self.has_ended(run):
            return True
        table = self.of_table(run.table)
        here, committed = (folder / f"table{run.table}.csv" for folder in (self.runs, RESULTS))
        size = (self.size_of(run.table), self.epochs)
        size += (self.thinning.train_images or table.train_images, self.thinning.test_images or table.test_images)
        protocols = {
            row.protocol
            for row in (*read_table_rows(here), *read_table_rows(committed))
            if row.dataset.startswith(table.dataset)
            and (row.method, row.preset, row.abnormal, row.seed) == (run.method, run.preset, run.abnormal, run.seed)
            and (row.size, row.epochs, row.train_images, row.test_images) == size
        }
        return protocols >= {"strict", "reference"}

    def run(self, part: Part, split_of: "Callable[[str], Split]", machine: "Machine") -> int:
        """Runs the cells of one part of the plan that no other process has claimed or done; returns how many."""
        from sagan_jax import run_folder
        from sagan_jax.runs import many_runs
        from sagan_jax.runs.provenance import command
        from sagan_jax.runs.run import run
        from sagan_jax.training.loop import NotFiniteError

        with ExitStack() as stack:
            mine = []
            for cell in part.runs:
                if not stack.enter_context(claimed(self.folder(cell))):
                    _say(f"{cell.title} is being trained elsewhere: skipped")
                elif not self.is_done(cell):
                    mine.append(cell)
            prepared = [prepare_cell(self, cell, split_of(cell.abnormal)) for cell in mine]
            done, output = 0, OutputConfig(resume=True)
            while done < len(mine):
                count = _at_once(prepared[done:])
                some = slice(done, done + count)
                folders = [self.folder(cell) for cell in mine[some]]
                _say("\n".join(cell.title for cell in mine[some]))
                try:
                    if count > 1:
                        many_runs.run_many(prepared[some], folders, machine, command(), output=output)
                    else:
                        run(prepared[done], folders[0], machine, command(), output=output)
                except (run_folder.InUseError, NotFiniteError) as error:
                    _say(f"skipped: {error}")
                done += count
            return sum(map(self.has_ended, mine))

    def record(self) -> None:
        """Puts the results of all runs in the folder on record there, as `experiments.tables --collect` does."""
        for number in self.tables:
            file = self.runs / f"table{number}.csv"
            rows = merged_rows(read_table_rows(file), collect(self.runs, self.of_table(number)))
            if rows:
                write_results(file, result_lines(rows, {}))


def _say(line: str) -> None:
    """A line on stderr, beside the results."""
    print(line, file=sys.stderr, flush=True)


def _at_once(prepared: "Sequence[Prepared]") -> int:
    """How many of the runs of a part train as one program: what the device's memory holds."""
    if len(prepared) == 1:
        return 1
    first = prepared[0]
    shared = len({name for run in prepared for name in run.split.train_ids})
    height, width, channels = first.image_shape
    kind = Kind(first.detector, (height, width, channels), first.images, shared, first.training)
    return planning.models_at_once(kind, len(prepared))


class Limit:
    """Whether the time was over before the work."""

    reached = False


@contextmanager
def time_limit(seconds: float) -> Iterator[Limit]:
    """Ends what is done in it after that many seconds; what a run has finished by then, whole epochs, is kept."""

    def end(number: int, frame: object) -> None:
        raise BudgetSpent

    limit = Limit()
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield limit
    except BudgetSpent:
        limit.reached = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Reproduce, "reproduce", argv)


if __name__ == "__main__":
    raise SystemExit(main())
