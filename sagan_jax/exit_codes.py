"""How every command ends: with an exit code that scripts can rely on, and a line that says what to do next."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from types import FrameType

from sagan_jax.errors import UserError, one_line

_CRASHED = 70  # EX_SOFTWARE of sysexits.h; Python's own 1 would read as "abnormal"
TRACEBACK = "SAGAN_TRACEBACK"  # an environment variable that, set to anything but 0, has a crash print its traceback
_SYSTEMS = (  # faults of disk, names and limits, which the user can mend
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EFBIG),
    errno.EEXIST,
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMFILE, errno.ENFILE),
)
_STOPPED = "stopped; nothing finished is lost"
_RESUME = "The same command with --resume continues from the last whole epoch"


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it is not an `Exception`, so that no handler of errors catches it."""


def guarded(action: Callable[[], object], *, resumable: bool = True) -> int:
    """Runs a command's work and turns the ways it can end into exit codes.

    Args:
        action: The work; an `int` it returns is the exit code, anything else means 0.
        resumable: Whether `--resume` continues where the work was stopped.

    Returns:
        2 after a message on stderr about what the user can put right, 130 after SIGINT, 143 after SIGTERM, 141 if the
        program that read the output, such as `head`, has ended; 70 after any other exception, which is a bug: one line
        on stderr says which it was; otherwise the action's own.
    """
    stopped = f"{_STOPPED}. {_RESUME}" if resumable else _STOPPED

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if getattr(sys.stdout, "errors", None) == "strict" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no crash
    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not the main thread, which alone can handle signals
        before = None
    try:
        code = action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 141
    except Exception as error:
        if isinstance(error, FileNotFoundError) and error.filename is None and not _is_working_folder_there():
            print("error: the working folder is no longer there; go to one that is", file=sys.stderr)
            return 2
        if not isinstance(error, OSError) or error.errno not in _SYSTEMS:
            return _crashed(error)
        goes_on = ", and --resume continues from it" if resumable else ""
        print(f"error: {error}; what was written before is whole{goes_on}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except Terminated:
        print(stopped, file=sys.stderr)
        return 143
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return code if isinstance(code, int) else 0


def _is_working_folder_there() -> bool:
    """Whether the folder that relative paths begin at exists."""
    try:
        os.getcwd()  # noqa: PTH109 (no path is wanted)
    except FileNotFoundError:
        return False
    return True


def _crashed(error: Exception) -> int:
    """Prints an unexpected exception on stderr in one line, after its traceback if that is wanted; returns 70."""
    wanted = os.environ.get(TRACEBACK, "0") not in ("", "0")
    if wanted:
        traceback.print_exception(error)
    said = one_line(str(error)) or "no message"
    how = "" if wanted else f"; {TRACEBACK}=1 in the environment shows where"
    print(f"error: a bug in the program, not in its input: {type(error).__name__}: {said}{how}", file=sys.stderr)
    return _CRASHED
