"""A folder of photographs as a split: normal ones, with or without a labelled test set and masks."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from sagan_jax.data.image_file import JPEG_MARGIN, BadFile, Reading, pair
from sagan_jax.data.image_format import is_image, is_read
from sagan_jax.data.layout import scan
from sagan_jax.data.listing import Listing
from sagan_jax.data.loaded_files import LoadedFile, Loading, load_files
from sagan_jax.data.mask import HALF
from sagan_jax.data.open_image import MAX_PIXELS
from sagan_jax.data.patches import Patches
from sagan_jax.data.photographs import Masks, Photographs
from sagan_jax.data.split import Split
from sagan_jax.data.white import FULL_RANGE, find_white
from sagan_jax.errors import UserError, few, printable

_DARK = 32  # of 255; images that reach no further have lost most of what they showed


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    patches: Patches | None = None,
    channels: Literal[1, 3] = 3,
    on_bad: str = "refuse",
    memory: float = math.inf,
    max_pixels: int = MAX_PIXELS,
    white: int | None = None,
    jpeg_margin: int = JPEG_MARGIN,
) -> tuple[Split, list[BadFile]]:
    """Decodes every image of a folder once, in parallel, and keeps them in memory or leaves them on disk.

    Pixel metrics leave out an abnormal image without a mask, or with one that cannot be used and is skipped: to call
    all of it normal would be false. Image-level metrics keep it.

    Args:
        path: A folder in one of the layouts of `scan`.
        size: (height, width) of the images returned, or one number for both. Needed unless there are patches.
        patches: How photographs are cut; they keep their size and stay on disk, and one too small for a patch is bad.
        channels: 1 (grey) or 3 (RGB).
        on_bad: "refuse" raises if any image cannot be used; "skip" leaves it out.
        memory: How many bytes the decoded images may take; more are left on disk, to be decoded whenever needed.
        max_pixels: Images of more are bad, and not decoded.
        white: What is white in 16-bit grey files; None finds it by `find_white` from the normal training images.
        jpeg_margin: As in `Reading`; of no effect on patches.

    Returns:
        The images, and every file that was not used: skipped images and masks, and what is neither.

    Raises:
        UserError: As `scan`; an image or a mask cannot be used and `on_bad` is "refuse"; no normal image is left; or a
            test image shows exactly what a training image shows (compared decoded, at full size).
    """
    if on_bad not in ("refuse", "skip"):
        raise UserError(f"on_bad={on_bad!r} is unknown; allowed are 'refuse' and 'skip'")
    if (size is None) == (patches is None):
        raise UserError("photographs are either resized or cut into patches: give the size of one of them")
    listing = scan(path)
    found_white = find_white(listing.train, max_pixels) if white is None else None
    if white is None and found_white is None and (in_test := find_white(listing.test, max_pixels)):
        raise UserError(
            f"test images have 16 bits (the greatest value is {in_test[1]}) and no normal training image has: what is "
            f"white in them is not known. Say so with --white={in_test[0]}, or make all files of one kind"
        )
    full = found_white[0] if found_white else FULL_RANGE
    reading = Reading(max_pixels, full if white is None else white, 0 if size is None else jpeg_margin)
    files = len(listing.train) + len(listing.test)
    in_memory = size is not None and files * math.prod(pair(size)) * channels <= memory
    side = None if size is None else pair(size)
    loading = Loading(size=side, patches=patches, channels=channels, keep=in_memory, reading=reading)
    found, bad = load_files(listing, loading)
    bad_masks = [item.bad_mask for item in found if item.bad_mask is not None]
    if (bad or bad_masks) and on_bad == "refuse":
        reasons = few([str(file) for file in (*bad, *bad_masks)], separator="\n  ")
        count = f"{len(bad)} of {files} images" + (f" and {len(bad_masks)} masks" if bad_masks else "")
        raise UserError(f"{count} cannot be used:\n  {reasons}\ncorrect or skip them")

    train, test = [item for item in found if item.kind is None], [item for item in found if item.kind is not None]
    if not train:
        reason = f"none of the {len(listing.train)} normal images can be read: {bad[0]}"
        raise UserError(f"{printable(listing.root)}: {reason}")
    _refuse_shared(test, train, listing.root, "training images too")
    normal, abnormal = ([item for item in test if (item.kind == "good") is good] for good in (True, False))
    _refuse_shared(abnormal, normal, listing.root, "both normal and abnormal")
    kinds = [printable(item.kind) for item in test if item.kind is not None]
    split = Split(
        name=printable(listing.root.resolve().name),
        abnormal=",".join(dict.fromkeys(kind for kind in kinds if kind != "good")) or "none",
        train=_images(train, loading),
        train_ids=_ids(train, listing.root),
        test=_images(test, loading),
        test_labels=np.array([kind != "good" for kind in kinds], bool),
        test_ids=_ids(test, listing.root),
        test_kinds=np.array(kinds, dtype=np.str_),
        test_masks=None if listing.test_masks is None else _masks(test, loading),
        test_mask_known=None if listing.test_masks is None else np.array([item.mask_known for item in test], bool),
        patches=patches,
        reading=reading,
        notes=(*_notes_on_copies(train), *_notes_on_light(train, found_white), *_notes(listing, test, loading)),
    )
    return split, [*bad, *bad_masks, *listing.unread]


def _images(items: list[LoadedFile], loading: Loading) -> np.ndarray | Photographs:
    if not loading.keep:
        paths = tuple(item.path for item in items)
        digests = tuple(item.digest for item in items)
        return Photographs(paths, _sizes(items), loading.channels, loading.size, loading.reading, digests)
    assert loading.size is not None
    kept = [item.image for item in items if item.image is not None]
    return np.stack(kept) if kept else np.zeros((0, *loading.size, loading.channels), np.uint8)


def _masks(items: list[LoadedFile], loading: Loading) -> np.ndarray | Masks:
    if not loading.keep:
        return Masks(tuple(item.mask_paths for item in items), _sizes(items), loading.size)
    assert loading.size is not None
    blank = np.zeros(loading.size, bool)
    masks = [blank if item.mask is None else item.mask for item in items]
    return np.stack(masks) if masks else np.zeros((0, *loading.size), bool)


def _sizes(items: list[LoadedFile]) -> np.ndarray:
    return np.array([item.size for item in items], np.int64).reshape(-1, 2)


def _notes_on_copies(train: list[LoadedFile]) -> Iterator[str]:
    """What is to be said of training images that show the same."""
    first: dict[bytes, str] = {}
    copies = [item.path.name for item in train if first.setdefault(item.digest, item.path.name) != item.path.name]
    if copies:
        yield (
            f"{len(copies)} of {len(train)} normal training images show exactly what another does ({few(copies)}); the "
            "threshold is too low as far as held-out images are copies of those trained on: remove the copies"
        )


def _notes_on_light(train: list[LoadedFile], found_white: tuple[int, int] | None) -> Iterator[str]:
    """Notes on the range of values."""
    if found_white is not None:
        white, greatest = found_white
        yield (
            f"white is {white} in 16-bit grey files, as the greatest value of the normal training images is {greatest}"
            "; it is kept with the model, and files with greater values are refused (--white sets another)"
        )
    if (brightest := max(item.brightest for item in train)) < _DARK:
        yield f"the training images are nearly black: the brightest value of any of them is {brightest} of 255"


def _is_unread_image(path: Path) -> bool:
    return not path.is_dir() and is_image(path) and not is_read(path)


def _notes(listing: Listing, test: list[LoadedFile], loading: Loading) -> Iterator[str]:
    """Notes on what was read, and how."""
    if unread := [file.path.name for file in listing.unread if _is_unread_image(file.path)]:
        yield f"images of formats that are not read were not used: {len(unread)} ({few(unread)})"
    if test and all(item.kind != "good" for item in test):
        kinds = few(list(dict.fromkeys(str(item.kind) for item in test)))
        yield f"no test image is normal: all {len(test)} count as abnormal, by the names of their kinds ({kinds})"
    masked = [item for item in test if item.mask_paths is not None]
    if loading.size is not None and masked:
        height, width = loading.size
        yield f"masks are reduced to {height} x {width}: a pixel is abnormal if anything marked falls on it"
    if listing.test_masks is not None and (unknown := [item for item in test if not item.mask_known]):
        kinds = Counter(str(item.kind) for item in unknown)
        counts = ", ".join(f"{printable(kind)} {count}" for kind, count in kinds.items())
        yield (
            f"{len(unknown)} of {len(unknown) + len(masked)} abnormal test images have no mask that can be used and "
            f"count in image-level metrics alone: {counts}"
        )
    if 2 * len(wide := [item.path.name for item in masked if item.marked_share > 0.5]) > len(masked):
        yield (
            f"the masks of {len(wide)} of {len(masked)} images mark more than half of them ({few(wide)}); what is not "
            "black counts as abnormal: turn the masks over if black is what is abnormal in them"
        )
    if halved := [item.path.name for item in masked if item.halved]:
        yield (
            f"the masks of {len(halved)} images have soft greys, as JPEG and smooth resizing leave them; what is at "
            f"least half white ({HALF} of 255) counts as abnormal: {few(halved)}"
        )


def _refuse_shared(left: list[LoadedFile], right: list[LoadedFile], root: Path, what: str) -> None:
    """Raises UserError if images on the left show exactly what images on the right do; it says what they are then."""
    seen = {item.digest: item.path for item in reversed(right)}
    pairs = [(item.path, seen[item.digest]) for item in left if item.digest in seen]
    if pairs:
        shown = few([f"{one.relative_to(root)} = {other.relative_to(root)}" for one, other in pairs])
        raise UserError(f"{printable(root)}: {len(pairs)} test images are {what}: {shown}")


def _ids(items: list[LoadedFile], root: Path) -> np.ndarray:
    return np.array([item.path.relative_to(root).as_posix() for item in items], dtype=np.str_)
