"""Anybody's own photographs, read into memory: normal ones, with or without a labelled test set and masks."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sagan_jax.data.image_file import BadFile, array, decode, few, pair, read_mask, unusable
from sagan_jax.data.layout import scan
from sagan_jax.data.split import Split
from sagan_jax.errors import UserError, printable


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int],
    channels: Literal[1, 3] = 3,
    on_bad: str = "refuse",
) -> tuple[Split, list[BadFile]]:
    """Reads a whole folder into memory, decoding in parallel.

    An abnormal image whose mask is missing or unusable, where masks are given at all, counts as bad itself:
    to call all of it normal would falsify the pixel metrics.

    Args:
        path: A folder in one of the layouts of `scan`.
        size: (height, width) of the images returned, or one number for both.
        channels: 1 (grey) or 3 (RGB).
        on_bad: "refuse" raises if any image cannot be used; "skip" leaves it out.

    Returns:
        The images, and every file that was not used: skipped images, and what is not an image.

    Raises:
        UserError: As `scan`; an image cannot be used and `on_bad` is "refuse"; no normal image is left; or a
            test image shows exactly what a training image shows (compared decoded, at full size).
    """
    if on_bad not in ("refuse", "skip"):
        raise UserError(f"on_bad={on_bad!r} is unknown; allowed are 'refuse' and 'skip'")
    size = pair(size)
    listing = scan(path)
    count = len(listing.train)
    masks: Sequence[Path | None] = listing.test_masks or (None,) * len(listing.test)
    masked = [listing.test_masks is not None and kind != "good" for kind in listing.test_kinds]

    def read(job: tuple[Path, Path | None, bool]) -> "_Read | BadFile":
        try:
            return _read(*job, size=size, channels=channels)
        except UserError as error:
            return BadFile(job[0], str(error))

    with ThreadPoolExecutor() as pool:
        jobs: list[tuple[Path, Path | None, bool]] = [(file, None, False) for file in listing.train]
        jobs += zip(listing.test, masks, masked, strict=True)
        results = list(pool.map(read, jobs))
    bad = [result for result in results if isinstance(result, BadFile)]
    if bad and on_bad == "refuse":
        reasons = few([file.reason for file in bad], separator="\n  ")
        raise UserError(f"{len(bad)} of {len(results)} images cannot be used:\n  {reasons}\nmend or skip them")

    train = [result for result in results[:count] if isinstance(result, _Read)]
    rest = zip(results[count:], listing.test_kinds, strict=True)
    kept = [(result, kind) for result, kind in rest if isinstance(result, _Read)]
    test, kinds = [result for result, _ in kept], [kind for _, kind in kept]
    if not train:
        raise UserError(f"{printable(listing.root)}: none of the {count} normal images can be read: {bad[0].reason}")
    _refuse_shared(train, test, listing.root)

    test_masks = None
    if listing.test_masks is not None:
        blank = np.zeros(size, bool)
        marks = [blank if item.mask is None else item.mask for item in test]
        test_masks = np.stack(marks) if marks else np.zeros((0, *size), bool)
    split = Split(
        name=listing.root.resolve().name,
        abnormal=",".join(dict.fromkeys(kind for kind in kinds if kind != "good")) or "none",
        train=np.stack([item.image for item in train]),
        train_ids=_ids(train, listing.root),
        test=np.stack([item.image for item in test]) if test else np.zeros((0, *size, channels), np.uint8),
        test_labels=np.array([kind != "good" for kind in kinds], bool),
        test_ids=_ids(test, listing.root),
        test_kinds=np.array(kinds, dtype=np.str_),
        test_masks=test_masks,
    )
    return split, bad + list(listing.unread)


class _Read(NamedTuple):
    path: Path
    image: np.ndarray  # [H, W, C]
    mask: np.ndarray | None  # [H, W]
    digest: bytes  # of the decoded image before it is resized


def _read(path: Path, mask: Path | None, masked: bool, *, size: tuple[int, int], channels: Literal[1, 3]) -> _Read:
    from PIL import Image

    image = decode(path, channels)
    digest = hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=16).digest()
    marks = None
    if masked:
        if mask is None:
            raise unusable(path, "abnormal, but ground_truth has no mask for it")
        marks = read_mask(mask, image_shape=(image.height, image.width), size=size)
    small = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return _Read(path, array(small), marks, digest)


def _refuse_shared(train: list[_Read], test: list[_Read], root: Path) -> None:
    seen = {item.digest: item.path for item in reversed(train)}
    pairs = [(item.path, seen[item.digest]) for item in test if item.digest in seen]
    if pairs:
        shown = few([f"{left.relative_to(root)} = {right.relative_to(root)}" for left, right in pairs])
        raise UserError(f"{printable(root)}: {len(pairs)} test images are training images too: {shown}")


def _ids(items: list[_Read], root: Path) -> np.ndarray:
    return np.array([item.path.relative_to(root).as_posix() for item in items], dtype=np.str_)
