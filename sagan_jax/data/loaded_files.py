"""The image files of a folder, each decoded once, in parallel, with its masks."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from sagan_jax.data.image_file import BadFile, Reading, as_array, decode, read_image, strips
from sagan_jax.data.image_format import kind_of
from sagan_jax.data.listing import Listing
from sagan_jax.data.mask import decode_mask, reduce
from sagan_jax.data.open_image import decoding_threads
from sagan_jax.data.patches import Patches, too_small
from sagan_jax.errors import UnusableFile

if TYPE_CHECKING:
    from PIL import Image


class Loading(NamedTuple):
    """How files are read.

    Attributes:
        size: Height and width of the images; None keeps those of the photographs.
        patches: How photographs are cut.
        channels: 1 (grey) or 3 (RGB).
        keep: Whether the images are kept, or read again whenever they are needed.
        reading: How a file becomes an image beside these.
    """

    size: tuple[int, int] | None
    patches: Patches | None
    channels: Literal[1, 3]
    keep: bool
    reading: Reading


class LoadedFile(NamedTuple):
    """A file decoded, and what a split needs to know of it.

    Attributes:
        path: The file.
        kind: "good", or the kind of defect; None for training images.
        size: Height and width on disk.
        brightest: The greatest value of any channel, 0 to 255.
        digest: Of the decoded image before it is resized; equal for files that show the same.
        mask_paths: Of an abnormal image, the files that mark what is abnormal in it.
        image: The image, if it is kept.
        mask: Where it is abnormal, if it is kept.
        marked_share: The part of its pixels that the mask marks, 0 to 1.
        halved: Whether the mask has soft greys, so that only what is half white counts.
        bad_mask: A mask that could not be used.
    """

    path: Path
    kind: str | None
    size: tuple[int, int]
    brightest: int
    digest: bytes
    mask_paths: tuple[Path, ...] | None
    image: UInt8[np.ndarray, "height width channel"] | None
    mask: Bool[np.ndarray, "height width"] | None
    marked_share: float
    halved: bool
    bad_mask: BadFile | None

    @property
    def mask_known(self) -> bool:
        """Whether it is known what is abnormal in the image."""
        return self.kind in (None, "good") or self.mask_paths is not None


def load_files(listing: Listing, loading: Loading) -> tuple[list[LoadedFile], list[BadFile]]:
    """Every image of a listing that can be used, and those that cannot; each in order."""
    masks: Sequence[tuple[Path, ...] | None] = listing.test_masks or (None,) * len(listing.test)
    jobs: list[tuple[Path, str | None, tuple[Path, ...] | None]] = [(file, None, None) for file in listing.train]
    jobs += zip(listing.test, listing.test_kinds, masks, strict=True)

    def read(job: tuple[Path, str | None, tuple[Path, ...] | None]) -> LoadedFile | BadFile:
        try:
            return _read(*job, loading)
        except UnusableFile as error:
            return BadFile(error.path, error.reason)

    with ThreadPoolExecutor(decoding_threads(loading.reading.max_pixels)) as pool:
        results = list(pool.map(read, jobs))
    good = [result for result in results if isinstance(result, LoadedFile)]
    return good, [result for result in results if isinstance(result, BadFile)]


def _read(path: Path, kind: str | None, mask_paths: tuple[Path, ...] | None, loading: Loading) -> LoadedFile:
    image = decode(path, loading.channels, loading.reading)
    size = (image.height, image.width)
    if loading.patches is not None and (reason := too_small(*size, loading.patches.size)):
        raise UnusableFile(path, reason)
    digest = _digest(image)
    brightest = int(np.max(image.getextrema()))
    mask, marked_share, halved, bad_mask = None, 0.0, False, None
    if mask_paths is not None:
        try:
            mask, halved = decode_mask(mask_paths, image_shape=size)
            marked_share = float(mask.mean())
        except UnusableFile as error:
            mask_paths, bad_mask = None, BadFile(error.path, error.reason)
    kept = None
    if loading.keep:
        if mask is not None and loading.size is not None:
            mask = reduce(mask, loading.size)
        if loading.reading.jpeg_margin and loading.size is not None and kind_of(path) == "JPEG":
            kept = read_image(path, channels=loading.channels, size=loading.size, reading=loading.reading)
        else:
            kept = as_array(image, loading.size)
    return LoadedFile(
        path=path,
        kind=kind,
        size=size,
        brightest=brightest,
        digest=digest,
        mask_paths=mask_paths,
        image=kept,
        mask=mask if loading.keep else None,
        marked_share=marked_share,
        halved=halved,
        bad_mask=bad_mask,
    )


def _digest(image: "Image.Image") -> bytes:
    """Of size and pixels."""
    digest = hashlib.blake2b(repr((image.height, image.width)).encode(), digest_size=16)
    for _, strip in strips(image):
        digest.update(strip.tobytes())
    return digest.digest()
