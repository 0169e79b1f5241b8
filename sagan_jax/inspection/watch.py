"""A folder that a camera writes to: each file gets its verdict once it is whole.

When that is, `arriving_files.py` says, from what `folder_events.py` hears of the system.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from sagan_jax.errors import UserError, printable
from sagan_jax.inspection.arriving_files import ArrivingFiles
from sagan_jax.inspection.folder_events import events_in
from sagan_jax.inspection.verdicts import Draw, Verdict, judge_decoded, read_for_scoring
from sagan_jax.judging.scorer import BATCH, Scorer, batch_size


class Arrival(NamedTuple):
    """A verdict, and how many seconds after its file's last change; None of a file that was there first."""

    verdict: Verdict
    seconds: float | None


def watch(
    scorer: Scorer,
    folder: Path,
    threshold: float,
    draw: Draw | None = None,
    *,
    known: Callable[[Path], bool] = lambda path: False,
    stopped: Event,
) -> Iterator[Arrival]:
    """Verdicts on the images in a folder and its folders, those that are there and those to come, each name once.

    One that was unusable has a further verdict once it has changed. Hidden files are left out, and so is what does not
    look like an image.

    Args:
        scorer: What scores them; with maps, if they are drawn.
        folder: The folder.
        threshold: The score above which an image is abnormal.
        draw: As in `judge_files`.
        known: Whether a file has a verdict from before.
        stopped: Ends it when set; a verdict that is being made is made.

    Yields:
        The verdicts, as soon as they are there.

    Raises:
        UserError: If there is no such folder, or it cannot be watched.
    """
    if not folder.is_dir():
        raise UserError(f"{printable(folder)} is not a folder; name the one that images are written to")
    height, width, channels = scorer.image_shape
    scorer.score(np.zeros((batch_size(scorer.patches), height, width, channels), np.uint8), 1)  # the first takes longer
    with events_in(folder) as events, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        started = time.time()
        files = ArrivingFiles(folder, known)
        files.search()
        while not stopped.is_set():
            files.hear(events)
            together = files.whole(BATCH if scorer.patches is None else 1)
            changed = [_changed(path) for path in together]
            each = map if len(together) == 1 else pool.map
            decoded = list(each(lambda path: read_for_scoring(scorer, path, draw is not None), together))
            ready = [file for file in decoded if file.image is not None or files.gives_up(file.path)]
            times = {path: at for path, at in zip(together, changed, strict=True) if at is not None and at >= started}
            for file, verdict in zip(ready, judge_decoded(scorer, ready, threshold, draw), strict=True):
                if verdict.verdict == "unusable":
                    files.unusable[file.path] = together[file.path]
                at = times.get(file.path)
                yield Arrival(verdict, None if at is None else time.time() - at)


def _changed(path: Path) -> float | None:
    """When a file was last written to or renamed, by the system's clock."""
    with suppress(OSError):
        return path.stat().st_ctime
    return None


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
