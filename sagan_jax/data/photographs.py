"""Photographs that stay on disk: a sequence that reads like an array and decodes what is asked for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

from sagan_jax.data.image_file import USUAL, Reading, read_image
from sagan_jax.data.mask import read_mask
from sagan_jax.data.open_image import MAX_PIXELS
from sagan_jax.data.patches import Patches, windows

_AHEAD = 4  # photographs decoded ahead of the loop over them, in as many threads


def ahead_of(reading: Reading) -> int:
    """How many photographs are decoded ahead: one of those that may be larger than most are."""
    return _AHEAD if reading.max_pixels <= MAX_PIXELS else 1


@dataclass(frozen=True, eq=False)
class Photographs:
    """Image files as a sequence of images. Those of one `size` can be indexed several at a time, like an array.

    Attributes:
        paths: The files.
        sizes: Height and width of each on disk, upright.
        channels: 1 (grey) or 3 (RGB), whatever the files have.
        size: (height, width) they are resized to; None keeps their own.
        reading: How the files are read.
        digests: Of what each shows; empty where nobody asked.
    """

    paths: tuple[Path, ...]
    sizes: Int[np.ndarray, "photograph 2"]
    channels: Literal[1, 3] = 3
    size: tuple[int, int] | None = None
    reading: Reading = USUAL
    digests: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "*count height width channel"]:
        """Decodes the image at an index, or those of a slice or array of indices, in parallel.

        Raises:
            UserError: As `read_image`: a file that could be read once may be gone or damaged by now.
        """
        if isinstance(index, (int, np.integer)):
            return read_image(self.paths[index], channels=self.channels, size=self.size, reading=self.reading)
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(self.__getitem__, np.arange(len(self))[index])))

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width channel"]]:
        """Goes through the images in order, a few decoded ahead."""
        import grain

        ahead = ahead_of(self.reading)
        return iter(grain.MapDataset.source(self).to_iter_dataset(grain.ReadOptions(ahead, ahead)))

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, H, W, C] of images of one size."""
        assert self.size is not None
        return (len(self), *self.size, self.channels)

    def take(self, indices: Int[np.ndarray, " count"]) -> "Photographs":
        """Some of the photographs; none is decoded."""
        digests = tuple(self.digests[index] for index in indices) if self.digests else ()
        paths = tuple(self.paths[index] for index in indices)
        return replace(self, paths=paths, sizes=self.sizes[indices], digests=digests)

    def count_patches(self, patches: Patches) -> int:
        """How many patches are cut from all of them."""
        return sum(len(windows(int(height), int(width), *patches)) for height, width in self.sizes)


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of photographs on disk; all False where there is no file, for normal ones.

    Attributes:
        paths: The mask files of each, mostly one.
        sizes: Height and width of each photograph on disk.
        size: (height, width) they are resized to; None keeps their photographs' own.
    """

    paths: tuple[tuple[Path, ...] | None, ...]
    sizes: Int[np.ndarray, "photograph 2"]
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def any(self) -> bool:
        """Whether anything is marked: a file that marks nothing is refused when it is read."""
        return any(path is not None for path in self.paths)

    def __getitem__(self, index: Any) -> Bool[np.ndarray, "*count height width"]:
        """Reads the mask at an index, or those of a slice or array of indices if they are of one size."""
        if not isinstance(index, (int, np.integer)):
            return np.stack([self[chosen] for chosen in np.arange(len(self))[index]])
        height, width = (int(side) for side in self.sizes[index])
        paths = self.paths[index]
        if paths is None:
            return np.zeros(self.size or (height, width), bool)
        return read_mask(paths, image_shape=(height, width), size=self.size)

    def take(self, indices: Int[np.ndarray, " count"]) -> "Masks":
        """Some of the masks; none is read."""
        return replace(self, paths=tuple(self.paths[index] for index in indices), sizes=self.sizes[indices])
