"""Files that appear whole or not at all."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LEFT_OVER = ".*.partial"
"""What a writer that was killed may leave behind, as a glob pattern."""


_LONGEST = 200
"""Bytes of a name that leave room for what is added to it: file systems take 255."""


def shortened(name: str) -> str:
    """A file's name, if it is longer than `_LONGEST` bytes cut and told apart by a checksum of the whole."""
    whole = os.fsencode(name)
    if len(whole) <= _LONGEST:
        return name
    return f"{whole[: _LONGEST - 9].decode(errors='ignore')}~{zlib.crc32(whole):08x}"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` at the end, in one step.

    A process that fails or dies in between leaves the old file as it was.

    Yields:
        The new file, to be written to.

    Raises:
        OSError: If it cannot be written; nothing is left of it then.
    """
    partial = path.with_name(f".{shortened(path.name)}.{os.getpid()}.partial")  # others may be writing the same file
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # the name must not reach the disk before the bytes do
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
