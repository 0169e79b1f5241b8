"""Claims: who works on a folder, where several processes or machines share what is to be done.

A claim is a file in the folder, `claim-N`, made by one process and by no other. Its owner holds a lock on it, which the
kernel lets go of when the process dies, and touches it now and then, which other machines see where they do not see the
lock. A claim whose owner is gone is taken over by the next number.
"""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TOUCHED = 30.0
"""Seconds between two signs of life."""
STALE = 300.0
"""After this many seconds without one, the claim of another machine counts for nothing."""


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Claims a folder for this process, for as long as the context lasts.

    Args:
        folder: Made if it is not there.

    Yields:
        Whether it could be had; not if another process works on it.

    Raises:
        OSError: If the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    older = sorted(folder.glob("claim-*"), key=_number)
    if older and _is_alive(older[-1]):
        yield False
        return
    mine = folder / f"claim-{_number(older[-1]) + 1 if older else 1}"
    try:
        descriptor = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    except FileExistsError:  # another process was quicker
        yield False
        return
    with suppress(OSError):  # a file system without locks: the signs of life must do
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, _kernel().encode())
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(TOUCHED):
            with suppress(OSError):
                os.utime(mine)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        for path in (*older, mine):  # the last one last: until then nobody else comes in
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _number(claim: Path) -> int:
    """Which claim on its folder it is."""
    number = claim.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def _is_alive(claim: Path) -> bool:
    """Whether the owner of a claim still works."""
    try:
        descriptor = os.open(claim, os.O_RDWR)
    except FileNotFoundError:  # let go of in this moment
        return False
    try:
        if os.read(descriptor, 100).decode(errors="replace") == _kernel():  # its lock can be seen from here
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            return False
        with tempfile.NamedTemporaryFile(dir=claim.parent) as now:  # by the file system's clock, as the claim is
            return os.fstat(now.fileno()).st_mtime - os.fstat(descriptor).st_mtime < STALE
    finally:
        os.close(descriptor)


def _kernel() -> str:
    """What tells this running kernel from any other: locks are seen within one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{os.uname().nodename} {os.uname().version}"
