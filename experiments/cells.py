"""The cells of Tables 2 and 3: the run behind each, where it is kept, and how it is prepared."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.datasets import TfdsConfig, ThinningConfig, load_dataset
from experiments.paper import TABLE_3_IN_THE_FIELD, TABLES, Table
from experiments.variants import VARIANTS
from sagan_jax import run_folder
from sagan_jax.config import JudgingConfig, Preset, Site, TrainingConfig
from sagan_jax.errors import UserError, require
from sagan_jax.methods.table import METHODS

if TYPE_CHECKING:
    from sagan_jax.data.split import Split
    from sagan_jax.runs.prepare import Prepared

JUDGING = JudgingConfig(protocol="both")
"""How the tables' runs are judged."""


class CellRun(NamedTuple):
    """The run behind one cell of a table."""

    table: int
    method: str
    preset: Preset
    abnormal: str
    seed: int

    @property
    def title(self) -> str:
        """The run in words."""
        method = VARIANTS[self.method].title
        return f"table {self.table}, {method} ({self.preset}), {self.abnormal} abnormal, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the runs behind the tables are of, and where they are kept."""

    site: Site = "station"
    """Which bolts table 3 is of: those of one inspection station, or the harder ones of the field."""
    epochs: int = 15
    """How many epochs are trained."""
    thinning: ThinningConfig = field(default_factory=ThinningConfig)
    size: int | None = None
    """Side of the images; by default 32 for table 2 and 128 for table 3."""
    runs: Path = Path("runs")
    """The folder of runs: it is added to, and results are looked for everywhere in it. To collect from, also a file of
    results that another machine wrote, such as RUNS/table2.csv."""
    tfds: TfdsConfig = field(default_factory=TfdsConfig)

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.size is None or self.size >= 1, "size", self.size, "at least 1")

    def of_table(self, number: int) -> Table:
        """The table of that number, of the site that is wanted."""
        return TABLE_3_IN_THE_FIELD if number == 3 and self.site == "field" else TABLES[number]

    def size_of(self, number: int) -> int:
        """The side of that table's images, in pixels."""
        return self.size or TABLES[number].size

    def folder(self, run: CellRun) -> Path:
        """Where a run is kept."""
        station = "-station" if run.table == 3 and self.site == "station" else ""
        abnormal = re.sub(r"\W+", "_", run.abnormal)
        return self.runs / f"table{run.table}{station}" / f"{run.method}-{run.preset}" / abnormal / f"seed{run.seed}"

    def has_ended(self, run: CellRun) -> bool:
        """Whether a run has a result, of as many epochs as are wanted or more.

        Raises:
            UserError: If its images had another size.
        """
        folder, wanted = self.folder(run), self.size_of(run.table)
        result = run_folder.read_json(folder / "result.json")
        if result is None:
            return False
        if (size := result["image_shape"][0]) != wanted:
            raise UserError(f"{folder} has a run of {size} pixels, not {wanted}; name another folder with --runs")
        return result["training"]["epochs"] >= self.epochs

    def training(self, run: CellRun) -> TrainingConfig:
        """How a run is trained."""
        batch_size = METHODS[VARIANTS[run.method].method].batch_size
        return TrainingConfig(epochs=self.epochs, batch_size=batch_size, seed=run.seed)


def load_splits(settings: RunSettings, number: int) -> "Callable[[str], Split]":
    """From a class of a table to its split, with all images; the set is read once."""
    from sagan_jax.data.split import leave_one_out

    size = settings.size_of(number)
    if number == 3:
        from sagan_jax.data.bolts.scenes import load_bolts

        bolts = load_bolts(size=size, site=settings.site, cache_dir=settings.runs / "bolt-scenes")
        return lambda _: bolts
    dataset = load_dataset(settings.of_table(number).dataset, size, settings.tfds.data_dir)
    return lambda abnormal: leave_one_out(dataset, abnormal)


def prepare_cell(settings: RunSettings, run: CellRun, split: "Split") -> "Prepared":
    """A cell's run, to be trained on its split, which is thinned as wanted."""
    from sagan_jax.runs.prepare import prepare

    split, variant = settings.thinning.thin(split), VARIANTS[run.method]
    return prepare(split, METHODS[variant.method], variant.model(run.preset), settings.training(run), JUDGING)
