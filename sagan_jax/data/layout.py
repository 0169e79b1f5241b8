"""What a folder of photographs holds, told from names alone: normal images, a labelled test set, masks."""

import os
from pathlib import Path
from typing import NamedTuple

from sagan_jax.data.image_file import BadFile, few
from sagan_jax.data.image_format import SUFFIXES, formats, is_image, is_read
from sagan_jax.errors import UserError, printable

NORMAL = {"mvtec": "good", "ganomaly": "0.normal"}

LAYOUTS = """allowed are
  train/good, test/<kind>, ground_truth/<kind>/<image>_mask.png   (MVTec AD; test and ground_truth may be left out)
  train/0.normal, test/0.normal, test/1.abnormal                  (GANomaly; test may be left out)
  a folder that holds normal images and no folders"""


class Listing(NamedTuple):
    """What a folder holds, by name alone: nothing is decoded.

    Attributes:
        layout: "mvtec", "ganomaly" or "bare".
        train: Normal images, sorted.
        test: Normal images first, then each abnormal kind; sorted within.
        test_kinds: "good" or the name of the kind, one for each test image.
        test_masks: The mask of each test image (None for normal images and where it is missing);
            None if there is no `ground_truth` folder.
        unread: Files and folders beside the images that are not read. Hidden ones (`.name`) are not listed.
    """

    root: Path
    layout: str
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    test_kinds: tuple[str, ...]
    test_masks: tuple[Path | None, ...] | None
    unread: tuple[BadFile, ...]


def scan(path: str | os.PathLike[str]) -> Listing:
    """Lists the images of a folder without decoding any; the layout is told from the names of its folders.

    Links are followed to files, never into folders below the layout's own, so a loop of links does no harm.

    Raises:
        UserError: The folder is missing, of no known layout, or holds no normal image.
    """
    root = Path(path)
    folders, files = _entries(root)
    found = [layout for layout, normal in NORMAL.items() if (root / "train" / normal).is_dir()]
    if len(found) == 1:
        return _scan_train_and_test(root, found[0])
    images, unread = _images(files)
    if not found and images and not folders:
        return Listing(root, "bare", tuple(images), (), (), None, tuple(unread))
    names = [f"{folder.name}/" for folder in folders] + [file.name for file in files]
    found_here = f"found {few(names) or 'nothing'}{_told_of(unread)}"
    raise UserError(f"{printable(root)}: cannot tell the layout; {found_here}; {LAYOUTS}")


def _scan_train_and_test(root: Path, layout: str) -> Listing:
    normal = NORMAL[layout]
    strangers = [f"train/{folder.name}/" for folder in _entries(root / "train")[0] if folder.name != normal]
    if strangers:
        raise UserError(
            f"{printable(root)}: training images are normal ones only, in train/{normal}; found {few(strangers)}"
        )
    train, unread = _images_in(root / "train" / normal)
    if not train:
        reason = f"train/{normal} holds no normal images ({', '.join(SUFFIXES)})"
        raise UserError(f"{printable(root)}: {reason}{_told_of(unread)}")

    kinds = [folder.name for folder in _entries(root / "test")[0]] if (root / "test").is_dir() else []
    if layout == "ganomaly" and not {"0.normal", "1.abnormal"}.issuperset(kinds):
        raise UserError(f"{printable(root)}: test/ may hold 0.normal and 1.abnormal; found {few(kinds)}")
    truth = root / "ground_truth"
    test: list[Path] = []
    test_kinds: list[str] = []
    masks: list[Path | None] = []
    for kind in sorted(kinds, key=lambda kind: (kind != normal, kind)):
        images, others = _images_in(root / "test" / kind)
        marks = {mask.stem: mask for mask in _images_in(truth / kind)[0]} if (truth / kind).is_dir() else {}
        test += images
        test_kinds += ["good" if kind == normal else kind] * len(images)
        masks += [None if kind == normal else marks.get(f"{image.stem}_mask") for image in images]
        unread += others
    return Listing(
        root,
        layout,
        train=tuple(train),
        test=tuple(test),
        test_kinds=tuple(test_kinds),
        test_masks=tuple(masks) if truth.is_dir() else None,
        unread=tuple(unread),
    )


def _told_of(unread: list[BadFile]) -> str:
    """What to say of images that are not read, where none is left that is."""
    lookalikes = [file.path.name for file in unread if is_image(file.path)]
    if not lookalikes:
        return ""
    allowed = ", ".join(formats())
    return f"; images of formats that are not read: {len(lookalikes)} ({few(lookalikes)}); allowed are {allowed}"


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders, then all else, of a folder; sorted, without hidden ones."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{printable(folder)}: not a folder that can be read ({error.strerror})") from None
    return [entry for entry in entries if entry.is_dir()], [entry for entry in entries if not entry.is_dir()]


def _images_in(folder: Path) -> tuple[list[Path], list[BadFile]]:
    folders, files = _entries(folder)
    images, unread = _images(files)
    return images, unread + [
        BadFile(inner, f"{printable(inner)}: a folder among images is not searched") for inner in folders
    ]


def _images(files: list[Path]) -> tuple[list[Path], list[BadFile]]:
    images, others = [], []
    for file in files:
        if is_read(file):
            images.append(file)
        elif is_image(file):
            reason = f"an image of a format that is not read; allowed are {', '.join(formats())}"
            others.append(BadFile(file, f"{printable(file)}: {reason}"))
        else:
            others.append(BadFile(file, f"{printable(file)}: no image; the suffix is none of {', '.join(SUFFIXES)}"))
    return images, others
