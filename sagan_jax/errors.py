"""The one exception that means "the user can mend this", and what of a foreign text is fit for its message."""

import os


class UserError(ValueError):
    """A setting or an input is unusable; the message says what was wrong and what is allowed.

    Commands print the message alone, without a traceback, and leave with exit code 2.
    """


def printable(text: str | os.PathLike[str]) -> str:
    """A text or path on one line: what cannot be printed, line breaks foremost, is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in os.fspath(text))


def reason(error: Exception, length: int = 200) -> str:
    """What a library's error says, without the pages that may follow."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0] if len(lines[0]) <= length else lines[0][: length - 1] + "…")
