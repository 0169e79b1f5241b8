"""Objects named on a command line as MODULE:NAME, such as a method or a data set of your own."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from sagan_jax.errors import UserError, one_line


def import_named(setting: str, name: str) -> Any:
    """The object at `MODULE:NAME`, in a module that is installed or in the working folder.

    Args:
        setting: The flag that names it, for messages.
        name: Where it is.

    Raises:
        UserError: If the name has another form, or the object cannot be imported.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UserError(f"{setting} is {name!r}; it must be MODULE:NAME")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # as `python -m` does, so that every command finds the same module
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{setting} is {name!r}, which cannot be imported: {one_line(str(error))}") from error
