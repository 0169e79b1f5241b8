"""Writes a part of a TFDS set as a folder of image files in MVTec AD's layout, one class abnormal.

    python -m experiments.to_folder --dataset=fashion_mnist --abnormal=Bag --out=bags

The files are PNG, JPEG, BMP, TIFF and WebP in turn, to try `sagan train` and `sagan score` on. Half a minute on 2
cores. Expect 1,000 files in train/good and 200 in test/, as it prints.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.datasets import ClassLeftOut, ThinningConfig
from sagan_jax.flags import run_experiment

WRITTEN_SUFFIXES = (".png", ".jpg", ".bmp", ".tiff", ".webp")


@dataclass(frozen=True, kw_only=True)
class ToFolder(ClassLeftOut):
    """Write a part of a TFDS set as a folder of image files in MVTec AD's layout, one class abnormal."""

    abnormal: str
    """The class to be found: test/<class>, in no training image."""
    out: Path
    """The folder to be made."""
    thinning: ThinningConfig = field(default_factory=lambda: ThinningConfig(train_images=1000, test_images=200))

    def __call__(self) -> None:
        """Writes the files and says how many."""
        from PIL import Image

        from sagan_jax.errors import UserError

        if self.out.exists():
            raise UserError(f"{self.out} is there already; name another folder with --out")
        split = self.split(self.load(), self.abnormal)
        kind = re.sub(r"[^\w.-]+", "_", self.abnormal)  # "T-shirt/top" is one folder
        places = ["train/good"] * len(split.train)
        places += [f"test/{kind if abnormal else 'good'}" for abnormal in split.test_labels]
        for i, (place, image) in enumerate(zip(places, [*split.train, *split.test], strict=True)):
            path = self.out / place / f"{i:05d}{WRITTEN_SUFFIXES[i % len(WRITTEN_SUFFIXES)]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze()).save(path, quality=95)
        print(f"{len(places):,} images in {self.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiment as a command; returns the exit code, see `sagan_jax.exit_codes.guarded`."""
    return run_experiment(ToFolder, "to_folder", argv)


if __name__ == "__main__":
    raise SystemExit(main())
