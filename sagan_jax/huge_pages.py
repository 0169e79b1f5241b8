"""Huge pages of memory for training on a CPU."""

import os
import sys
from pathlib import Path

_TUNABLES, _HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_ASKED = "SAGAN_ASKED_FOR_HUGE_PAGES"
"""Set when a command is started anew: for programs with rights of their own, glibc takes the other variable away."""
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Starts this very command anew, once, where that gives it huge pages; call it before any work.

    A training step takes its memory from the system and gives it back: some 26,000 pages of 4 KiB, each cleared by the
    kernel. Huge pages are 2 MiB. Many Linux systems give them only to programs that ask, and glibc asks if an
    environment variable says so when a program starts. The process keeps its number. With
    `GLIBC_TUNABLES=glibc.malloc.hugetlb=0` in the environment nothing is done.
    """
    try:
        tunables = _asking(os.environ.get(_TUNABLES, ""), _KERNEL.read_text())
        begun = _ASKED in os.environ or "jax" in sys.modules  # with JAX there, work has begun
        if tunables is None or begun or not sys.executable:
            return
        environment = os.environ | {_TUNABLES: tunables, _ASKED: "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:  # another system, or one that starts nothing: small pages do as well
        return


def _asking(tunables: str, kernel: str) -> str | None:
    """The environment variable that asks for huge pages.

    Args:
        tunables: What it is now.
        kernel: To whom the kernel gives huge pages, as "always [madvise] never".

    Returns:
        None where it says something of them already, or asking changes nothing.
    """
    if _HUGE in tunables or "[madvise]" not in kernel:
        return None
    return ":".join(filter(None, (tunables, f"{_HUGE}=1")))
