"""The page of synthetic damage: what a generator that learns to repair is shown, from normal images of a folder.

    python -m experiments.damage --data=DIR --size=64 --out=damage.png

Four pictures an image: as it is, from another view and in another light, damaged, and the mask. A few seconds on
2 cores. Expect 12 images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sagan_jax.config import RestorationConfig
from sagan_jax.errors import require
from sagan_jax.flags import run_experiment

_COLUMNS = ("normal", "other view, light", "damaged", "mask")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Draw what a generator that learns to repair is shown."""

    out: Path
    """The PNG file to write."""
    data: Path | None = None
    """A folder of photographs, as `sagan train` takes it; by default scikit-learn's digits."""
    size: int = 64
    """Side in pixels the images are resized to."""
    images: int = 12
    """How many images are drawn, each with damage of its own."""
    seed: int = 0
    """Seed of the damage."""
    repair: RestorationConfig = field(default_factory=RestorationConfig)

    def __post_init__(self) -> None:
        """Raises UserError for a value no picture can have."""
        require(self.images >= 2, "images", self.images, "at least 2")
        require(self.out.suffix.lower() == ".png", "out", str(self.out), "a .png file")

    def __call__(self) -> None:
        """Writes the picture and says where it is."""
        import jax
        import numpy as np
        from matplotlib.figure import Figure

        from sagan_jax.data.digits import load_digits
        from sagan_jax.data.folder import load_folder
        from sagan_jax.detector import normalise
        from sagan_jax.methods.restoration import damaged_example

        folder = self.data and load_folder(self.data, size=self.size)[0]
        images = folder.train if folder else load_digits(self.size).images
        chosen = np.linspace(0, len(images) - 1, self.images).astype(int)
        normal = normalise(np.asarray(images[chosen]))
        shown = damaged_example(self.repair, normal, jax.random.key(self.seed))

        pairs = -(-self.images // 2)  # two images stand side by side
        figure = Figure(figsize=(2 * len(_COLUMNS) * 1.1, pairs * 1.1 + 0.3), dpi=120, layout="constrained")
        in_colour = (normal, shown.images, shown.given)
        for i in range(self.images):
            pictures = (*((np.clip(np.asarray(x[i]), -1, 1) + 1) / 2 for x in in_colour), shown.truth[i])
            for column, (title, picture) in enumerate(zip(_COLUMNS, pictures, strict=True)):
                place = (i // 2) * 2 * len(_COLUMNS) + (i % 2) * len(_COLUMNS) + column + 1
                axes = figure.add_subplot(pairs, 2 * len(_COLUMNS), place)
                picture = np.asarray(picture)
                axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axes.set_axis_off()
                if i < 2:
                    axes.set_title(title, fontsize=7)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out)
        print(f"written to {self.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(Damage, "damage", argv)


if __name__ == "__main__":
    raise SystemExit(main())
