"""What the leave-one-class-out experiments share: the command line and the sweep over classes."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sagan_jax.cli import chosen_in
from sagan_jax.config import MethodName, Preset, RunConfig, Together, TrainingConfig, require
from sagan_jax.exit_codes import guarded

if TYPE_CHECKING:
    from sagan_jax.data.split import Dataset


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """An experiment of the kind "train on all classes but one, find that one"."""

    name: str
    """The module's name in this package; names the folders of its runs."""
    description: str
    """What `--help` opens with."""
    load: Callable[[Any], "Dataset"]
    """From the parsed options to the data set."""
    classes: tuple[str, ...] = ()
    """The classes by name; empty if they depend on the data set chosen."""
    flags: tuple[tuple[Any, ...], ...] = ()
    """Further flags, as `dataclasses.make_dataclass` takes fields."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Where the experiment's defaults differ from the settings' own, by the name of the setting."""


def flag(name: str, kind: Any, text: str, **default: Any) -> tuple[Any, ...]:
    """A flag with its help text, as `dataclasses.make_dataclass` takes a field."""
    import tyro

    return (name, Annotated[kind, tyro.conf.arg(help=text)], field(**default))


def main(experiment: LeaveOneOut, argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command.

    Args:
        experiment: Which one.
        argv: The command line without the program's name; None takes the process's.

    Returns:
        The exit code, see `sagan_jax.exit_codes.guarded`.
    """
    return guarded(lambda: run_classes(experiment, parse(experiment, sys.argv[1:] if argv is None else list(argv))))


def parse(experiment: LeaveOneOut, argv: list[str]) -> Any:
    """The command line as settings; every flag is a field of a settings dataclass.

    Raises:
        UserError: For a value no run can have. Unknown flags and choices end the process with exit code 2.
    """
    import tyro

    def with_defaults(settings: Any) -> Any:
        return replace(settings, **{k: v for k, v in experiment.defaults.items() if hasattr(settings, k)})

    method, preset, model, training = chosen_in(argv)
    class_name = Literal[(*experiment.classes, "all")] if experiment.classes else str
    fields = [
        flag("abnormal", class_name, "The class to be found, in no training image. 'all' runs every class in turn."),
        flag(
            "method", MethodName, "SAGAN, or a method it is compared with; each has flags of its own.", default="sagan"
        ),
        flag(
            "preset", Preset, "The settings of the method's paper, or of its authors' released code.", default="paper"
        ),
        flag("size", int, "Side in pixels the images are resized to: 32, 64, 128 or 256.", default=32),
        flag("train_images", int | None, "Train on so many images, evenly spread; by default all.", default=None),
        flag("test_images", int | None, "Judge by so many test images, evenly spread; by default all.", default=None),
        flag("seeds", int, "Run each class so often, with --seed and the seeds after it.", default=1),
        flag(
            "together",
            Together,
            "How several classes or seeds are trained: side by side in one program (vmap), in turn within each of its "
            "steps (map), or one after the other (no). auto: vmap on an accelerator, and for small networks on a CPU.",
            default="auto",
        ),
        *experiment.flags,
        ("model", type(model), field(default=with_defaults(model))),
        ("training", TrainingConfig, field(default=with_defaults(training))),
        ("run", RunConfig, field(default=RunConfig())),
    ]
    return tyro.cli(
        make_dataclass("Options", fields, frozen=True, kw_only=True),
        prog=f"python -m experiments.{experiment.name}",
        description=f"{experiment.description}\n\nThe defaults below are those of --method={method} --preset={preset}.",
        args=argv,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def run_name(dataset: str, abnormal: str, options: Any) -> str:
    """The name of a run's folder, fit for a file system ("T-shirt/top" is one folder); SAGAN goes without saying."""
    method = () if options.method == "sagan" else (options.method,)
    return re.sub(r"[^\w.-]+", "_", "-".join((dataset, abnormal, *method, options.preset)))


def run_classes(experiment: LeaveOneOut, options: Any) -> None:
    """Runs one class or all, with one seed or several, and prints the results."""
    from sagan_jax.data.split import leave_one_out, thinned
    from sagan_jax.report import text
    from sagan_jax.runs.many_runs import chosen, obstacle, run_together
    from sagan_jax.runs.provenance import command
    from sagan_jax.runs.run import Experiment, run

    require(options.seeds >= 1, "seeds", options.seeds, "at least 1")
    dataset = experiment.load(options)
    classes = dataset.class_names if options.abnormal == "all" else (options.abnormal,)

    def described(abnormal: str, seed: int) -> Experiment:
        name = run_name(dataset.name, abnormal, options) + (f"-seed{seed}" if options.seeds > 1 else "")
        folder = (options.run.out or Path("runs")) / name
        if options.run.out and len(classes) == options.seeds == 1:
            folder = options.run.out
        split = thinned(leave_one_out(dataset, abnormal), options.train_images, options.test_images)
        training = replace(options.training, seed=seed)
        return Experiment(split, options.method, options.model, training, options.run, folder)

    def show(result: dict[str, Any], folder: Path) -> None:
        print(f"{text.summary(result)}\n\nwritten to {folder}\n", flush=True)

    first = options.training.seed
    wanted = list(product(classes, range(first, first + options.seeds)))
    one = described(*wanted[0])
    runs = chain([one], (described(*names) for names in wanted[1:]))  # one after the other, a split at a time
    how = chosen(options.together, one) if len(wanted) > 1 else None
    experiments = list(runs) if how else []
    why = obstacle(experiments) if how and options.together == "auto" else None
    how = None if why else how
    if len(wanted) > 1:
        said = f"as one program ({how})" if how else "one after the other" + (f": {why}" if why else "")
        print(f"{len(wanted)} models {said}", file=sys.stderr, flush=True)
    results: list[dict[str, Any]] = []
    if how:
        results += run_together(experiments, command(), how)
        for one, result in zip(experiments, results, strict=True):
            show(result, one.out)
    else:
        for one in experiments or runs:
            results.append(run(one, command()))
            show(results[-1], one.out)
    if len(results) > 1:
        print(text.sweep(results))
