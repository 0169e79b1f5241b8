"""The paper's Tables 2 and 3 with our figures beside its own: every method on every class, strict and reference.

    python -m experiments.tables --table=2
    python -m experiments.tables --table=2 --train --methods sagan skip_ganomaly --seeds 0 1 2
    python -m experiments.tables --table=2 --collect --runs=runs
    python -m experiments.tables --table=3 --site=field

The first prints what is on record in `experiments/results/`, in a second. `--train` runs the cells that have no result
under `--runs`, one after the other. It can be stopped at any time and continues there when started again. Several
processes can share the work: each skips the cells that another one is training. `--collect` puts the results in all
runs' folders under `--runs` on record. A cell of CIFAR-10 takes hours on 2 cores; docs/results.md has the figures to
expect.

The strict figure is the mean over seeds with its 95 % interval (Student's t); of one seed, the bootstrap's over test
images. The reference protocol leaks labels (docs/protocol.md). Its figure is printed for comparison with the paper's
and is not a result.
"""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.cells import CellRun, RunSettings, load_splits, prepare_cell
from experiments.paper import TABLES, Table
from experiments.record import Row, collect, merged_rows, read_results, read_table_rows, result_lines, write_results
from experiments.variants import VARIANTS
from sagan_jax.config import HardwareConfig, OutputConfig, Preset
from sagan_jax.errors import UserError
from sagan_jax.flags import run_experiment

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Tables(RunSettings):
    """Print the paper's Table 2 or 3 with our figures beside its own, after running or recording what is missing."""

    table: Literal[2, 3]
    """2 is CIFAR-10, 3 the bolts."""
    train: bool = False
    """Run the cells that have no result yet."""
    collect: bool = False
    """Put the results under `runs` on record: the file has a row a method, class, protocol and seed."""
    format: Literal["text", "markdown", "csv"] = "text"
    """How the table is printed."""
    methods: tuple[str, ...] = ("sagan", "skip_ganomaly", "ganomaly", "egbad")
    """What `train` runs: methods and the ablations of SAGAN."""
    classes: tuple[str, ...] | None = None
    """The classes `train` runs; all by default."""
    seeds: tuple[int, ...] = (0,)
    """The seeds `train` runs."""
    preset: Preset = "paper"
    """The settings `train` takes: those of the method's paper, or of its authors' released code."""
    record: Path | None = None
    """The file of results on record; by default the one in experiments/results."""

    def __post_init__(self) -> None:
        """Raises UserError for a name that is not one of those there are."""
        super().__post_init__()
        classes = TABLES[self.table].classes
        for kind, names, known in (("methods", self.methods, VARIANTS), ("classes", self.classes or (), classes)):
            if unknown := [name for name in names if name not in known]:
                raise UserError(f"{kind} has {', '.join(unknown)}; there are {', '.join(known)}")

    def __call__(self) -> None:
        """Trains and records if asked to, then prints."""
        table = self.of_table(self.table)
        record = self.record or RESULTS / f"table{self.table}.csv"
        if self.train:
            run_cells(self, table)
        rows = read_table_rows(record)
        if self.train or self.collect:
            rows = merged_rows(rows, collect(self.runs, table))
        if self.collect:
            write_results(record, result_lines(rows, {}))
        cells = [*trivial_floor_lines(table), *table_lines(of_table(rows, table), table)]
        print(TABLE_FORMATS[self.format]([HEADER, *cells]))
        if self.format == "text":
            print(
                f"\n{table.title}. The reference protocol's figures leak labels and are no results (docs/protocol.md)."
            )


class Cell(NamedTuple):
    """A line of the table as it is printed."""

    method: str
    abnormal: str
    paper: str
    strict: str
    reference: str
    trained: str


HEADER = Cell("method", "abnormal", "the paper", "strict AUROC", "reference protocol (leaks labels)", "trained")


def interval_over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of two or more AUROCs with its 95 % interval by Student's t, as far as it lies between 0 and 1."""
    import numpy as np
    from scipy import stats

    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean, max(0.0, mean - reach), min(1.0, mean + reach)


