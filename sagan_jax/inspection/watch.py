"""A folder that a camera writes to: each file gets its verdict once it is whole.

A file is whole when its writer has closed it or renamed it into place, which Linux tells of local disks (inotify). What
is told of otherwise, or not at all (another system, a network's disk, a file that was there first), is whole once its
size and time have not changed for `SETTLE` seconds. One that cannot be read is tried again when it changes, and called
unusable once it has not changed for `PATIENCE` seconds: it may have been closed and not finished.
"""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from sagan_jax.data.file_list import images_below
from sagan_jax.data.image_format import COPIES, is_image
from sagan_jax.errors import UserError, printable
from sagan_jax.inspection.verdicts import Draw, Verdict, judge_decoded, read_for_scoring
from sagan_jax.judging.scorer import BATCH, Scorer, batch_size

SETTLE, PATIENCE = 0.5, 2.0  # seconds
SEARCH = 2.0  # seconds between searches of the folder for what nobody told of
TICK = 0.05  # seconds that a stop waits at most


class Arrival(NamedTuple):
    """A verdict, and how many seconds after its file's last change; None of a file that was there first."""

    verdict: Verdict
    seconds: float | None


class _Waiting(NamedTuple):
    """A file that may not be whole: what it is like, since when, and whether it was tried already."""

    like: tuple[int, int]
    since: float
    tried: bool


def watch(
    scorer: Scorer,
    folder: Path,
    limit: float,
    draw: Draw | None = None,
    *,
    known: Callable[[Path], bool] = lambda path: False,
    stopped: Event,
) -> Iterator[Arrival]:
    """Verdicts on the images in a folder and its folders, those that are there and those to come, each name once.

    Hidden files are left out, and so is what does not look like an image.

    Args:
        scorer: What scores them; with maps, if they are drawn.
        folder: The folder.
        limit: The score above which an image is abnormal.
        draw: As in `judge_files`.
        known: Whether a file has a verdict from before.
        stopped: Ends it when set; a verdict that is being made is made.

    Yields:
        The verdicts, as soon as they are there.

    Raises:
        UserError: If there is no such folder, or it cannot be watched.
    """
    if not folder.is_dir():
        raise UserError(f"{printable(folder)} is no folder; name the one that images are written to")
    height, width, channels = scorer.image_shape
    scorer.score(np.zeros((batch_size(scorer.patches), height, width, channels), np.uint8), 1)  # the first takes longer
    told: SimpleQueue[tuple[Path, bool]] = SimpleQueue()
    with _told_of(folder, told), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        started = time.time()
        files = _Files(folder, known)
        files.search()
        while not stopped.is_set():
            files.hear(told)
            together = files.whole(BATCH if scorer.patches is None else 1)
            changed = [_changed(path) for path in together]
            each = map if len(together) == 1 else pool.map
            decoded = list(each(lambda path: read_for_scoring(scorer, path, draw is not None), together))
            ready = [file for file in decoded if file.image is not None or files.gives_up(file.path)]
            times = {path: at for path, at in zip(together, changed, strict=True) if at is not None and at >= started}
            for file, verdict in zip(ready, judge_decoded(scorer, ready, limit, draw), strict=True):
                at = times.get(file.path)
                yield Arrival(verdict, None if at is None else time.time() - at)


