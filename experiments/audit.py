"""The audit of the protocol: one training run, each epoch judged in every way, so that each leak has its own figure.

    python -m experiments.audit --abnormal=bird --epochs=15

Statistics BatchNorm normalises a test image by: running ones (strict), those of its batch with the test set in order,
those of its batch with the test set shuffled, those of the image alone. Epoch: the last, the best by the test set, the
best by a validation loss on normal images. Score: 0.2 R + 0.8 L (the paper), 0.9 R + 0.1 L (its authors' code), R, L.

A leak separates batches of one kind from batches of the other, but its sign varies: the same leak pushes the AUROC of
some classes far below 0.5. So the table also has the distance from 0.5. The audit keeps a checkpoint an epoch (about
60 MB at the paper's width) and continues where it was stopped.

    python -m experiments.audit --finished runs/table2/sagan-reference/cat/seed0 runs/table2/sagan-reference/frog/seed0

accounts for finished runs, by the checkpoint of their last epoch and their history: what each choice alone does to the
AUROC (statistics, size and order of the test batches, epoch, weights and scaling of the score, which label is 1), what
all of them can do together, and what of the paper's figure is left. It is printed and written to `account.csv`. The
terms of each image's score go to `scores-*.npz` beside it.

An epoch's six evaluations of CIFAR-10's 15,000 test images take several minutes on 2 cores, most of it the images one
by one; `--test-images=3000` takes every fifth. Expect statistics of batches in order to change the AUROC most; the
figures are in docs/protocol.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.account import (
    ABOUT,
    SCORES,
    STATISTICS,
    EpochReading,
    account_for,
    described,
    readings_of,
    save_scores,
    score_epoch,
)
from experiments.datasets import load_dataset
from experiments.leave_one_out import LeaveOneOut
from experiments.record import made_by, read_results, result_lines, write_results
from sagan_jax.errors import require
from sagan_jax.flags import run_experiment
from sagan_jax.methods.table import find_method

if TYPE_CHECKING:
    from sagan_jax.data.split import Dataset

SELECTIONS = ("last", "best by test", "best by validation")


def chosen(readings: Sequence[EpochReading], statistics: str, score: str, selection: str) -> EpochReading:
    """The epoch one would report, choosing it in one of the `SELECTIONS`."""
    rows = [row for row in readings if (row.statistics, row.score) == (statistics, score)]
    key = {
        "last": lambda row: row.epoch,
        "best by test": lambda row: row.auroc,
        "best by validation": lambda row: -row.validation,
    }
    return max(rows, key=key[selection])


def leak_table(readings: Sequence[EpochReading]) -> str:
    """Every AUROC, a line for statistics and selection, and what each leak adds to or takes from the strict one."""
    width = max(map(len, STATISTICS))
    head = f"{'BatchNorm by':<{width}}  {'epoch':<18}" + "".join(f"  {name:>13}" for name in SCORES)
    lines = [head]
    for statistics in STATISTICS:
        for selection in SELECTIONS:
            values = "".join(f"  {chosen(readings, statistics, name, selection).auroc:13.3f}" for name in SCORES)
            lines.append(f"{statistics:<{width}}  {selection:<18}{values}")
    score = next(iter(SCORES))
    strict = chosen(readings, "running", score, "last").auroc
    lines += ["", f"by itself, against the strict {strict:.3f} ({score}, running, last epoch)"]
    leaks = {
        "choosing the epoch by the test set": ("running", "best by test"),
        "statistics of shuffled batches": ("batches shuffled", "last"),
        "statistics of batches in order": ("batches in order", "last"),
        "statistics of each image alone": ("each image alone", "last"),
        "in order, and choosing the epoch": ("batches in order", "best by test"),
    }
    for name, (statistics, selection) in leaks.items():
        value = chosen(readings, statistics, score, selection).auroc
        lines.append(f"  {name:<36}{value:.3f} ({value - strict:+.3f}), |AUROC - 0.5| {abs(value - 0.5):.3f}")
    return "\n".join(lines)


def plot_epochs(path: Path, readings: Sequence[EpochReading], title: str) -> None:
    """Draws the AUROC of the paper's score over the epochs, a line for each kind of statistics."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    score = next(iter(SCORES))
    for statistics, marker in zip(STATISTICS, "os^x", strict=True):
        rows = sorted(row for row in readings if (row.statistics, row.score) == (statistics, score))
        axes.plot([row.epoch for row in rows], [row.auroc for row in rows], marker=marker, label=statistics)
    axes.axhline(0.5, color="0.7", linewidth=0.8, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="AUROC", title=f"{title}: {score}")
    axes.legend(title="BatchNorm by", frameon=False)
    figure.savefig(path)


