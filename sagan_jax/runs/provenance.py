"""What made a result: command, commit, date, machine, seed and versions."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sagan_jax import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


PROVENANCE = ("commit", "date", "machine", "command", "seed")
"""What every result has, whatever its file: columns of a CSV file, names in the `provenance` of a JSON file."""


def provenance(argv: Sequence[str], device: str | None = None, seed: int = 0) -> dict[str, Any]:
    """What made a result, as JSON values: those of `PROVENANCE`, and the versions of Python and of packages.

    Args:
        argv: The command.
        device: What it computed on, in words, from `device.start`; None for a command that does not use JAX.
        seed: What all randomness came from.

    Returns:
        The values; the commit is None outside a clone.
    """
    return {
        "command": shlex.join(argv),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{device or f'cpu ({os.cpu_count()} cores)'}, {platform.platform()}",
        "seed": seed,
        "python": platform.python_version(),
        "packages": {"sagan-jax": __version__} | {package: version(package) for package in _PACKAGES},
    }


def commit() -> str | None:
    """The commit of the code, with "+" if there are changes beside it; None where git or the clone is missing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, env=environment, check=True, capture_output=True, text=True
        )
        return run.stdout

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy may lie in another project's clone
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command() -> list[str]:
    """The command as it was given, with `python -m module` spelled out."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return ["python", "-m", module.name.removesuffix(".__main__"), *sys.argv[1:]] if module else sys.argv
