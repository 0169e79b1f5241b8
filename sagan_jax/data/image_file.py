"""One image file: decoded upright, to 8 bits a channel, grey or RGB; or refused by name, with the reason."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from sagan_jax.data.jpeg_end import has_end
from sagan_jax.data.open_image import MAX_PIXELS, content_of, open_image
from sagan_jax.data.white import FULL_RANGE, declared_white, is_negative, loses_low_byte
from sagan_jax.errors import UnusableFile, UserError, require

if TYPE_CHECKING:
    from PIL import Image

BACKGROUND = (0, 0, 0)  # what transparent images are laid upon
STRIP = 256  # rows
_ORIENTATION = 0x0112  # of EXIF
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF


class Reading(NamedTuple):
    """How files become images beside their size; what a model was trained on is scored so too.

    Attributes:
        max_pixels: Images of more are refused unread.
        white: What is white in 16-bit grey files that do not declare it.
        jpeg_margin: A JPEG that is to be resized is decoded at half, a quarter or an eighth of its size where that
            leaves both sides at least this many times as long as wanted; 0 decodes all of it, as older runs did.
    """

    max_pixels: int = MAX_PIXELS
    white: int = FULL_RANGE
    jpeg_margin: int = 0


USUAL = Reading()
JPEG_MARGIN = 2  # of new runs


class BadFile(NamedTuple):
    """A file that was not used, and why; as text, both."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return str(UnusableFile(self.path, self.reason))


def read_image(
    path: str | os.PathLike[str],
    *,
    channels: Literal[1, 3] = 3,
    size: int | tuple[int, int] | None = None,
    reading: Reading = USUAL,
) -> UInt8[np.ndarray, "height width channels"]:
    """Decodes one PNG, JPEG, BMP, TIFF, WebP, AVIF or HEIC file (see `formats`) to 8 bits a channel.

    - The EXIF orientation is applied.
    - Transparency is composited on `BACKGROUND`.
    - 16-bit grey is scaled so that white is `reading.white`, or what a TIFF declares as its greatest sample value (as
      12-bit cameras do, if it is the full range of such bits) or by its bits a sample: never by the image's own
      extremes, which would undo its exposure. Values beyond are refused. 16-bit colour, and grey with transparency,
      keep their high byte; they are refused where `reading.white` is not 65,535. Floating point must lie in [0, 1]. A
      TIFF that says that 0 is white is turned over.
    - Grey is ITU-R 601 luma. A change of size is bicubic with antialiasing, and does not keep the aspect ratio. JPEGs
      far larger than wanted are decoded smaller if `reading.jpeg_margin` says so, which is faster.

    Args:
        path: The file.
        channels: 1 (grey) or 3 (RGB), whatever the file has.
        size: (height, width), or one number for both; None keeps the file's own.
        reading: The limit of pixels, what is white, how JPEGs are decoded.

    Raises:
        UnusableFile: The file cannot be read as one image of an allowed format.
    """
    wanted = None if size is None else pair(size)
    require(channels in (1, 3), "channels", channels, "1 (grey) or 3 (RGB)")
    return as_array(decode(Path(path), channels, reading, wanted=wanted), wanted)


def decode(
    path: Path,
    channels: int,
    reading: Reading = USUAL,
    content: bytes | None = None,
    wanted: tuple[int, int] | None = None,
) -> "Image.Image":
    """The whole file as an upright "L" or "RGB" image of Pillow's; raises UnusableFile as `read_image`.

    Args:
        path: The file.
        channels: 1 (grey) or 3 (RGB).
        reading: As in `read_image`.
        content: The file's content, if it is in memory already; the path then only names it.
        wanted: The (height, width) that it is to be resized to: a JPEG may come out smaller than it is, as
            `reading.jpeg_margin` has it. None decodes all of it.
    """
    from PIL import ImageOps

    content = content_of(path) if content is None else content
    with open_image(path, reading.max_pixels, content) as image:
        declared, negative = declared_white(image), is_negative(image)
        if image.format in ("JPEG", "MPO") and not has_end(content):
            raise UnusableFile(path, "damaged or cut short (the mark that ends a JPEG is missing)")
        if reading.white != FULL_RANGE and loses_low_byte(image):
            what = "16 bits a sample in colour or with transparency are read with black at 0 and white at 65535"
            raise UnusableFile(path, f"{what}, but white is {reading.white}; save it as 16-bit grey, or with 8 bits")
        if wanted is not None and reading.jpeg_margin:
            side = reading.jpeg_margin * max(wanted)  # of both, for the image may lie on its side
            image.draft(None, (side, side))  # nothing but a JPEG heeds it
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        eight_bits = _to_eight_bits(image, reading.white if declared is None else declared, path, negative)
        mode = "L" if channels == 1 else "RGB"
        return eight_bits if eight_bits.mode == mode else eight_bits.convert(mode)


def upright_size(path: Path, reading: Reading = USUAL, content: bytes | None = None) -> tuple[int, int]:
    """Height and width of an image file as `decode` gives it whole; only the header is read."""
    with open_image(path, reading.max_pixels, content) as image:
        tags = getattr(image, "tag_v2", {})  # of a TIFF, whose size Pillow may have turned already
        width, height = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)
        lying = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        return (width, height) if lying else (height, width)


def _to_eight_bits(image: "Image.Image", white: int, path: Path, negative: bool) -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        top = 1.0 if image.mode == "F" else float(white)
        if not (values.min() >= 0 and values.max() <= top):  # also catches NaN
            raise UnusableFile(path, f"values from {values.min():g} to {values.max():g}; allowed are 0 to {top:g}")
        levels = np.rint(values * (255.0 / top)).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):  # the one value of a PNG that is transparent
            levels[values == clear] = BACKGROUND[0]
        return Image.fromarray(255 - levels if negative else levels)
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
    values = np.empty((image.height, image.width, len(image.getbands())), np.uint8)  # [H, W, C]
    for top, strip in strips(image):
        values[top : top + strip.height] = np.asarray(strip).reshape(strip.height, *values.shape[1:])
    return values


def strips(image: "Image.Image") -> Iterator[tuple[int, "Image.Image"]]:
    """An image's rows, `STRIP` at a time, with the first one's number: Pillow hands pixels out by way of two copies."""
    for top in range(0, image.height, STRIP):
        yield top, image.crop((0, top, image.width, min(top + STRIP, image.height)))


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
