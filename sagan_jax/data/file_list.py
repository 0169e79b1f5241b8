"""The files that a command line names: files, folders of them, lists of them on standard input."""

import codecs
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sagan_jax.data.image_format import is_image, is_passed_over
from sagan_jax.errors import UserError, printable

_MARKS = {  # what a text may begin with, by the encoding it says; the longer ones first, for one begins like another
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ADVICE = "a list has a name a line in UTF-8, or names each ended by NUL as from find -print0"


def list_files(named: Sequence[str], stdin: Callable[[], bytes]) -> list[Path]:
    """The files a command line names, in its order.

    Args:
        named: Files, taken as they are; folders, searched through for images, hidden ones and links to folders left
            out; "-" for a list of these on standard input, see `read_list`.
        stdin: Reads standard input to its end.

    Raises:
        UserError: As `read_list`, or if a list names a folder above the working one without spelling it out in full.
    """
    return [file for name in names_in(named, stdin) for file in files_of(name)]


def names_in(named: Sequence[str], stdin: Callable[[], bytes]) -> list[str]:
    """The names of a command line, those of the list on standard input in the place of "-"; raises as `list_files`."""
    names: list[str] = []
    for name in named:
        if name != "-":
            names.append(name)
            continue
        for listed in read_list(stdin()):
            if _is_folder(listed):
                _refuse_above(listed)
            names.append(listed)
    return names


def files_of(name: str) -> list[Path]:
    """The file of that name, whether it is there or not, or the images below the folder."""
    return images_below(Path(name)) if _is_folder(name) else [Path(name)]


def _is_folder(name: str) -> bool:
    return os.path.isdir(name)  # noqa: PTH112 (Path.is_dir raises for a name that is too long)


def _refuse_above(name: str) -> None:
    """Raises UserError for a folder that the working one lies in, unless it is spelled out, and for all of a disk.

    A list is written by a program, and one that went wrong must not set off a search of the whole disk.
    """
    folder, here = Path(name).resolve(), Path.cwd()
    if folder in here.parents and (not Path(name).is_absolute() or ".." in Path(name).parts or folder == folder.parent):
        raise UserError(
            f"the list names the folder {printable(name)}, which is {printable(folder)}, above the working folder; "
            "such a folder is searched only if the list spells it out in full, the root only if the command line does"
        )


def read_list(listed: bytes) -> list[str]:
    """The names in a list, "-" not among them; bytes that are not UTF-8 are kept as the system keeps them.

    A name a line, or names each ended by NUL, as `find -print0` has them. A byte order mark of UTF-8, UTF-16 or UTF-32
    is heeded.

    Raises:
        UserError: If it is of another encoding than its mark says, or has NULs that do not end names, as UTF-16 does.
    """
    encoding = next((encoding for mark, encoding in _MARKS.items() if listed.startswith(mark)), None)
    if encoding is not None:
        try:
            listed = listed.decode(encoding).encode()
        except UnicodeError as error:
            raise UserError(f"the list begins as {encoding} does, but cannot be read as that; {_ADVICE}") from error
    if b"\0" not in listed:
        return [os.fsdecode(name) for name in listed.splitlines() if name not in (b"", b"-")]
    if listed.count(b"\0") * 5 >= 2 * len(listed):  # a name of two letters and its NUL have a third
        raise UserError(f"the list looks like UTF-16 without a byte order mark: it is half NULs; {_ADVICE}")
    names = listed.split(b"\0")
    last = names.pop()
    if last and any(b"\n" in name or b"\r" in name for name in (*names, last)):
        raise UserError(f"the list has NULs and line breaks and does not end with NUL; {_ADVICE}")
    if last:
        names.append(last)
    if any(name != name.strip(b"\r\n") or not name for name in names):  # so has UTF-16 in other scripts
        raise UserError(f"the list has NULs that do not end a name; {_ADVICE}")
    return [os.fsdecode(name) for name in names if name != b"-"]


def images_below(folder: Path) -> list[Path]:
    """The files in a folder and its folders that look like images, of formats that are not read too; sorted.

    What `is_passed_over` is left out. A folder that cannot be read is among the files, so that it is told of.
    """
    found: list[Path] = []
    barred: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: barred.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        visible = (name for name in sorted(names) if not is_passed_over(name))
        found += [path for name in visible if is_image(path := Path(parent) / name)]
    return found + barred
