"""The exceptions that mean "the user can put this right", and how foreign text is made fit for their messages."""

import os
from collections.abc import Sequence
from pathlib import Path

_SHOWN = 5
"""Names in a message before "and n more"."""


class UserError(ValueError):
    """A setting or an input is unusable; the message says what was wrong and what is allowed.

    Commands print the message alone, without a traceback, and leave with exit code 2.
    """


class UnusableFile(UserError):
    """A file cannot be used.

    Attributes:
        path: The file.
        reason: Why, without the file's name, which stands before it in the message.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = Path(path), reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raises UserError, naming the setting, its value and what is allowed, unless `holds`."""
    if not holds:
        raise UserError(f"{name} is {value!r}; it must be {allowed}")


def require_word(name: str, word: object, known: Sequence[str]) -> None:
    """Raises UserError, naming the setting, its value and the words there are, unless it is one of them."""
    require(word in known, name, word, f"one of {', '.join(known)}")


def printable(text: str | os.PathLike[str]) -> str:
    """A text or path on one line: line breaks and whatever else cannot be printed are escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in os.fspath(text))


def one_line(text: str) -> str:
    """The first line of a text, its middle left out if it is long: libraries say what was wrong first or last."""
    line = next(iter(text.strip().splitlines()), "")
    return printable(line if len(line) <= 200 else f"{line[:66]} … {line[-134:]}")


def few(names: Sequence[str], separator: str = ", ") -> str:
    """The first `_SHOWN` names and how many more there are; line breaks within a name are escaped."""
    shown = separator.join(printable(name) for name in names[:_SHOWN])
    return shown + (f"{separator}and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
