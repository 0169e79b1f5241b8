"""Any data set, one class abnormal: trained on the other classes, each class and seed in turn or as one program.

    python -m experiments.leave_one_out --dataset=fashion_mnist --abnormal=Bag

Each experiment on one set is this one with `--dataset` given; its module says how long it takes. This command takes
hours on 2 cores; with `--width=16 --train-images=6000 --epochs=3` it takes minutes. Expect a strict AUROC near 0.5:
docs/results.md has the figures.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.datasets import CLASSES, DATASETS, ClassLeftOut
from sagan_jax.config import Together
from sagan_jax.errors import require
from sagan_jax.flags import TrainingFlags, run_experiment, with_method
from sagan_jax.methods.table import find_method

if TYPE_CHECKING:
    from sagan_jax.device import Machine
    from sagan_jax.runs.prepare import Prepared


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(TrainingFlags, ClassLeftOut):
    """Train on all classes of a set but one, find that one."""

    seeds: int = 1
    """Run each class so often, with --seed and the seeds after it."""
    together: Together = "auto"
    """How several classes or seeds are trained: side by side in one program (vmap), in turn within each of its steps
    (map), or one after the other (no). auto: vmap on an accelerator, and for small networks on a CPU."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")

    def run_name(self, dataset: str, abnormal: str) -> str:
        """The name of a run's folder, fit for a file system ("T-shirt/top" is one folder); SAGAN is left out."""
        name = find_method(self.method).name
        method = () if name == "sagan" else (name,)
        return re.sub(r"[^\w.-]+", "_", "-".join((dataset, abnormal, *method, self.preset)))

    def __call__(self) -> None:
        """Runs one class or all, with one seed or several, and prints the results."""
        from sagan_jax import device
        from sagan_jax.report import text
        from sagan_jax.runs import many_runs
        from sagan_jax.runs.prepare import prepare
        from sagan_jax.runs.provenance import command
        from sagan_jax.runs.run import run
        from sagan_jax.runs.run_state import continued

        machine, method, dataset = device.start_run(self.hardware), find_method(self.method), self.load()
        classes = self.classes(dataset)
        first = self.training.seed
        wanted = list(product(classes, range(first, first + self.seeds)))

        def prepared() -> Iterator["Prepared"]:  # a split at a time
            for abnormal, seed in wanted:
                training = continued(replace(self.training, seed=seed), folder(abnormal, seed), self.output)
                yield prepare(self.split(dataset, abnormal), method, self.model, training, self.judging)

        def folder(abnormal: str, seed: int) -> Path:
            if self.output.out and len(wanted) == 1:
                return self.output.out
            name = self.run_name(dataset.name, abnormal) + (f"-seed{seed}" if self.seeds > 1 else "")
            return (self.output.out or Path("runs")) / name

        def show(result: dict[str, Any], folder: Path) -> None:
            print(f"{text.summary(result)}\n\nwritten to {folder}\n", flush=True)

        folders = [folder(*names) for names in wanted]
        runs, how = _as_one_program(prepared, len(wanted), self.together, machine)
        options: dict[str, Any] = {"output": self.output}
        results: list[dict[str, Any]] = []
        if how:
            results += many_runs.run_many(list(runs), folders, machine, command(), how=how, **options)
            for result, out in zip(results, folders, strict=True):
                show(result, out)
        else:
            for one, out in zip(runs, folders, strict=True):
                results.append(run(one, out, machine, command(), **options))
                show(results[-1], out)
        if len(results) > 1:
            print(text.sweep(results))


def _as_one_program(
    prepared: "Callable[[], Iterator[Prepared]]", count: int, together: Together, machine: "Machine"
) -> "tuple[Iterator[Prepared], Literal['vmap', 'map'] | None]":
    """The runs, and how they are trained as one program; None for one after the other."""
    from sagan_jax.runs import many_runs

    if count == 1:
        return prepared(), None
    how = many_runs.choose_program(together, next(prepared()))
    runs, why = prepared(), None
    if how:
        every = list(runs)
        why = many_runs.obstacle(every, machine) if together == "auto" else None
        runs, how = iter(every), None if why else how
    said = f"as one program ({how})" if how else "one after the other" + (f": {why}" if why else "")
    print(f"{count} models {said}", file=sys.stderr, flush=True)
    return runs, how


def experiment_on(dataset: str, description: str, **defaults: Any) -> type[LeaveOneOut]:
    """The experiment on one set, as settings to be called.

    Args:
        dataset: A name in `DATASETS`.
        description: What `--help` opens with.
        defaults: Where its defaults differ from the settings' own, by the name of the setting.
    """

    def of_command_line(cls: type[LeaveOneOut], argv: Sequence[str]) -> type[LeaveOneOut]:
        classes: Any = Literal[(*CLASSES[dataset], "all")]
        made = with_method(cls, argv, **defaults)
        made = make_dataclass(cls.__name__, [("abnormal", classes)], bases=(made,), frozen=True, kw_only=True)
        made.__doc__ = cls.__doc__
        return made

    assert dataset in DATASETS
    fields = [("dataset", Literal[dataset], field(default=dataset))]
    space = {"of_command_line": classmethod(of_command_line), "__doc__": description}
    return make_dataclass("Experiment", fields, bases=(LeaveOneOut,), namespace=space, frozen=True, kw_only=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(LeaveOneOut, "leave_one_out", argv)


if __name__ == "__main__":
    raise SystemExit(main())