def reading_of(line: Mapping[str, str]) -> EpochReading:
    """The reading that a line of `audit.csv` has."""
    numbers = {"test_images": int, "epoch": int, "validation": float, "auroc": float}
    return EpochReading(**{name: numbers.get(name, str)(line[name]) for name in EpochReading._fields})


@dataclass(frozen=True, kw_only=True)
class Audit(LeaveOneOut):
    """Judge every epoch of a run under every kind of statistics, score and choice of epoch: each leak apart."""

    dataset: str = "cifar10"
    """The data set, as in the other experiments."""
    abnormal: str = ""
    """The class to be found, in no training image."""
    finished: tuple[Path, ...] = ()
    """Finished runs to account for, in place of training one."""
    batch_sizes: tuple[int, ...] = (32, 64, 128)
    """Sizes of test batches in order, beside that of training."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no audit can have."""
        super().__post_init__()
        require(bool(self.abnormal or self.finished), "abnormal", self.abnormal, "a class, unless there is --finished")
        require(all(size >= 1 for size in self.batch_sizes), "batch_sizes", self.batch_sizes, "at least 1 each")

    def __call__(self) -> None:
        """Accounts for finished runs, or trains one and judges its epochs."""
        if self.finished:
            self.account_for_finished()
        else:
            self.audit()

    def account_for_finished(self) -> None:
        """Prints and writes the accounts of finished runs."""
        from sagan_jax import device

        machine = device.start_run(self.hardware)
        out, lines = self.output.out or Path("runs") / "account", []

        def load(size: int) -> "Dataset":
            return load_dataset(self.dataset, size, self.tfds.data_dir)

        for folder in self.finished:
            run = account_for(folder, load, self.batch_sizes, self.thinning.test_images)
            print(f"{run.title}\n{described(run.lines, run.paper)}\n", flush=True)
            save_scores(out, run)
            about = dict(zip(ABOUT, run.about, strict=True))
            lines += [about | line._asdict() | {"paper": run.paper} for line in run.lines]
            made = made_by(machine.name)
            write_results(out / "account.csv", [made | line for line in lines])
        print(f"written to {out / 'account.csv'}")

    def audit(self) -> None:
        """Trains, with a checkpoint an epoch, judges the epochs not judged yet, and prints the table."""
        from sagan_jax import device, run_folder
        from sagan_jax.runs import checkpoint
        from sagan_jax.runs.prepare import prepare
        from sagan_jax.runs.provenance import command
        from sagan_jax.runs.run import run
        from sagan_jax.runs.run_state import continued

        machine = device.start_run(self.hardware)
        split = self.split(self.load(), self.abnormal)
        folder = self.output.out or Path("runs") / f"audit-{self.run_name(split.name, split.abnormal)}"
        output = replace(self.output, keep=self.training.epochs, resume=True)
        training = continued(self.training, folder, output)
        prepared = prepare(split, find_method(self.method), self.model, training, self.judging)
        result = run(prepared, folder, machine, command(), output=output)

        history = run_folder.read_metrics(folder / "metrics.jsonl")
        count = len(split.test)
        path, made = folder / "audit.csv", made_by(machine.name, training.seed)
        lines = [line for line in read_results(path) if line["test_images"] == str(count)]
        with checkpoint.open_checkpoints(folder / "checkpoints", prepared.identity, output.keep) as checkpoints:
            for row in history:
                epoch = row["epoch"]
                if any(int(line["epoch"]) == epoch for line in lines):
                    continue
                state = checkpoint.restore(checkpoints, prepared.like, epoch).state
                scored = score_epoch(
                    prepared.detector, state, split, training.batch_size, training.seed, self.batch_sizes
                )
                judged = readings_of(split.test_labels, scored, epoch, row[run_folder.VALIDATION])
                lines += result_lines(judged, made)
                write_results(path, lines)
                print(f"epoch {epoch} of {training.epochs} judged", file=sys.stderr, flush=True)
        readings = [reading_of(line) for line in lines]
        plot_epochs(folder / "audit.png", readings, f"{split.name}, abnormal: {split.abnormal}")
        counts: Mapping[str, int] = result["images"]
        print(
            f"{split.name}, abnormal: {split.abnormal}; {training.epochs} epochs of {counts['train']:,} images; "
            f"{counts['test_normal']:,} normal and {counts['test_abnormal']:,} abnormal test images\n\n"
            f"{leak_table(readings)}\n\nwritten to {folder}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Audit, "audit", argv)


if __name__ == "__main__":
    raise SystemExit(main())