class _Files:
    """What is known of the folder's files: which are whole, which wait, which are done."""

    def __init__(self, folder: Path, known: Callable[[Path], bool]) -> None:
        self.folder, self.known = folder, known
        self.done: set[Path] = set()
        self.waiting: dict[Path, _Waiting] = {}
        self.ready: deque[Path] = deque()  # whole
        self.tried: set[Path] = set()
        self.searched = -SEARCH

    def search(self) -> None:
        """Finds what nobody told of."""
        self.searched = time.monotonic()
        for path in images_below(self.folder):
            self.add(path, closed=False)

    def add(self, path: Path, *, closed: bool) -> None:
        """Takes note of an image file: at once if it was closed, once it has settled if not."""
        if path in self.done:
            return
        if self.known(path):
            self.done.add(path)
            return
        if closed and path not in self.ready:
            self.waiting.pop(path, None)
            self.ready.appendleft(path)  # before what has lain here for long
        elif not closed and path not in self.waiting and path not in self.ready:
            if like := _like(path):
                age = max(0.0, time.time() - like[1] / 1e9)  # of what was there first, it is known
                self.waiting[path] = _Waiting(like, time.monotonic() - age, tried=False)
            elif path.is_dir():  # one that cannot be read: no other is among the files
                self.ready.append(path)

    def hear(self, told: "SimpleQueue[tuple[Path, bool]]") -> None:
        """Takes note of what was told, waiting a moment for it if there is nothing else to do."""
        self.settle()
        with suppress(Empty):
            path, closed = told.get(timeout=0 if self.ready else TICK)
            while True:
                if path.is_dir():
                    self.searched = -SEARCH  # files may have been in it before it was watched
                elif not _is_left_out(path, self.folder) and is_image(path):
                    self.add(path, closed=closed)
                path, closed = told.get_nowait()
        if time.monotonic() - self.searched >= SEARCH:
            self.search()

    def settle(self) -> None:
        """Finds out which of the files that wait have not changed for long enough."""
        now = time.monotonic()
        for path, file in list(self.waiting.items()):
            like = _like(path)
            if like is None:
                del self.waiting[path]  # a name that was for the time of writing
            elif like != file.like:
                self.waiting[path] = _Waiting(like, now, tried=False)
            elif now - file.since >= (PATIENCE if file.tried else SETTLE):
                del self.waiting[path]
                self.ready.append(path)
                if file.tried:
                    self.tried.add(path)

    def whole(self, most: int) -> list[Path]:
        """The next files that are whole; they count as done."""
        taken = [self.ready.popleft() for _ in range(min(most, len(self.ready)))]
        self.done.update(taken)
        return taken

    def gives_up(self, path: Path) -> bool:
        """Whether a file that cannot be read is to be called unusable; else it waits to change, or to be gone."""
        like = _like(path)
        if path in self.tried or (like is None and path.exists()):  # no file: a pipe, say
            return True
        self.done.discard(path)
        if like is not None:
            self.waiting[path] = _Waiting(like, time.monotonic(), tried=True)
        return False


def _like(path: Path) -> tuple[int, int] | None:
    """Size and time of a regular file; None of anything else."""
    with suppress(OSError):
        if path.is_file():
            found = path.stat()
            return found.st_size, found.st_mtime_ns
    return None


def _changed(path: Path) -> float | None:
    """When a file was last written to or renamed, by the system's clock."""
    with suppress(OSError):
        return path.stat().st_ctime
    return None


def _is_left_out(path: Path, folder: Path) -> bool:
    """Whether a file is hidden, or one of the copies that systems make, as `images_below` leaves them out."""
    return any(part.startswith(".") or part in COPIES for part in path.relative_to(folder).parts)


@contextmanager
def _told_of(folder: Path, told: "SimpleQueue[tuple[Path, bool]]") -> Iterator[None]:
    """What happens in a folder is put into a queue: a path, and whether a file of that name is whole."""
    from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEventHandler

    watched = Path(os.path.abspath(folder))  # noqa: PTH100 (links stay as they are)

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            whole = isinstance(event, FileClosedEvent) or (isinstance(event, FileMovedEvent) and _tells_closing())
            if event.event_type in ("created", "modified", "moved", "closed"):
                path = folder / Path(os.fsdecode(event.dest_path or event.src_path)).relative_to(watched)
                if not event.is_directory or event.event_type != "modified":
                    told.put((path, whole))

    observer = _observer()
    observer.schedule(Handler(), os.fspath(watched), recursive=True)
    try:
        observer.start()
    except OSError as error:
        raise UserError(f"{printable(folder)} cannot be watched: {error.strerror}") from error
    try:
        yield
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


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """An event that SIGTERM or SIGINT sets, so that work ends clean; a second one ends it at once."""
    stopped = Event()
    before: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        stopped.set()
        signal.signal(number, before[number])

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # as a shell has it for what it starts in the background
                before[number] = signal.signal(number, stop)
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def latencies(seconds: list[float]) -> str:
    """How long verdicts took after their files' last change, in words."""
    if not seconds:
        return "no file came"
    middle, most = np.quantile(seconds, (0.5, 0.99)) * 1e3
    return f"from a file's close to its verdict: p50 {middle:.0f} ms, p99 {most:.0f} ms ({len(seconds):,} files)"
