"""The files of a run's folder: JSON, metrics by epoch, scores by image. Each appears whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax.atomic_file import replacing
from sagan_jax.data.split import Split
from sagan_jax.detector import Scores
from sagan_jax.errors import UserError, one_line

VALIDATION = "validation_reconstruction"  # an epoch's loss on held-out images, among its metrics
LARGEST = 64 * 2**20  # bytes; a line of metrics has some hundred, so this is a hundred thousand epochs


_WRITTEN = (
    *("config.json", "metrics.jsonl", "result.json", "scores.csv", "gallery.json", "report.html"),
    *("losses.png", "scores.png", "roc.png", "images.png"),
)
"""The files of a run's folder, beside its checkpoints."""


class InUseError(UserError):
    """Another process is using the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a run's folder to one process; a process that dies releases it, however it dies.

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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the folder: no lock file stays
        except OSError as error:
            raise InUseError(f"{folder} is in use by another process; name another folder with --out") from error
        for name in _WRITTEN:
            for left_over in folder.glob(f".{name}.[0-9]*.partial"):  # of a run that was killed as it wrote the file
                left_over.unlink(missing_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()  # a folder that nothing was written to is removed
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replaces a file by one with this text, in one step: a run that dies here leaves the old one."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))  # a file's name need not be text


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON for people: indented, in the order given."""
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")


def write_metrics(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes a line of JSON an epoch."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in history))


def read_json(path: Path) -> dict[str, Any] | None:
    """What a JSON file of a run's folder has; None if it is not there.

    Raises:
        UserError: If it cannot be read, is larger than any run makes it, or holds something else than names and values.
    """
    text = read_text(path)
    return None if text is None else _parse_object(text, str(path))


def read_result(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's `result.json`; empty if the run has not ended, or not since it was continued or judged in another way.

    Args:
        folder: The run's folder.
        config: Its `config.json`.

    Raises:
        UserError: As `read_json`.
    """
    result = read_json(folder / "result.json") or {}
    match result, config:
        case {"training": {"epochs": before}}, {"training": {"epochs": now}} if before != now:
            return {}
    judged, settings = result.get("judging"), config.get("run")
    if isinstance(judged, dict) and isinstance(settings, Mapping):  # older results do not say how they were judged
        return result if all(settings.get(name) == value for name, value in judged.items()) else {}
    return result


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The epochs' metrics so far; none if the file is not there.

    Raises:
        UserError: If a line is not an epoch's metrics, or the epochs do not rise.
    """
    history = [
        _parse_object(line, f"{path}, line {n}") for n, line in enumerate((read_text(path) or "").splitlines(), 1)
    ]
    epochs = [row["epoch"] for row in history if type(row.get("epoch")) is int]
    numbers = all(type(value) in (int, float) for row in history for value in row.values())
    complete = all("seconds" in row and VALIDATION in row for row in history)
    if not numbers or not complete or len(epochs) != len(history) or sorted(set(epochs)) != epochs:
        advice = "correct it, or move it away to continue without it"
        raise UserError(f"{path} is not a list of epochs and their metrics; {advice}")
    return history


def read_text(path: Path) -> str | None:
    """A text file of a run's folder, of bounded size; None if it is not there."""
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise UserError(f"{path} is not a file that a run writes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(str(error))}") from error


def _parse_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object; raises UserError, by the name of where it is from, for anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested without end
        raise UserError(f"{name} cannot be read: {one_line(str(error))}") from error
    if not isinstance(values, dict):
        raise UserError(f"{name} holds something else than names and values")
    return values


@contextmanager
def damage_as_user_error(folder: Path, *also: type[Exception]) -> Iterator[None]:
    """Turns the errors of using a run's files into one that says they are damaged or of another version.

    Args:
        folder: The run's folder.
        also: What such use may raise beside the errors of plain Python.

    Raises:
        UserError: If they lack a name, or have a value of another kind than a run writes.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, *also) as error:
        raise UserError(f"the files in {folder} are damaged or of another version: {one_line(repr(error))}") from error


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table: a line of names, then a line a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_scores(path: Path, split: Split, scores: Scores, shares: np.ndarray) -> None:
    """Writes a line an image: id, label (1 is abnormal), R, L, the score, and the share of normal images below it."""
    columns = (scores.reconstruction, scores.latent, scores.total, shares)
    rows = (
        (name, int(label), *(f"{value:.9g}" for value in values))  # float32 read back exactly
        for name, label, *values in zip(split.test_ids, split.test_labels, *columns, strict=True)
    )
    write_csv(path, ("id", "label", "R", "L", "score", "calibrated"), rows)
