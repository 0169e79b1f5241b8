"""Where compiled programs, kernels and decoded data sets are kept between runs."""

import os
from pathlib import Path

from sagan_jax.errors import UserError


def cache_folder() -> Path:
    """The user's cache folder for this project: `$XDG_CACHE_HOME` or `~/.cache`, then `sagan_jax`.

    Raises:
        UserError: If the user has no home folder that is known.
    """
    return of_user(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "sagan_jax"


def of_user(path: str | Path, setting: str) -> Path:
    """A path with `~` replaced by the user's home folder.

    Raises:
        UserError: If that is not known, as in a container whose user has neither `$HOME` nor an entry in the password
            file; it names the setting that does without it.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path} cannot be resolved: no home folder is known; set HOME or {setting}") from error
