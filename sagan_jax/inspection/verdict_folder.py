"""Verdicts written down as Parquet: a folder of files, for tables too large for one file of text.

It grows beside its name, as `NAME.part`, and gets its name when all verdicts are in it, as a file of verdicts does.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sagan_jax.atomic_file import LEFT_OVER, replacing
from sagan_jax.errors import UserError, one_line
from sagan_jax.inspection.verdict_file import Growing, row_of, same_threshold
from sagan_jax.inspection.verdict_part import lock, part_of, say_kept
from sagan_jax.inspection.verdicts import Verdict

SUFFIX = ".parquet"
ROWS = 10_000  # of a file in the folder
_TYPES = {"score": "float64", "calibrated": "float64", "threshold": "float64"}  # the other columns are text


@contextmanager
def parquet_to(path: Path, threshold: float, *, resume: bool = False) -> Iterator[Growing]:
    """A folder of Parquet files of verdicts, which grows as they come, `ROWS` at a time.

    Args:
        path: Where it goes in the end; until then it is `path` with `.part` added.
        threshold: The score above which the verdicts to come say abnormal.
        resume: Go on with the part that a stopped command left, or, if there is none, with the folder itself. What a
            killed process had not written, at most `ROWS` verdicts, is scored anew.

    Raises:
        UserError: If pyarrow is not installed, the folder around it is not there, there is such a folder or a part of
            one and it is not to be gone on with, there are both, or it has something else in it than verdicts by this
            threshold, or another process is writing it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f'{path.name} needs pyarrow: pip install "sagan-jax[ray]"') from error
    part = part_of(path, resume)
    if path.exists() and not (resume and path.is_dir()):
        what = "is there already; go on with --resume, or remove it" if path.is_dir() else "is not a folder"
        raise UserError(f"{path} {what}")
    if path.exists() and part.exists():
        raise UserError(f"{part} could not take the place of {path} in the end; move one of them away")
    if not path.exists():
        part.mkdir(exist_ok=True)
    begun = part if part.exists() else path
    folder = os.open(begun, os.O_RDONLY)
    try:
        lock(folder, begun)
        schema = pa.schema([(name, _TYPES.get(name, "string")) for name in Verdict._fields])
        there = sorted(file for file in begun.iterdir() if not file.match(LEFT_OVER))
        before = _read(there, begun, threshold, schema)
        begun.replace(part)
        names, counts = Counter(before["file"].to_pylist()), Counter(before["verdict"].to_pylist())
        waiting: list[dict[str, Any]] = []
        number = 1 + max((int(file.stem) for file in there), default=-1)
        written = len(before)

        def flush() -> None:
            nonlocal number, written
            with replacing(part / f"{number:08d}{SUFFIX}") as file:
                pq.write_table(pa.Table.from_pylist(waiting, schema), file)
            number, written = number + 1, written + len(waiting)
            waiting.clear()

        def write(verdict: Verdict) -> None:
            waiting.append(row_of(verdict, SUFFIX))
            if len(waiting) == ROWS:
                flush()

        try:
            yield Growing(write, names, counts, {})
            if waiting or not number:  # a table without rows is a table
                flush()
        except BaseException:
            with suppress(OSError):  # a disk may be full
                if waiting:
                    flush()
            if written:
                say_kept(written, part)
            else:
                shutil.rmtree(part)
            raise
        part.replace(path)
    finally:
        os.close(folder)


def _read(files: list[Path], folder: Path, threshold: float, schema: Any) -> Any:
    """The names and verdicts in the files of a folder; raises UserError if they are others than by this threshold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    anew, columns = "move it away to begin anew", ["file", "verdict", "threshold"]
    try:
        if any(pq.read_schema(file) != schema or not file.stem.isdecimal() for file in files):
            raise UserError(f"{folder} has something else in it than verdicts; {anew}")
        tables = [pq.ParquetFile(file).read(columns) for file in files]
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{folder} is not a folder of verdicts ({one_line(str(error))}); {anew}") from error
    table = pa.concat_tables([schema.empty_table().select(columns), *tables])
    other = next(
        (value for value in table["threshold"].unique().to_pylist() if not same_threshold(value, threshold)), None
    )
    if other is not None:
        raise UserError(f"{folder} has verdicts by the threshold {other:.9g}, not {threshold:.9g}; {anew}")
    return table
