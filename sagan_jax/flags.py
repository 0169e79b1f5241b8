"""Command lines made from settings: each is a frozen dataclass, whose fields are the flags and which is called.

Nothing heavy is imported here, so that `--help` answers at once.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

from sagan_jax.config import HardwareConfig, JudgingConfig, OutputConfig, Preset, TrainingConfig
from sagan_jax.errors import UserError
from sagan_jax.exit_codes import guarded
from sagan_jax.methods.table import METHODS, find_method

_METHOD_HELP = (
    f"One of {', '.join(METHODS)}, each with flags of its own; or MODULE:NAME, a Method value of your own in a module "
    "that is installed or in the working folder."
)


@dataclass(frozen=True, kw_only=True)
class TrainingFlags:
    """The flags of every command that trains."""

    method: str = "sagan"
    preset: Preset = "paper"
    """The settings of the method's paper, or of its authors' released code."""
    model: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    judging: JudgingConfig = field(default_factory=JudgingConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    @classmethod
    def of_command_line(cls, argv: Sequence[str]) -> type:
        """The command with the flags and defaults of the method and preset that the command line names."""
        return with_method(cls, argv)


def parse_as(kind: type, prog: str, argv: list[str], *config: Any) -> Any:
    """A command line as settings of one kind."""
    import tyro

    described = kind.__doc__
    kind = kind.of_command_line(argv) if hasattr(kind, "of_command_line") else kind
    return tyro.cli(kind, prog=prog, description=described, args=argv, config=(tyro.conf.OmitArgPrefixes, *config))


def with_home(argv: Sequence[str]) -> list[str]:
    """A command line with `--flag=~/…` in the home folder: shells leave that alone, and it would be a folder `~`."""
    return [
        f"{flag}{equals}{Path(value).expanduser()}" if flag.startswith("--") and value.startswith("~/") else given
        for given in argv
        for flag, equals, value in [given.partition("=")]
    ]


def run_experiment(kind: type, name: str, argv: Sequence[str] | None) -> int:
    """Runs an experiment as a command: its settings from the command line, then what calling them does.

    Args:
        kind: A frozen dataclass; its fields are the flags, calling it does the work.
        name: Its module in `experiments`.
        argv: The command line without the program's name; None takes the process's.

    Returns:
        The exit code, see `sagan_jax.exit_codes.guarded`.
    """
    argv = with_home(sys.argv[1:] if argv is None else argv)

    def work() -> object:
        experiment = parse_as(kind, f"python -m experiments.{name}", argv)
        return experiment()

    return guarded(work)


def with_method(kind: Any, argv: Sequence[str], **defaults: Any) -> type:
    """A kind of command with the flags and defaults of the method and preset that a command line names.

    Args:
        kind: Settings with the fields `method`, `preset`, `model` and `training`.
        argv: The command line.
        defaults: Where the command's defaults differ from the method's own, of its settings or of training; what the
            method has no setting for is left out.

    Raises:
        UserError: If the command line names a method that there is not.
    """
    import tyro

    method = find_method(_named_in(argv, "method", "sagan"))
    usual: Any = kind.preset if kind.preset in method.presets else "paper"
    named = _named_in(argv, "preset", usual)
    preset: Preset = next(
        (preset for preset in get_args(Preset) if preset == named), usual
    )  # the parser tells of a wrong one
    if preset not in method.presets:
        raise UserError(f"{method.name} has no preset {preset}; it has {', '.join(method.presets)}")

    def changed(settings: Any) -> Any:
        return replace(settings, **{name: value for name, value in defaults.items() if hasattr(settings, name)})

    model, training = changed(method.presets[preset]), changed(method.training(preset))
    fields = [
        ("method", Annotated[str, tyro.conf.arg(help=_METHOD_HELP)], field(default="sagan")),
        ("preset", Preset, field(default=preset)),
        ("model", type(model), field(default=model)),
        ("training", TrainingConfig, field(default=training)),
    ]
    return make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)


def _named_in(argv: Sequence[str], name: str, default: str) -> str:
    """What a command line gives for `--name`, looked for before it is parsed: it decides which flags there are."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(f"--{name}", nargs="?")
    return getattr(parser.parse_known_args(argv)[0], name) or default
