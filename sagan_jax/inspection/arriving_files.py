"""Which files of a watched folder are whole, which may not be yet, and which are done.

A file is whole when its writer has closed it or renamed it into place, which Linux tells of local disks (inotify). One
that is being written there is waited for, however long its writer pauses; if nothing is told of it, and it does not
change, for `CLOSING` seconds, the system's word was missed. What is told of otherwise, or not at all (another system, a
network's disk, a file that was there first), is whole once its size and time have not changed for `SETTLE` seconds. One
that cannot be read is tried again when it changes, and called unusable once it has not changed for `PATIENCE` seconds:
it may have been closed and not finished. If it changes after that, it is scored again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from sagan_jax.data.file_list import images_below
from sagan_jax.data.image_format import is_image, is_passed_over
from sagan_jax.inspection.folder_events import FileState

SETTLE, PATIENCE, CLOSING = 0.5, 2.0, 60.0  # seconds
SEARCH = 2.0  # seconds between searches of the folder for what nobody told of
_TICK = 0.05  # seconds that a stop waits at most
_LOOKED_AT = 64  # files that wait, looked at in turn while others are whole: however many wait, those are not kept


_Like = tuple[int, int]  # a file's size and time


class _Waiting(NamedTuple):
    """A file that may not be whole: what it is like, since when, whether it is being written or was tried already."""

    like: _Like
    since: float
    written: bool = False
    tried: bool = False

    def is_over(self, now: float) -> bool:
        """Whether it has not changed for long enough."""
        return now - self.since >= (PATIENCE if self.tried else CLOSING if self.written else SETTLE)


class ArrivingFiles:
    """What is known of the folder's files: which are whole, which wait, which are done."""

    def __init__(self, folder: Path, known: Callable[[Path], bool]) -> None:
        self.folder, self.known = folder, known
        self.done: set[Path] = set()
        self.waiting: OrderedDict[Path, _Waiting] = OrderedDict()  # the next to be looked at first
        self.ready: OrderedDict[Path, None] = OrderedDict()  # whole, the next first
        self.tried: set[Path] = set()
        self.unusable: dict[Path, _Like | None] = {}  # of those that are done, and what they were like
        self.searched = -SEARCH

    def search(self) -> None:
        """Finds what nobody told of."""
        self.searched = time.monotonic()
        for path in images_below(self.folder):
            self.add(path, "there")

    def add(self, path: Path, state: FileState) -> None:
        """Takes note of an image file: at once if it is whole, else once it is or has settled."""
        if path in self.done and not self._changed_since(path):
            return
        if self.known(path):
            self.done.add(path)
            return
        if state != "there":
            self.tried.discard(path)
        if state == "whole" and path not in self.ready:
            self.waiting.pop(path, None)
            self.ready[path] = None
            self.ready.move_to_end(path, last=False)  # before what has lain here for long
        elif state == "written":
            self.ready.pop(path, None)
            if like := _like(path):
                self.waiting[path] = _Waiting(like, time.monotonic(), written=True)
        elif state == "there" and path not in self.waiting and path not in self.ready:
            if like := _like(path):
                age = max(0.0, time.time() - like[1] / 1e9)  # of what was there first, it is known
                self.waiting[path] = _Waiting(like, time.monotonic() - age)
            elif path.is_dir():  # one that cannot be read: no other is among the files
                self.ready[path] = None

    def _changed_since(self, path: Path) -> bool:
        """Whether a file was called unusable and is another now, which then counts as not done."""
        if path not in self.unusable or _like(path) in (None, self.unusable[path]):
            return False
        del self.unusable[path]
        self.done.discard(path)
        self.tried.discard(path)
        return True

    def hear(self, events: "SimpleQueue[tuple[Path, FileState]]") -> None:
        """Takes note of what the system tells, waiting a moment for it if there is nothing else to do."""
        with suppress(Empty):
            path, state = events.get(timeout=0 if self.ready else _TICK)
            while True:
                if path.is_dir():
                    self.searched = -SEARCH  # files may have been in it before it was watched
                elif not _is_left_out(path, self.folder) and is_image(path):
                    self.add(path, state)
                path, state = events.get_nowait()
        self.settle()  # by the latest that is known
        if time.monotonic() - self.searched >= SEARCH:
            self.search()

    def settle(self) -> None:
        """Finds out which of the files that wait have not changed for long enough."""
        now = time.monotonic()
        for _ in range(min(len(self.waiting), _LOOKED_AT) if self.ready else len(self.waiting)):
            path, file = self.waiting.popitem(last=False)
            like = _like(path)
            if like is None:
                continue  # a name that was for the time of writing
            if like != file.like:
                self.waiting[path] = _Waiting(like, now, file.written)
            elif not file.is_over(now):
                self.waiting[path] = file
            else:
                self.ready[path] = None
                if file.tried:
                    self.tried.add(path)

    def whole(self, most: int) -> dict[Path, _Like | None]:
        """The next files that are whole, and what they are like; they count as done."""
        taken = [self.ready.popitem(last=False)[0] for _ in range(min(most, len(self.ready)))]
        self.done.update(taken)
        return {path: _like(path) for path in taken}

    def gives_up(self, path: Path) -> bool:
        """Whether a file that cannot be read is to be called unusable; else it waits to change, or to be gone."""
        like = _like(path)
        if path in self.tried or (like is None and path.exists()):  # no file: a pipe, say
            return True
        self.done.discard(path)
        if like is not None:
            self.waiting[path] = _Waiting(like, time.monotonic(), tried=True)
        return False


def _like(path: Path) -> _Like | None:
    """Size and time of a regular file; None of anything else."""
    with suppress(OSError):
        if path.is_file():
            found = path.stat()
            return found.st_size, found.st_mtime_ns
    return None


def _is_left_out(path: Path, folder: Path) -> bool:
    """Whether a search of the folder, as that of `images_below`, leaves out a file or a folder that it is in."""
    return any(map(is_passed_over, path.relative_to(folder).parts))