def said(value: float | None) -> str:
    """An AUROC, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def average(values: Sequence[float | None]) -> str:
    """The mean AUROC, or a dash where there is none or one is missing."""
    there = [value for value in values if value is not None]
    return said(sum(there) / len(there) if there and len(there) == len(values) else None)


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """An AUROC and its interval."""
    return f"{said(value)} [{said(low)}, {said(high)}]"


def shortfall(row: Row, table: Table) -> list[str]:
    """In what a run falls short of the protocol, in words; nothing if in nothing."""
    parts = (
        (row.size, table.size, "pixels a side"),
        (row.epochs, table.epochs, "epochs"),
        (row.train_images, table.train_images, "training images"),
        (row.test_images, table.test_images, "test images"),
    )
    return [f"{has:,} of {wanted:,} {what}" for has, wanted, what in parts if has < wanted]


def cell(
    rows: Sequence[Row], table: Table, method: str, preset: str, abnormal: str
) -> tuple[Cell, float | None, float | None]:
    """One method on one class, by the runs that saw the most pixels; its strict and reference AUROC."""
    title = VARIANTS[method].title + ("" if preset == "paper" else f" ({preset})")
    paper = said(table.paper.get(method, {}).get(abnormal))
    rows = [row for row in rows if (row.method, row.preset, row.abnormal) == (method, preset, abnormal)]
    if not rows:
        return Cell(title, abnormal, paper, "–", "–", "never run"), None, None

    def extent(row: Row) -> tuple[int, int]:
        return row.size**2 * row.epochs * row.train_images, row.test_images

    longest = max(map(extent, rows))
    rows = [row for row in rows if extent(row) == longest]
    strict, reference = ([row for row in rows if row.protocol == protocol] for protocol in ("strict", "reference"))
    if len(strict) > 1:
        value, low, high = interval_over_seeds([row.auroc for row in strict])
    else:
        value, low, high = strict[0].auroc, strict[0].low, strict[0].high
    mean = sum(row.auroc for row in reference) / len(reference) if reference else None
    notes = [*shortfall(strict[0], table), *([f"{len(strict)} seeds"] if len(strict) > 1 else [])]
    return Cell(title, abnormal, paper, with_interval(value, low, high), said(mean), "; ".join(notes)), value, mean


def of_table(rows: Sequence[Row], table: Table) -> list[Row]:
    """The rows that are of the table's own set."""
    return [row for row in rows if row.dataset.startswith(table.dataset)]


def table_lines(rows: Sequence[Row], table: Table) -> list[Cell]:
    """The table line by line: the paper's methods on all classes, others where they were run, and each one's mean."""
    shown = [(name, "paper") for name in VARIANTS if name in table.paper]
    found = {(row.method, row.preset) for row in rows} - set(shown)
    order = list(VARIANTS)
    shown += sorted(found, key=lambda pair: (order.index(pair[0]), pair[1]))
    result = []
    for method, preset in sorted(shown, key=lambda pair: order.index(pair[0])):
        cells = [cell(rows, table, method, preset, abnormal) for abnormal in table.classes]
        result += [line for line, _, _ in cells]
        run = [(line, strict, reference) for line, strict, reference in cells if strict is not None]
        if len(run) > 1:
            paper = table.paper.get(method, {})
            theirs = average([paper[line.abnormal] for line, _, _ in run if line.abnormal in paper])
            ours = average([strict for _, strict, _ in run])
            leaking = average([reference for _, _, reference in run])
            note = "the runs are of unequal size" if len({line.trained for line, _, _ in run}) > 1 else ""
            result.append(Cell(run[0][0].method, f"mean of {len(run)}", theirs, ours, leaking, note))
    return result


def trivial_floor_lines(table: Table) -> list[Cell]:
    """The trivial floor's lines, from its own file of results."""
    rows = [row for row in read_results(RESULTS / "floor.csv") if row["dataset"].startswith(table.dataset)]
    return [
        Cell(
            row["method"],
            row["abnormal"],
            "–",
            with_interval(*(float(row[name]) for name in ("auroc", "low", "high"))),
            "–",
            "no network",
        )
        for row in rows
    ]


def _as_text(cells: Sequence[Cell]) -> str:
    """Columns of equal width."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _as_markdown(cells: Sequence[Cell]) -> str:
    """A table for a README."""
    head, *body = ("| " + " | ".join(row) + " |" for row in cells)
    return "\n".join([head, "|" + "---|" * len(HEADER), *body])


def _as_csv(cells: Sequence[Cell]) -> str:
    """Comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue().rstrip()


TABLE_FORMATS: dict[str, Callable[[Sequence[Cell]], str]] = {
    "text": _as_text,
    "markdown": _as_markdown,
    "csv": _as_csv,
}


def run_cells(options: Tables, table: Table) -> None:
    """Runs the cells without a result, seed by seed, so that the table fills evenly; skips those run elsewhere."""
    from sagan_jax import device, run_folder
    from sagan_jax.runs.provenance import command
    from sagan_jax.runs.run import run

    split_of = load_splits(options, options.table)
    machine = device.start_run(HardwareConfig())
    for seed in options.seeds:
        for abnormal in options.classes or table.classes:
            for name in options.methods:
                cell_run = CellRun(options.table, name, options.preset, abnormal, seed)
                if options.has_ended(cell_run):
                    continue
                folder = options.folder(cell_run)
                prepared = prepare_cell(options, cell_run, split_of(abnormal))
                print(cell_run.title, file=sys.stderr, flush=True)
                try:
                    run(prepared, folder, machine, command(), output=OutputConfig(resume=True))
                except run_folder.InUseError:
                    print(f"{folder} is being trained elsewhere: skipped", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Tables, "tables", argv)


if __name__ == "__main__":
    raise SystemExit(main())
