"""Verdicts written down: CSV, JSON, lines for people, an exit code for scripts.

A file of verdicts grows beside its name, as `NAME.part`, and gets its name when all are in it. Whatever stops a command
leaves the part, and `--resume` goes on from it.
"""

import codecs
import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from sagan_jax.atomic_file import replacing
from sagan_jax.errors import UserError, one_line, printable
from sagan_jax.inspection.verdict_part import lock, part_of, say_kept
from sagan_jax.inspection.verdicts import Called, Verdict

SUFFIXES = (".csv", ".json", ".jsonl")


_File = TypeVar("_File", bound=os.PathLike[str])


class Growing(NamedTuple):
    """A file of verdicts on its way.

    Attributes:
        write: Adds a verdict, which is in the file when this returns.
        files: How often each file has a verdict in it from before, by its name as the verdicts have it.
        counts: How many verdicts of each kind there are from before.
        unusable: The files whose last verdict from before is that they cannot be used, and why.
    """

    write: Callable[[Verdict], None]
    files: Counter[str]
    counts: Counter[Called]
    unusable: dict[str, str]


@contextmanager
def written_to(path: Path, threshold: float, *, resume: bool = False) -> Iterator[Growing]:
    """A file of verdicts, CSV, JSON or JSON lines by its suffix, which grows as they come.

    It is UTF-8 whatever the files' names are: a byte of a name that is none is written as an escape. In the end it
    takes the place of a file of verdicts of that name.

    Args:
        path: Where it goes in the end; until then it is `path` with `.part` added.
        threshold: The score above which the verdicts to come say abnormal.
        resume: Go on with the part that a stopped command left, or, if there is none, with the file itself. A row that
            was cut off is scored anew.

    Raises:
        UserError: If the suffix is none of these, the folder is not there, what has that name is no such file,
            there is a part and it is not to be gone on with, or what is to be gone on with has something else in it
            than verdicts by this threshold, or another process is writing it. What is there stays as it is.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} ends in {path.suffix or 'nothing'}; allowed are {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    part = part_of(path, resume)
    for there in (path, part):
        if there.exists() and not there.is_file():  # a pipe, say, which would be waited for
            raise UserError(f"{there} is not a regular file; name another with --out")
    rows, kept = [], serialised([], path.suffix)
    if path.exists():
        before = read_rows(path, threshold if resume and not part.exists() else None, path.suffix)
        rows, kept = before if resume else (rows, kept)
    if resume and part.exists():
        rows, kept = read_rows(part, threshold, path.suffix)
    elif resume and path.exists():
        with replacing(part) as whole:  # a part that lacks some of the file's rows would take its place in the end
            whole.write(kept.encode())
    with part.open("a+", encoding="utf-8", newline="") as file:
        lock(file.fileno(), part)
        if file.tell() >= len(kept.encode()):  # a part, of which nothing but a row that was cut off goes
            file.truncate(len(kept.encode()))
        else:
            file.truncate(0)
            file.write(kept)
            file.flush()
        written, last = len(rows), {row["file"]: row for row in rows}

        def write(verdict: Verdict) -> None:
            nonlocal written
            file.write(serialised([row_of(verdict, path.suffix)], path.suffix, header=False))
            file.flush()
            written += 1

        try:
            yield Growing(
                write,
                Counter(row["file"] for row in rows),
                Counter(row["verdict"] for row in rows),
                {name: row["reason"] for name, row in last.items() if row["verdict"] == "unusable"},
            )
        except BaseException:
            if written:
                say_kept(written, part)
            else:
                part.unlink()
            raise
        os.fsync(file.fileno())
        if path.suffix == ".json":
            _lines_to_array(part, path)
            part.unlink()
        else:
            part.replace(path)


def row_of(verdict: Verdict, suffix: str) -> dict[str, Any]:
    """A verdict as a file of this suffix has it: cells of text, or JSON values."""
    if suffix == ".csv":
        return dict(zip(Verdict._fields, cells(verdict), strict=True))
    return {name: as_text(value) if isinstance(value, str) else value for name, value in verdict._asdict().items()}


def serialised(rows: Iterable[Mapping[str, Any]], suffix: str, *, header: bool = True) -> str:
    """Rows as the text of a part: CSV, under the names of its columns, or a line of JSON each."""
    if suffix != ".csv":
        return "".join(json.dumps(row) + "\n" for row in rows)
    return "".join(map(_csv_line, [*([Verdict._fields] if header else []), *(row.values() for row in rows)]))


def _csv_line(cells: Iterable[str]) -> str:
    """A line of CSV, ended by a line feed."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # the csv module quotes no break that ends no line
    return text.getvalue().removesuffix("\r\n") + "\n"


