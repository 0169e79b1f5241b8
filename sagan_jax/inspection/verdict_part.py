"""Where verdicts grow until all are there: beside the name they get in the end, written by one process at a time."""

import fcntl
import sys
from pathlib import Path

from sagan_jax.errors import UserError


def part_of(path: Path, resume: bool) -> Path:
    """Where verdicts grow until all are there; raises UserError if it cannot be, or is there and not to be resumed."""
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}, where {path.name} is to go, is not a folder")
    part = path.with_name(f"{path.name}.part")
    if part.exists() and not resume:
        raise UserError(f"{part} has the verdicts of a command that was stopped; go on with --resume, or remove it")
    return part


def lock(file: int, part: Path) -> None:
    """Keeps other processes from writing an open file or folder, until it is closed; raises UserError if one does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError(f"{part} is being written by another process") from error


def say_kept(count: int, part: Path) -> None:
    """Says what a command that is being stopped leaves."""
    print(f"{count:,} verdicts are in {part}; the same command with --resume goes on", file=sys.stderr)
