"""Anybody's own photographs: folders of normal images, with or without a labelled test set and masks."""

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from sagan_jax.data.split import Split
from sagan_jax.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 80_000_000  # larger images are refused unread; under the 89 million at which Pillow itself warns
BACKGROUND = (0, 0, 0)  # what transparent images are laid upon
NORMAL = {"mvtec": "good", "ganomaly": "0.normal"}
SHOWN = 5  # files named in a message before "and n more"

LAYOUTS = """allowed are
  train/good, test/<kind>, ground_truth/<kind>/<image>_mask.png   (MVTec AD; test and ground_truth may be left out)
  train/0.normal, test/0.normal, test/1.abnormal                  (GANomaly; test may be left out)
  a folder that holds normal images and no folders"""


class BadFile(NamedTuple):
    """A file that was not used, and why."""

    path: Path
    reason: str


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


class Inspection(NamedTuple):
    """A split that also knows what is wrong with each abnormal image, and where.

    Attributes:
        split: The images and labels.
        test_kinds: str [M], "good" for normal images.
        test_masks: bool [M, H, W], True where the image is abnormal; None if nobody marked it.
    """

    split: Split
    test_kinds: np.ndarray
    test_masks: Bool[np.ndarray, "test height width"] | None


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
    raise UserError(f"{_shown(root)}: cannot tell the layout; found {_few(names) or 'nothing'}; {LAYOUTS}")


def read_image(
    path: str | os.PathLike[str], *, channels: Literal[1, 3] = 3, size: int | tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width channels"]:
    """Decodes one PNG, JPEG, BMP, TIFF or WebP file to 8 bits a channel.

    - The EXIF orientation is applied.
    - Transparency is composited on `BACKGROUND`.
    - 16-bit grey is scaled by its full range, so that white is 65,535, or what a TIFF declares as its greatest
      sample value (as 12-bit cameras do): never by the image's own extremes, which would undo its exposure.
      16-bit colour keeps its high byte. Floating point must lie in [0, 1].
    - Grey is ITU-R 601 luma. A change of size is bicubic with antialiasing, and does not keep the aspect ratio.

    Args:
        path: The file.
        channels: 1 (grey) or 3 (RGB), whatever the file has.
        size: (height, width), or one number for both; None keeps the file's own.

    Raises:
        UserError: The file cannot be read as one image of an allowed format; names it and says why.
    """
    from PIL import Image

    image = _decode(Path(path), channels)
    if size is not None:
        height, width = _pair(size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return _array(image)


def read_mask(
    path: str | os.PathLike[str], *, image_shape: tuple[int, int], size: int | tuple[int, int] | None = None
) -> Bool[np.ndarray, "height width"]:
    """Reads a mask: whatever is not black is abnormal. Resized by nearest neighbour.

    Raises:
        UserError: The mask cannot be read, has not the image's height and width, or marks nothing.
    """
    from PIL import Image

    mask = _decode(Path(path), 1)
    if (mask.height, mask.width) != image_shape:
        raise _unusable(
            path, f"the mask is {mask.height} x {mask.width} but its image {image_shape[0]} x {image_shape[1]}"
        )
    if mask.getextrema() == (0, 0):
        raise _unusable(path, "the mask of an abnormal image marks nothing")
    if size is not None:
        height, width = _pair(size)
        mask = mask.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(mask) > 0


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int],
    channels: Literal[1, 3] = 3,
    on_bad: str = "refuse",
) -> tuple[Inspection, list[BadFile]]:
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
    size = _pair(size)
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
        reasons = _few([file.reason for file in bad], separator="\n  ")
        raise UserError(f"{len(bad)} of {len(results)} images cannot be used:\n  {reasons}\nmend or skip them")

    train = [result for result in results[:count] if isinstance(result, _Read)]
    rest = zip(results[count:], listing.test_kinds, strict=True)
    kept = [(result, kind) for result, kind in rest if isinstance(result, _Read)]
    test, kinds = [result for result, _ in kept], [kind for _, kind in kept]
    if not train:
        raise UserError(f"{_shown(listing.root)}: none of the {count} normal images can be read: {bad[0].reason}")
    _refuse_shared(train, test, listing.root)

    blank = np.zeros(size, bool)
    split = Split(
        name=listing.root.resolve().name,
        abnormal=",".join(dict.fromkeys(kind for kind in kinds if kind != "good")) or "none",
        train=np.stack([item.image for item in train]),
        train_ids=_ids(train, listing.root),
        test=np.stack([item.image for item in test]) if test else np.zeros((0, *size, channels), np.uint8),
        test_labels=np.array([kind != "good" for kind in kinds], bool),
        test_ids=_ids(test, listing.root),
    )
    test_masks = None
    if listing.test_masks is not None:
        marks = [blank if item.mask is None else item.mask for item in test]
        test_masks = np.stack(marks) if marks else np.zeros((0, *size), bool)
    return Inspection(split, np.array(kinds, dtype=np.str_), test_masks), bad + list(listing.unread)


class _Read(NamedTuple):
    path: Path
    image: np.ndarray  # [H, W, C]
    mask: np.ndarray | None  # [H, W]
    digest: bytes  # of the decoded image before it is resized


