"""What the leave-one-class-out experiments share: the command line and the sweep over classes."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from sagan_jax.config import Preset, RunConfig, SaganConfig, TrainingConfig, sagan_preset
from sagan_jax.errors import UserError

if TYPE_CHECKING:
    from sagan_jax.data.split import Dataset


class LeaveOneOut(NamedTuple):
    """An experiment of the kind "train on all classes but one, find that one".

    Attributes:
        name: Of the data set; names the folders of its runs.
        description: What `--help` opens with.
        classes: The classes by name.
        load: From (data folder or None, side of the images) to the data set.
        defaults: Where the experiment's defaults differ from the settings' own, by the name of the setting.
    """

    name: str
    description: str
    classes: tuple[str, ...]
    load: Callable[[Path | None, int], "Dataset"]
    defaults: dict[str, Any] = {}


def main(experiment: LeaveOneOut, argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command.

    Args:
        experiment: Which one.
        argv: The command line without the program's name; None takes the process's.

    Returns:
        The exit code: 0, or 2 after a message about what the user can mend.
    """
    try:
        options = parse(experiment, sys.argv[1:] if argv is None else list(argv))
        run_classes(experiment, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(experiment: LeaveOneOut, argv: list[str]) -> Any:
    """The command line as settings; every flag is a field of a settings dataclass.

    Raises:
        UserError: For a value no run can have. Unknown flags and choices end the process with exit code 2.
    """
    import tyro

    def with_defaults(settings: Any) -> Any:
        return replace(settings, **{k: v for k, v in experiment.defaults.items() if hasattr(settings, k)})

    preset = preset_in(argv)
    options = make_dataclass(
        "Options",
        [
            ("abnormal", Annotated[Literal[(*experiment.classes, "all")], tyro.conf.arg(help=ABNORMAL_HELP)]),
            ("preset", Annotated[Preset, tyro.conf.arg(help=PRESET_HELP)], field(default="paper")),
            ("size", Annotated[int, tyro.conf.arg(help=SIZE_HELP)], field(default=32)),
            ("data_dir", Annotated[Path | None, tyro.conf.arg(help=DATA_DIR_HELP)], field(default=None)),
            ("model", SaganConfig, field(default=with_defaults(sagan_preset(preset)))),
            ("training", TrainingConfig, field(default=with_defaults(TrainingConfig()))),
            ("run", RunConfig, field(default=RunConfig())),
        ],
        frozen=True,
        kw_only=True,
    )
    description = f"{experiment.description}\n\nDefaults below are those of --preset={preset}."
    prog = f"python -m experiments.{experiment.name}"
    return tyro.cli(options, prog=prog, description=description, args=argv, config=(tyro.conf.OmitArgPrefixes,))


def preset_in(argv: Sequence[str]) -> Preset:
    """The preset a command line names: it decides the other flags' defaults, so it is looked for first."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", default="paper")
    name = parser.parse_known_args(argv)[0].preset
    return "reference" if name == "reference" else "paper"  # a wrong name is told of by the real parser


def run_classes(experiment: LeaveOneOut, options: Any) -> None:
    """Runs one class, or all of them one after the other, and prints the results."""
    from sagan_jax import evaluation
    from sagan_jax.data.split import leave_one_out
    from sagan_jax.provenance import command
    from sagan_jax.run import Experiment, run

    dataset = experiment.load(options.data_dir, options.size)
    everything = options.abnormal == "all"
    out = options.run.out or Path("runs") / f"{experiment.name}-{options.abnormal}-{options.preset}"
    results = []
    for abnormal in experiment.classes if everything else (options.abnormal,):
        folder = out / abnormal if everything else out
        split = leave_one_out(dataset, abnormal)
        result = run(Experiment(split, "sagan", options.model, options.training, options.run, folder), command())
        print(f"{evaluation.summary(result)}\n\nwritten to {folder}\n", flush=True)
        results.append(result)
    if everything:
        print(evaluation.sweep(results))


ABNORMAL_HELP = "The class to be found: it is in no training image. 'all' runs every class in turn."
PRESET_HELP = "The paper's settings, or those of its authors' released code; any flag below overrides one."
SIZE_HELP = "Side of the images in pixels, which are resized to it: 32, 64, 128 or 256."
DATA_DIR_HELP = "A TFDS data folder; by default $TFDS_DATA_DIR, or TFDS's own."
