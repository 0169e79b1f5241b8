"""The files that a command line names: files, folders of them, lists of them on standard input."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sagan_jax.data.image_file import SUFFIXES


def list_files(named: Sequence[str], stdin: Callable[[], bytes]) -> list[Path]:
    """The files a command line names, in its order.

    Args:
        named: Files, taken as they are; folders, searched through for images, hidden ones and links to folders left
            out; "-" for a list of these on standard input, a line each or, as `find -print0` has them, ended by NUL.
        stdin: Reads standard input to its end.
    """
    files: list[Path] = []
    for name in named:
        if name == "-":
            files += list_files(read_list(stdin()), stdin)
        elif Path(name).is_dir():
            files += images_below(Path(name))
        else:
            files.append(Path(name))
    return files


def read_list(listed: bytes) -> list[str]:
    """The names in a list, "-" not among them; bytes that are no UTF-8 are kept as the system keeps them."""
    names = listed.split(b"\0") if b"\0" in listed else listed.splitlines()
    return [os.fsdecode(name) for name in names if name not in (b"", b"-")]


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and its folders, sorted."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (name for name in sorted(names) if not name.startswith("."))
        found += [Path(parent) / name for name in visible if Path(name).suffix.lower() in SUFFIXES]
    return found
