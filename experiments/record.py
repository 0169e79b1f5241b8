"""Results on record, as CSV files whose every row says what made it.

`Row` is a result of a method on a class by a protocol with a seed, collected from the folders of runs for the tables.
Other experiments have rows of their own; all are written by `write_results`.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.paper import Table
from experiments.variants import recognise
from sagan_jax.runs.provenance import PROVENANCE, command, provenance

REFERENCE = "batch_statistics_in_order_best_test_epoch"


def made_by(device: str | None = None, seed: int = 0) -> dict[str, Any]:
    """What made the results of this process, by the names in `PROVENANCE`.

    Args:
        device: What they were computed on, in words, from `device.start`; None if without JAX.
        seed: What all randomness came from.
    """
    made = provenance(command(), device, seed)
    return {name: made[name] for name in PROVENANCE}


def result_lines(rows: Iterable[Any], made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows, named tuples, as lines of a file of results; what a row itself has of `PROVENANCE` stays as it is."""
    return [row._asdict() | {name: value for name, value in made.items() if name not in row._fields} for row in rows]


def write_results(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes lines as CSV; the columns of `PROVENANCE` are in every file, the last ones unless the rows have them."""
    from sagan_jax import run_folder

    names = tuple(dict.fromkeys(name for line in lines for name in line))
    header = (*names, *(name for name in PROVENANCE if name not in names))
    path.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write_csv(path, header, [[line.get(name, "") for name in header] for line in lines])


def read_results(path: Path) -> list[dict[str, str]]:
    """The lines of a file of results, none if there is no file; what an older file lacks of `PROVENANCE` is empty."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [dict.fromkeys(PROVENANCE, "") | line for line in csv.DictReader(file)]


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
            machine=made.get("machine") or f"{result['device']}, {made['platform']}",
            command=made["command"],
        )

    strict = result["strict"]["auroc"]
    rows = [row("strict", strict["value"], strict["low"], strict["high"])]
    if "reference" in result:
        rows.append(row("reference", result["reference"][REFERENCE]))
    return rows


def collect(folder: Path, table: Table) -> list[Row]:
    """The rows of a table: of all finished runs in a folder, whatever the depth, or of a file of rows."""
    if folder.is_file():
        return [row for row in read_table_rows(folder) if row.dataset.startswith(table.dataset)]
    results = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("result.json")))
    return [row for result in results if result["dataset"].startswith(table.dataset) for row in rows_of(result)]


def merged_rows(*parts: Iterable[Row]) -> list[Row]:
    """The rows of several sources in a fixed order; of those on one cell the last is kept."""
    cells = {row.cell: row for rows in parts for row in rows}
    return [cells[cell] for cell in sorted(cells)]


def read_table_rows(path: Path) -> list[Row]:
    """The rows on record; none where there is no file yet."""
    kinds = {"seed": int, "size": int, "epochs": int, "train_images": int, "test_images": int, "auroc": float}

    def value(name: str, text: str) -> Any:
        if name in ("low", "high"):
            return float(text) if text else None
        return kinds.get(name, str)(text)

    return [Row(**{name: value(name, line[name]) for name in Row._fields}) for line in read_results(path)]
