"""What a folder of photographs holds, by name alone."""

from pathlib import Path
from typing import NamedTuple

from sagan_jax.data.image_file import BadFile


class Listing(NamedTuple):
    """What a folder holds, by name alone: nothing is decoded.

    Attributes:
        root: The folder.
        layout: "mvtec" (MVTec LOCO's too), "ganomaly", "btad", "visa" or "bare".
        train: Normal images, sorted.
        test: Normal images first, then each abnormal kind; sorted within.
        test_kinds: "good" or the name of the kind, one for each test image.
        test_masks: The masks of each test image, mostly one (None for normal images and where there is none);
            None if there are no masks at all.
        unread: Files and folders that are not read. Hidden ones (`.name`) are not listed, nor are the layout's own
            folder's files that are not images (a licence, say).
    """

    root: Path
    layout: str
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    test_kinds: tuple[str, ...]
    test_masks: tuple[tuple[Path, ...] | None, ...] | None
    unread: tuple[BadFile, ...]
