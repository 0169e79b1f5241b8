"""Where compiled programs, kernels and decoded data sets are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for this project: `$XDG_CACHE_HOME` or `~/.cache`, then `sagan_jax`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sagan_jax"
