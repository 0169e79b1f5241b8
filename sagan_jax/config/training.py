"""How a detector is trained, and what is fitted beside it."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

from sagan_jax.config.field_types import check_field_types
from sagan_jax.errors import require

Scoring = Literal["method", "density"]


@dataclass(frozen=True, kw_only=True)
class DensityConfig:
    """The density of normal images that `--scoring=density` scores by."""

    patch: int = 6
    """Side of the patches that filters are fitted to, in pixels."""
    patches: int = 45_000
    """How many patches they are fitted to."""
    filters: int = 384
    """How many filters."""
    kept: int = 50_000
    """How many normal images it keeps at most: all, if there are fewer, and no more than a gigabyte of bytes."""
    viewed: int = 6000
    """How many of them the space and the regression on complexity are fitted on."""
    components: int = 384
    """Principal components of the features that directions are sought in."""
    directions: int = 48
    """Dimensions of the space that distances are measured in."""
    neighbours: int = 3
    """How many of the nearest normal images an image's distance is averaged over."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no density can have."""
        check_field_types(self)
        for name in ("patch", "filters", "viewed", "directions", "neighbours"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.patches >= self.filters, "patches", self.patches, "at least the number of filters")
        require(self.kept > self.neighbours, "kept", self.kept, "more than the number of neighbours")
        require(self.components >= self.directions, "components", self.components, "at least the number of directions")
        require(self.components <= 8 * self.filters, "components", self.components, "at most 8 times the filters")

    def kept_of(self, image_shape: tuple[int, ...]) -> int:
        """How many images of this shape it keeps, where there are enough: they must all be in memory at once."""
        return min(self.kept, 2**30 // prod(image_shape))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and on what it is trained. Flags show the preset's defaults; the class has those of SAGAN's code."""

    epochs: int = 15
    """Passes over the training images; after each, the model is judged on held-out images and kept."""
    steps: int | None = None
    """Take this many steps in all, spread evenly over the epochs, in place of a pass over the images an epoch."""
    batch_size: int = 32
    """Images a step; by default that of the preset, or of the method's authors' code."""
    flip: bool = False
    """Mirror each training image left to right with probability a half."""
    validation_fraction: float = 0.05
    """Part of the normal training images held out: for the validation loss and for calibration."""
    seed: int = 0
    """Seed of everything random: parameters, the held-out images, the order of the images, flips."""
    scoring: Scoring = "method"
    """The method's own score, or the distance from normal images, corrected for how complicated the image is."""

    def __post_init__(self) -> None:
        """Raises UserError for a value no run can have."""
        check_field_types(self)
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        steps = self.steps
        require(steps is None or steps >= self.epochs, "steps", steps, "at least one an epoch")
        require(0 < self.validation_fraction < 1, "validation_fraction", self.validation_fraction, "between 0 and 1")
        require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 4294967295")

    def as_json(self) -> dict[str, Any]:
        """As JSON values. What is as it was before it could be chosen is left out, as it is in older runs."""
        older = {"scoring": "method", "steps": None}
        return {name: value for name, value in asdict(self).items() if (name, value) not in older.items()}
