"""Verdicts written down: CSV, JSON, lines for people, an exit code for scripts."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from sagan_jax.errors import UserError, printable
from sagan_jax.verdicts import Called, Verdict
from sagan_jax.whole_file import replacing

Writer = Callable[[Verdict], None]


@contextmanager
def written_to(path: Path) -> Iterator[Writer]:
    """A CSV or JSON file of verdicts, by its suffix; written as they come, there under its name when all are.

    Both are UTF-8 whatever the files' names are: a byte of a name that is none is written as an escape.

    Raises:
        UserError: If the suffix is neither, or the folder is not there.
    """
    if path.suffix not in (".csv", ".json"):
        raise UserError(f"{path} ends in {path.suffix or 'nothing'}; allowed are .csv and .json")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}, where {path.name} is to go, is not a folder")
    with replacing(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        if path.suffix == ".csv":
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(Verdict._fields)
            yield lambda verdict: rows.writerow(cells(verdict))
        else:
            before = iter(["[\n"])
            yield lambda verdict: print(next(before, ",\n"), json.dumps(values(verdict)), sep="", end="", file=text)
            text.write(next(before, "\n") + "]\n")
        text.detach()  # flushed, and left open for who opened it


def values(verdict: Verdict) -> dict[str, object]:
    """A verdict as JSON values that any reader takes: text is text, whatever bytes a file's name has."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in verdict._asdict().items()
    }


def cells(verdict: Verdict) -> list[str]:
    """A verdict as cells of text; floats are read back as the same float32."""
    return ["" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value) for value in verdict]


def line(verdict: Verdict) -> str:
    """A verdict as a line for people and for awk: verdict, calibrated, score, file, and the reason if unusable."""
    if verdict.score is None or verdict.calibrated is None:
        return f"{verdict.verdict:<8}  {'-':>6}  {'-':>11}  {printable(verdict.file)}: {verdict.reason}"
    return f"{verdict.verdict:<8}  {verdict.calibrated:6.4f}  {verdict.score:11.6g}  {printable(verdict.file)}"


def exit_code(counts: Mapping[Called, int]) -> int:
    """0 if every file is normal, 1 if one is abnormal, 3 if none is but some were unusable, 2 if nothing was scored."""
    if not counts["normal"] and not counts["abnormal"]:
        return 2
    return 1 if counts["abnormal"] else 3 if counts["unusable"] else 0
