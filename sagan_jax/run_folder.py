"""The files of a run's folder: JSON, metrics by epoch, scores by image. Each appears whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax.data.split import Split
from sagan_jax.errors import UserError
from sagan_jax.whole_file import LEFT_OVER, replacing


class InUseError(UserError):
    """Another process has the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a run's folder to one process; a process that dies lets go of it, however it dies.

    Raises:
        InUseError: If another process has it.
        UserError: If it cannot be made or written to.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}; name another folder with --out") from error
    try:
        if not os.access(folder, os.W_OK):
            raise UserError(f"{folder} cannot be written to; name another folder with --out")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the folder itself: no file to leave behind
        except OSError as error:
            raise InUseError(f"{folder} is in use by another process; name another folder with --out") from error
        for left_over in folder.glob(LEFT_OVER):
            left_over.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replaces a file by one with this text, in one step: a run that dies here leaves the old one."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON for people: indented, in the order given."""
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")


def write_metrics(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes a line of JSON an epoch."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in history))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The epochs' metrics so far; none for a new folder."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table: a line of names, then a line a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_scores(path: Path, split: Split, scores: Mapping[str, np.ndarray], shares: np.ndarray) -> None:
    """Writes a line an image: id, label (1 is abnormal), R, L, the score, and the share of normal images below it."""
    columns = (scores["reconstruction"], scores["latent"], scores["total"], shares)
    rows = (
        (name, int(label), *(f"{value:.9g}" for value in values))  # float32 read back exactly
        for name, label, *values in zip(split.test_ids, split.test_labels, *columns, strict=True)
    )
    write_csv(path, ("id", "label", "R", "L", "score", "calibrated"), rows)
