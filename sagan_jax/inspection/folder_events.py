"""What the system tells of a folder while files are written to it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sagan_jax.errors import UserError, printable


@contextmanager
def events_in(folder: Path) -> Iterator["SimpleQueue[tuple[Path, bool]]"]:
    """What happens in a folder and its folders, as it happens: a path, and whether a file of that name is whole.

    Raises:
        UserError: If it cannot be watched.
    """
    from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEventHandler

    events: SimpleQueue[tuple[Path, bool]] = SimpleQueue()
    watched = Path(os.path.abspath(folder))  # noqa: PTH100 (links stay as they are)

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            whole = isinstance(event, FileClosedEvent) or (isinstance(event, FileMovedEvent) and _tells_closing())
            if event.event_type in ("created", "modified", "moved", "closed"):
                path = folder / Path(os.fsdecode(event.dest_path or event.src_path)).relative_to(watched)
                if not event.is_directory or event.event_type != "modified":
                    events.put((path, whole))

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
