"""What a call takes: seconds, in turn with what it is compared with, and the memory of a process."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round; a first round to warm up is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            taken = timed(call)
            if i:
                seconds[name].append(taken)
    return seconds


def own_peak_memory() -> int:
    """MiB that this process had at most (Linux). getrusage would count its parent's at the fork; VmHWM does not."""
    with Path("/proc/self/status").open() as file:
        return round(next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024)
