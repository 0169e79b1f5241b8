"""One image file: decoded upright, to 8 bits a channel, grey or RGB; or refused by name, with the reason."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from sagan_jax.data.image_format import UNREAD, formats, is_raw, why_not_read
from sagan_jax.errors import UserError, one_line, printable

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 80_000_000  # larger images are refused unread; under the 89 million at which Pillow itself warns
BACKGROUND = (0, 0, 0)  # what transparent images are laid upon
SHOWN = 5  # files named in a message before "and n more"


class BadFile(NamedTuple):
    """A file that was not used, and why."""

    path: Path
    reason: str


def read_image(
    path: str | os.PathLike[str], *, channels: Literal[1, 3] = 3, size: int | tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width channels"]:
    """Decodes one PNG, JPEG, BMP, TIFF, WebP, AVIF or HEIC file (see `formats`) to 8 bits a channel.

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
    return as_array(decode(Path(path), channels), None if size is None else pair(size))


def decode(path: Path, channels: int) -> "Image.Image":
    """The whole file as an upright "L" or "RGB" image of Pillow's; raises UserError as `read_image`."""
    from PIL import ImageOps

    with open_image(path) as image:
        image.load()
        white = getattr(image, "tag_v2", {}).get(281)  # what a TIFF declares as its MaxSampleValue
        upright = _to_eight_bits(ImageOps.exif_transpose(image), white, path)
        return upright.convert("L" if channels == 1 else "RGB")


@contextmanager
def open_image(path: Path) -> Iterator["Image.Image"]:
    """A file opened by Pillow, its header checked; whatever goes wrong with it inside is a UserError that names it."""
    from PIL import Image

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise unusable(path, "not a regular file")
        if status.st_size == 0:
            raise unusable(path, "the file is empty")
        if path.suffix.lower() in UNREAD or is_raw(path):
            raise unusable(path, f"{path.suffix} files are not read; allowed are {', '.join(formats())}")
        with Image.open(path, formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise unusable(path, f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels")
            # MPO is the JPEG of telephones that store a second view behind the photograph itself.
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise unusable(path, "several pages or frames; one image per file is allowed")
            yield image
    except UserError:
        raise
    except Image.UnidentifiedImageError:
        raise unusable(path, why_not_read(path)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise unusable(path, str(error)) from None
    except Exception as error:  # decoders meet hostile bytes with exceptions of every kind
        if isinstance(error, OSError) and error.errno:  # the system's, not the decoder's
            raise unusable(path, f"cannot be read ({error.strerror})") from error
        raise unusable(path, f"damaged or cut short ({one_line(str(error)) or type(error).__name__})") from error


def _to_eight_bits(image: "Image.Image", declared: int | tuple[int, ...] | None, path: Path) -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        white = 1.0 if image.mode == "F" else float(np.max(declared or 65_535))
        if not (values.min() >= 0 and values.max() <= white):  # also catches NaN
            raise unusable(path, f"values from {values.min():g} to {values.max():g}; allowed are 0 to {white:g}")
        return Image.fromarray(np.rint(values * (255.0 / white)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image).convert("RGB")
    return image.convert("RGB") if image.mode == "P" else image


def as_array(image: "Image.Image", size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "height width channels"]:
    """Pillow's image, resized as `read_image` does if a size is given, with an axis of channels even if it is grey."""
    from PIL import Image

    if size is not None:
        height, width = size
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(image)
    return values[..., None] if values.ndim == 2 else values  # [H, W, C]


def resize(
    image: Shaped[np.ndarray, "height width *channel"], size: tuple[int, int]
) -> Shaped[np.ndarray, "new_height new_width *channel"]:
    """Bilinear with antialiasing, of a uint8 or float32 image or map; keeps the dtype."""
    from PIL import Image

    height, width = size

    def plane(values: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))

    if image.ndim == 2:
        return plane(image)
    return np.stack([plane(np.ascontiguousarray(image[..., i])) for i in range(image.shape[2])], axis=-1)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from either form; raises UserError unless both are at least 1."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UserError(f"size {height} x {width} is impossible; both must be at least 1")
    return height, width


def few(names: Sequence[str], separator: str = ", ") -> str:
    """The first `SHOWN` names and how many more there are; line breaks within a name are escaped."""
    shown = separator.join(printable(name) for name in names[:SHOWN])
    return shown + (f"{separator}and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def unusable(path: str | os.PathLike[str], reason: str) -> UserError:
    """The error that names a file and says why it cannot be used."""
    return UserError(f"{printable(path)}: {reason}")
