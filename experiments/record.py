"""Results on record: a row a method, class, protocol and seed, collected from the folders of runs, kept as CSV."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from experiments.paper import Table
from experiments.variants import recognise

REFERENCE = "batch_statistics_in_order_best_test_epoch"


MADE_BY = ("commit", "date", "platform", "command")
"""The last columns of measurements that no run's folder stands behind."""


def made_by() -> tuple[Any, ...]:
    """What made a measurement of this process: the values of `MADE_BY`."""
    from sagan_jax.runs.provenance import command, provenance

    made = provenance(command())
    return tuple(made[name] for name in MADE_BY)


class Row(NamedTuple):
    """A result on record.

    `size` is the images' side in pixels; the interval is the bootstrap's over test images, of strict rows alone.
    """

    dataset: str
    method: str
    preset: str
    abnormal: str
    protocol: str
    seed: int
    size: int
    epochs: int
    train_images: int
    test_images: int
    auroc: float
    low: float | None
    high: float | None
    commit: str
    date: str
    machine: str
    command: str

    @property
    def cell(self) -> tuple[Any, ...]:
        """What of a row there is one of."""
        return self[: self._fields.index("auroc")]


def rows_of(result: dict[str, Any]) -> list[Row]:
    """A run's result as rows: one strict, and one for the reference protocol where that was measured."""
    method, preset = recognise(result["method"], result["model"], result["training"])
    images, training, made = result["images"], result["training"], result["provenance"]

    def row(protocol: str, auroc: float, low: float | None = None, high: float | None = None) -> Row:
        return Row(
            dataset=result["dataset"],
            method=method,
            preset=preset,
            abnormal=result["abnormal"],
            protocol=protocol,
            seed=training["seed"],
            size=result["image_shape"][0],
            epochs=training["epochs"],
            train_images=images["train"] + images["held_out"],
            test_images=images["test_normal"] + images["test_abnormal"],
            auroc=round(auroc, 4),
            low=None if low is None else round(low, 4),
            high=None if high is None else round(high, 4),
            commit=made["commit"] or "",
            date=made["date"],
            machine=f"{result['device']}, {made['platform']}",
            command=made["command"],
        )

    strict = result["strict"]["auroc"]
    rows = [row("strict", strict["value"], strict["low"], strict["high"])]
    if "reference" in result:
        rows.append(row("reference", result["reference"][REFERENCE]))
    return rows


def collect(folder: Path, table: Table) -> list[Row]:
    """The rows of all finished runs in a folder that are of the table, whatever the depth."""
    results = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("result.json")))
    return [row for result in results if result["dataset"].startswith(table.dataset) for row in rows_of(result)]


def merged(*parts: Iterable[Row]) -> list[Row]:
    """The rows of several sources in a fixed order; of those on one cell the last is kept."""
    cells = {row.cell: row for rows in parts for row in rows}
    return [cells[cell] for cell in sorted(cells)]


def read(path: Path) -> list[Row]:
    """The rows on record; none where there is no file yet."""
    if not path.exists():
        return []
    kinds = {"seed": int, "size": int, "epochs": int, "train_images": int, "test_images": int, "auroc": float}

    def value(name: str, text: str) -> Any:
        if name in ("low", "high"):
            return float(text) if text else None
        return kinds.get(name, str)(text)

    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{name: value(name, row[name]) for name in Row._fields}) for row in csv.DictReader(file)]
