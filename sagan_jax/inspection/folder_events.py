"""What the system tells of a folder while files are written to it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from sagan_jax.errors import UserError, printable

FileState = Literal["there", "written", "whole"]
"""What is known of a file: no more than that it is there; that it is being written, so that it will be told of again
once it is whole; that it is whole."""


@contextmanager
def events_in(folder: Path) -> Iterator["SimpleQueue[tuple[Path, FileState]]"]:
    """What happens in a folder and its folders, as it happens: a path, and the state of a file of that name.

    Raises:
        UserError: If it cannot be watched.
    """
    from watchdog.events import FileSystemEventHandler

    events: SimpleQueue[tuple[Path, FileState]] = SimpleQueue()
    watched = Path(os.path.abspath(folder))  # noqa: PTH100 (links stay as they are)

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            if event.event_type in ("created", "modified", "moved", "closed"):
                path = folder / Path(os.fsdecode(event.dest_path or event.src_path)).relative_to(watched)
                if not event.is_directory or event.event_type != "modified":
                    events.put((path, _state(path, event.event_type)))

    observer = _observer()
    observer.schedule(Handler(), os.fspath(watched), recursive=True)
    try:
        observer.start()
    except OSError as error:
        raise UserError(f"{printable(folder)} cannot be watched: {error.strerror}") from error
    try:
        yield events
    finally:
        observer.stop()
        observer.join()


def _state(path: Path, event: str) -> FileState:
    """The state of a file that an event tells of."""
    if not _tells_closing():
        return "there"
    if event in ("closed", "moved"):
        return "whole"
    # A name that is new need not be of a file that is open: it may be a further link to one, or lie in a folder that
    # was not watched yet. If it is open, it has nothing in it at first, or the next event says that it was modified.
    return "written" if event == "modified" or _is_empty(path) else "there"


def _is_empty(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file() and path.stat().st_size == 0
    return False


def _tells_closing() -> bool:
    """Whether the system tells when a file that was written to is closed."""
    return sys.platform == "linux"


def _observer() -> Any:
    """An observer of watchdog's; on Linux, with what is moved in from elsewhere told as moved, and so as whole."""
    if _tells_closing():
        from watchdog.observers.inotify import InotifyObserver

        return InotifyObserver(generate_full_events=True)
    from watchdog.observers import Observer

    return Observer()
