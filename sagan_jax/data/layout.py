"""What a folder of photographs holds, by its names alone: normal images, a labelled test set, masks."""

import os
import unicodedata
from pathlib import Path
from typing import NamedTuple

from sagan_jax.data.image_file import BadFile
from sagan_jax.data.image_format import IMAGE_SUFFIXES, formats, is_image, is_passed_over, is_read
from sagan_jax.data.listing import Listing
from sagan_jax.data.normal_words import means_normal
from sagan_jax.data.visa import scan_visa
from sagan_jax.errors import UserError, few, printable

NORMAL = {"mvtec": "good", "ganomaly": "0.normal", "btad": "ok"}

_LAYOUTS = """allowed are
  train/good, test/<kind>, ground_truth/<kind>/<image>_mask.png   (MVTec AD; test and ground_truth may be left out)
  the same with several masks, ground_truth/<kind>/<image>/*.png  (MVTec LOCO)
  the same with ok in place of good                               (BTAD)
  train/0.normal, test/0.normal, test/1.abnormal                  (GANomaly; test may be left out)
  Data/Images/Normal, Data/Images/Anomaly, Data/Masks/Anomaly     (VisA, split_csv/1cls.csv beside the folder)
  a folder that holds normal images and no folders
capitals do not matter to these names"""


def scan(path: str | os.PathLike[str]) -> Listing:
    """Lists the images of a folder without decoding any; the layout is told from the names of its folders.

    The layout's own words may be in capitals. Links are followed to files, never into folders below the layout's own,
    so a loop of links does no harm.

    Raises:
        UserError: The folder is missing, of no known layout, or holds no normal image.
    """
    root = Path(path)
    folders, files = _entries(root)
    train = _folder_named(folders, "train")
    below = [] if train is None else _entries(train)[0]
    found = [layout for layout, normal in NORMAL.items() if _folder_named(below, normal) is not None]
    if len(found) == 1 and train is not None:
        return _scan_train_and_test(root, found[0], train)
    data = _folder_named(folders, "data")
    photographs = None if data is None else _folder_named(_entries(data)[0], "images")
    if train is None and photographs is not None:
        return scan_visa(root, photographs)
    images, unread = _images(files)
    if not found and images and not folders:
        return Listing(root, "bare", tuple(images), (), (), None, tuple(unread))
    names = [f"{folder.name}/" for folder in folders] + [file.name for file in files]
    found_here = f"found {few(names) or 'nothing'}{_told_of(unread)}"
    raise UserError(f"{printable(root)}: cannot tell the layout; {found_here}; {_LAYOUTS}")


def _folder_named(folders: list[Path], word: str) -> Path | None:
    """The folder among these that has a word of the layout for its name, in capitals or not.

    Raises:
        UserError: If several have.
    """
    found = [folder for folder in folders if folder.name.lower() == word]
    if len(found) > 1:
        raise UserError(f"{few([str(folder) for folder in found])} differ in capitals alone; leave one of them")
    return found[0] if found else None


def _scan_train_and_test(root: Path, layout: str, train_folder: Path) -> Listing:
    word = NORMAL[layout]
    below, loose = _entries(train_folder)
    good = _folder_named(below, word)
    assert good is not None
    strangers = [f"{train_folder.name}/{folder.name}/" for folder in below if folder != good]
    if strangers:
        raise UserError(
            f"{printable(root)}: training images are normal ones only, in train/{word}; found {few(strangers)}"
        )
    train, unread = _images_in(good)
    if not train:
        reason = f"train/{word} holds no normal images ({', '.join(IMAGE_SUFFIXES)})"
        raise UserError(f"{printable(root)}: {reason}{_told_of(unread)}")

    folders, files = _entries(root)
    test_folder, truth = _folder_named(folders, "test"), _folder_named(folders, "ground_truth")
    unread += [_unused(folder) for folder in folders if folder not in (train_folder, test_folder, truth)]
    unread += [_unused(file) for file in (*[file for file in files if is_image(file)], *loose)]
    kinds, loose = ([], []) if test_folder is None else _entries(test_folder)
    unread += [_unused(file) for file in loose]
    normal = _folder_named(kinds, word)
    _check_kinds(root, layout, kinds)
    test: list[Path] = []
    test_kinds: list[str] = []
    masks: list[tuple[Path, ...] | None] = []
    used: set[Path] = set()
    for folder in sorted(kinds, key=lambda folder: (folder != normal, folder.name)):
        images, others = _images_in(folder)
        marks = _Marks({}, {}) if truth is None or folder == normal else _marks_in(truth, folder.name)
        test += images
        test_kinds += ["good" if folder == normal else folder.name] * len(images)
        masks += (found := [marks.of(image) for image in images])
        _refuse_shared_mask(images, found)
        used |= {mask for several in found for mask in several or ()}
        unread += others if images else [*others, BadFile(folder, "holds no images")]
    if truth is not None:
        unread += _unused_masks(truth, used)
    return Listing(
        root,
        layout,
        train=tuple(train),
        test=tuple(test),
        test_kinds=tuple(test_kinds),
        test_masks=tuple(masks) if truth is not None else None,
        unread=tuple(unread),
    )