def _read(path: Path, mask: Path | None, masked: bool, *, size: tuple[int, int], channels: Literal[1, 3]) -> _Read:
    from PIL import Image

    image = _decode(path, channels)
    digest = hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=16).digest()
    marks = None
    if masked:
        if mask is None:
            raise _unusable(path, "abnormal, but ground_truth has no mask for it")
        marks = read_mask(mask, image_shape=(image.height, image.width), size=size)
    small = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return _Read(path, _array(small), marks, digest)


def _decode(path: Path, channels: int) -> "Image.Image":
    """The whole file as an upright "L" or "RGB" image."""
    from PIL import Image, ImageOps

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise _unusable(path, "not a regular file")
        if status.st_size == 0:
            raise _unusable(path, "the file is empty")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _unusable(path, f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels")
            # MPO is the JPEG of telephones that store a second view behind the photograph itself.
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise _unusable(path, "several pages or frames; one image per file is allowed")
            image.load()
            white = getattr(image, "tag_v2", {}).get(281)  # what a TIFF declares as its MaxSampleValue
            upright = _to_eight_bits(ImageOps.exif_transpose(image), white, path)
            return upright.convert("L" if channels == 1 else "RGB")
    except UserError:
        raise
    except Image.UnidentifiedImageError:
        raise _unusable(path, f"not an image of an allowed format ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _unusable(path, str(error)) from None
    except Exception as error:  # decoders meet hostile bytes with exceptions of every kind
        raise _unusable(path, f"damaged or cut short ({error or type(error).__name__})") from error


def _to_eight_bits(image: "Image.Image", declared: int | tuple[int, ...] | None, path: Path) -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        white = 1.0 if image.mode == "F" else float(np.max(declared or 65_535))
        if not (values.min() >= 0 and values.max() <= white):  # also catches NaN
            raise _unusable(path, f"values from {values.min():g} to {values.max():g}; allowed are 0 to {white:g}")
        return Image.fromarray(np.rint(values * (255.0 / white)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image).convert("RGB")
    return image.convert("RGB") if image.mode == "P" else image


def _scan_train_and_test(root: Path, layout: str) -> Listing:
    normal = NORMAL[layout]
    strangers = [f"train/{folder.name}/" for folder in _entries(root / "train")[0] if folder.name != normal]
    if strangers:
        raise UserError(
            f"{_shown(root)}: training images are normal ones only, in train/{normal}; found {_few(strangers)}"
        )
    train, unread = _images_in(root / "train" / normal)
    if not train:
        raise UserError(f"{_shown(root)}: train/{normal} holds no normal images ({', '.join(SUFFIXES)})")

    kinds = [folder.name for folder in _entries(root / "test")[0]] if (root / "test").is_dir() else []
    if layout == "ganomaly" and not {"0.normal", "1.abnormal"}.issuperset(kinds):
        raise UserError(f"{_shown(root)}: test/ may hold 0.normal and 1.abnormal; found {_few(kinds)}")
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


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders, then all else, of a folder; sorted, without hidden ones."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{_shown(folder)}: not a folder that can be read ({error.strerror})") from None
    return [entry for entry in entries if entry.is_dir()], [entry for entry in entries if not entry.is_dir()]


def _images_in(folder: Path) -> tuple[list[Path], list[BadFile]]:
    folders, files = _entries(folder)
    images, unread = _images(files)
    return images, unread + [
        BadFile(inner, f"{_shown(inner)}: a folder among images is not searched") for inner in folders
    ]


def _images(files: list[Path]) -> tuple[list[Path], list[BadFile]]:
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    others = [file for file in files if file.suffix.lower() not in SUFFIXES]
    return images, [BadFile(file, f"{_shown(file)}: the suffix is none of {', '.join(SUFFIXES)}") for file in others]


def _refuse_shared(train: list[_Read], test: list[_Read], root: Path) -> None:
    seen = {item.digest: item.path for item in reversed(train)}
    pairs = [(item.path, seen[item.digest]) for item in test if item.digest in seen]
    if pairs:
        shown = _few([f"{left.relative_to(root)} = {right.relative_to(root)}" for left, right in pairs])
        raise UserError(f"{_shown(root)}: {len(pairs)} test images are training images too: {shown}")


def _ids(items: list[_Read], root: Path) -> np.ndarray:
    return np.array([item.path.relative_to(root).as_posix() for item in items], dtype=np.str_)


def _array(image: "Image.Image") -> np.ndarray:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array  # [H, W, C]


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UserError(f"size {height} x {width} is impossible; both must be at least 1")
    return height, width


def _few(names: Sequence[str], separator: str = ", ") -> str:
    """The first names; a name's own line breaks are escaped so that a message stays one."""
    shown = separator.join(_printable(name) for name in names[:SHOWN])
    return shown + (f"{separator}and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _shown(path: str | os.PathLike[str]) -> str:
    return _printable(os.fspath(path))


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def _unusable(path: str | os.PathLike[str], reason: str) -> UserError:
    return UserError(f"{_shown(path)}: {reason}")