def _lines_to_array(lines: Path, path: Path) -> None:
    """Writes JSON lines as one JSON array, a line an element; the file appears whole or not at all."""
    with lines.open("rb") as file, replacing(path) as array:
        before = b"[\n"
        for line in file:
            array.write(before + line.rstrip(b"\n"))
            before = b",\n"
        array.write((b"[\n" if before == b"[\n" else b"\n") + b"]\n")


def read_rows(path: Path, threshold: float | None, suffix: str) -> tuple[list[dict[str, Any]], str]:
    """The whole rows of a file of verdicts or of a part of one, and their text in a part.

    Args:
        path: The file.
        threshold: That of the verdicts, which they must have been made with; None allows any.
        suffix: What kind of file it is a part of.

    Raises:
        UserError: If it cannot be read, or has something else in it.
    """
    anew, is_part = "move it away to begin anew", path.suffix == ".part"
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        text = decoder.decode(path.read_bytes(), final=not is_part)  # a part may be cut inside a letter
        if suffix == ".csv":
            rows = _csv_rows(text, is_part)
        elif path.suffix == ".json":
            rows = json.loads(text or "[]")
        else:
            *lines, last = text.split("\n")
            rows = [json.loads(line) for line in (lines if is_part or not last else [*lines, last])]
        kept = serialised(rows, suffix)
        others = (
            row for row in rows if threshold is not None and not same_threshold(float(row["threshold"]), threshold)
        )
        other = next(others, None)
        whole = isinstance(rows, list) and all(tuple(row) == Verdict._fields for row in rows)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} is not a file of verdicts ({one_line(str(error))}); {anew}") from error
    if other is not None:
        raise UserError(f"{path} has verdicts by the threshold {other['threshold']}, not {threshold:.9g}; {anew}")
    if not whole or (is_part and not _begins_with(text, kept, suffix)):
        raise UserError(f"{path} has something else in it than verdicts; {anew}")
    return rows, kept


def _begins_with(text: str, kept: str, suffix: str) -> bool:
    """Whether a part's text is that of its whole rows, and then at most the beginning of one more."""
    if not text.startswith(kept):
        return kept.startswith(text)  # cut inside the names of the columns
    cut_off, begins = text.removeprefix(kept), "" if suffix == ".csv" else json.dumps({"file": ""})[:-2]
    return cut_off.startswith(begins) or begins.startswith(cut_off)


def same_threshold(one: float, other: float) -> bool:
    """Whether thresholds are the same, as far as a text file has them."""
    return f"{one:.9g}" == f"{other:.9g}"


def _csv_rows(text: str, is_part: bool) -> list[dict[str, str]]:
    """Rows of CSV by the names of their columns; of a part, without one that was cut off at the end."""
    rows = list(csv.reader(StringIO(text, newline="")))
    if is_part and rows and (not text.endswith("\n") or text.count('"') % 2):  # odd: cut at a line feed inside a name
        rows.pop()
    if rows and tuple(rows[0]) != Verdict._fields:
        raise ValueError("the columns have other names")
    return [dict(zip(Verdict._fields, row, strict=True)) for row in rows[1:]]


def remaining(files: Sequence[_File], done: Counter[str]) -> list[_File]:
    """The files that have no verdict yet, in order; one that is named twice is to have two."""
    left = done.copy()
    rest = []
    for file in files:
        name = as_text(os.fspath(file))
        if left[name]:
            left[name] -= 1
        else:
            rest.append(file)
    return rest


def as_text(name: str) -> str:
    """A file's name as text that any reader takes: a byte that is not UTF-8 becomes an escape."""
    return name.encode(errors="backslashreplace").decode()


def cells(verdict: Verdict) -> list[str]:
    """A verdict as cells of text; floats are read back as the same float32."""
    return [
        "" if value is None else f"{value:.9g}" if isinstance(value, float) else as_text(str(value))
        for value in verdict
    ]


def line(verdict: Verdict) -> str:
    """A verdict as a line for people and for awk: verdict, calibrated, score, file, and the reason if unusable."""
    if verdict.score is None or verdict.calibrated is None:
        return f"{verdict.verdict:<8}  {'-':>6}  {'-':>11}  {printable(verdict.file)}: {verdict.reason}"
    return f"{verdict.verdict:<8}  {verdict.calibrated:6.4f}  {verdict.score:11.6g}  {printable(verdict.file)}"


def told(counts: Mapping[Called, int]) -> str:
    """How many files were called what, in words."""
    return ", ".join(f"{counts[called]:,} {called}" for called in get_args(Called))


def exit_code(counts: Mapping[Called, int]) -> int:
    """0 if every file is normal, 1 if one is abnormal, 3 if none is but some were unusable, 2 if nothing was scored."""
    if not counts["normal"] and not counts["abnormal"]:
        return 2
    return 1 if counts["abnormal"] else 3 if counts["unusable"] else 0