def _check_kinds(root: Path, layout: str, kinds: list[Path]) -> None:
    """Raises UserError for kinds that the layout has no place for, or whose names call their images normal."""
    names = [kind.name for kind in kinds]
    if layout == "ganomaly" and not {"0.normal", "1.abnormal"}.issuperset(name.lower() for name in names):
        raise UserError(f"{printable(root)}: test/ may hold 0.normal and 1.abnormal; found {few(names)}")
    word = NORMAL[layout]
    for name in names:
        if name.lower() != word and means_normal(name):
            raise UserError(
                f"{printable(root)}: normal images are in train/{word}, so test/{printable(name)} would be a kind of "
                f"anomaly; call it test/{word} if its images are normal, and something else if they are not"
            )


class _Marks(NamedTuple):
    """The masks of one kind: files by their stem, folders of several by their name."""

    files: dict[str, Path]
    folders: dict[str, tuple[Path, ...]]

    def of(self, image: Path) -> tuple[Path, ...] | None:
        for stem in (f"{_composed(image.stem)}_mask", _composed(image.stem)):
            if stem in self.files:
                return (self.files[stem],)
        return self.folders.get(_composed(image.stem)) or None


def _marks_in(truth: Path, kind: str) -> _Marks:
    folders = _entries(truth)[0]
    exact = [folder for folder in folders if folder.name == kind]
    folder = exact[0] if exact else _folder_named(folders, kind.lower())
    if folder is None:
        return _Marks({}, {})
    inner, files = _entries(folder)
    several = {
        _composed(below.name): tuple(_images(_entries(below)[1])[0]) for below in inner if not below.is_symlink()
    }
    return _Marks({_composed(mask.stem): mask for mask in _images(files)[0]}, several)


def _composed(name: str) -> str:
    """A name with its accents as parts of their letters: macOS takes them apart in the names of files."""
    return unicodedata.normalize("NFC", name)


def _refuse_shared_mask(images: list[Path], masks: list[tuple[Path, ...] | None]) -> None:
    """Raises UserError if two images have one mask, as those do that differ in their suffix alone."""
    owner: dict[tuple[Path, ...], Path] = {}
    for image, found in zip(images, masks, strict=True):
        if found is not None and (other := owner.setdefault(found, image)) != image:
            both = f"{printable(other)} and {printable(image.name)}"
            raise UserError(f"{both} have one mask, {printable(found[0])}; give them names of their own")


def _unused_masks(truth: Path, used: set[Path]) -> list[BadFile]:
    """What is in the folder of masks and belongs to no test image; of a folder that is not used at all, the folder."""
    folders, files = _entries(truth)
    unused, touched = [*files], {folder for mask in used for folder in (mask.parent, mask.parent.parent)}
    for folder in folders:
        if folder not in touched:
            unused.append(folder)
            continue
        inner, masks = _entries(folder)
        unused += [path for path in (*masks, *inner) if path not in used and path not in touched]
    return [BadFile(path, "no abnormal test image has this for its mask") for path in unused]


def _unused(path: Path) -> BadFile:
    why = "the layout has no place for it"
    if path.name.lower() in ("validation", "valid", "val"):
        why = "held-out images are drawn from the training images, not from here"
    return BadFile(path, why)


def _told_of(unread: list[BadFile]) -> str:
    """What a message says of images that are not read, if no others are left."""
    lookalikes = [file.path.name for file in unread if is_image(file.path)]
    if not lookalikes:
        return ""
    allowed = ", ".join(formats())
    return f"; images of formats that are not read: {len(lookalikes)} ({few(lookalikes)}); allowed are {allowed}"


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders, then all else, of a folder; sorted, without what `is_passed_over`."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not is_passed_over(entry.name))
    except OSError as error:
        raise UserError(f"{printable(folder)}: not a folder that can be read ({error.strerror})") from None
    return [entry for entry in entries if entry.is_dir()], [entry for entry in entries if not entry.is_dir()]


def _images_in(folder: Path) -> tuple[list[Path], list[BadFile]]:
    folders, files = _entries(folder)
    images, unread = _images(files)
    return images, unread + [BadFile(inner, "a folder among images is not searched") for inner in folders]


def _images(files: list[Path]) -> tuple[list[Path], list[BadFile]]:
    images, others = [], []
    for file in files:
        if is_read(file):
            images.append(file)
        elif is_image(file):
            reason = f"an image of a format that is not read; allowed are {', '.join(formats())}"
            others.append(BadFile(file, reason))
        else:
            others.append(BadFile(file, f"no image; the suffix is none of {', '.join(IMAGE_SUFFIXES)}"))
    return images, others
