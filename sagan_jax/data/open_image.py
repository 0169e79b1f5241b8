"""An image file opened by Pillow, its header checked; what is wrong with it is an error that names the file."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sagan_jax.data.image_format import UNREAD, formats, is_raw, why_not_read
from sagan_jax.errors import UnusableFile, one_line

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 80_000_000  # larger images are refused unread unless allowed; under the 89 million where Pillow warns
_SAMPLE_FORMAT = 339  # tag of TIFF


def decoding_threads(max_pixels: int) -> int | None:
    """How many images are decoded at a time: two where they may be very large, for memory; None is the usual number."""
    return 2 if max_pixels > MAX_PIXELS else None


def content_of(path: Path) -> bytes:
    """All bytes of an image file; raises UnusableFile if they cannot be read."""
    with _faults_named(path):
        _refuse_special(path)
        _refuse_unread(path)
        return path.read_bytes()


@contextmanager
def open_image(path: Path, max_pixels: int = MAX_PIXELS, content: bytes | None = None) -> Iterator["Image.Image"]:
    """An image file opened by Pillow, the header checked; what goes wrong inside is an UnusableFile.

    Pillow is never given the path, nor a file to decode: it would map the file into memory, which ends the process if
    another shortens the file meanwhile, and scrambles a TIFF that lies on its side.

    Args:
        path: The file.
        max_pixels: An image of more is refused.
        content: What `content_of` gives, needed to decode the image; the path then only names it. None is enough for
            what the header says.
    """
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit, of the whole process; never lowered
    with _faults_named(path, content):
        if content is None:
            _refuse_special(path)
        if (path.stat().st_size if content is None else len(content)) == 0:
            raise UnusableFile(path, "the file is empty")
        _refuse_unread(path, content)
        with (
            path.open("rb") if content is None else BytesIO(content) as file,
            Image.open(file, formats=formats()) as image,
        ):
            if image.width * image.height > max_pixels:
                raise UnusableFile(path, f"{image.width} x {image.height} is more than {max_pixels:,} pixels")
            # MPO is the JPEG of telephones that store a second view behind the photograph itself.
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise UnusableFile(path, "several pages or frames; one image per file is allowed")
            if image.mode == "L" and 2 in np.atleast_1d(getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, 1)):
                raise UnusableFile(path, "samples of 8 bits with a sign; those of a TIFF must be without one")
            yield image


def _refuse_special(path: Path) -> None:
    """Raises UnusableFile for what is no regular file: opening a pipe would wait for ever."""
    if not stat.S_ISREG(mode := path.stat().st_mode):
        raise UnusableFile(path, "a folder that cannot be read" if stat.S_ISDIR(mode) else "not a regular file")


def _refuse_unread(path: Path, content: bytes | None = None) -> None:
    if path.suffix.lower() in UNREAD or is_raw(path, content):
        raise UnusableFile(path, f"{path.suffix} files are not read; allowed are {', '.join(formats())}")


@contextmanager
def _faults_named(path: Path, content: bytes | None = None) -> Iterator[None]:
    """Makes an UnusableFile of any exception inside."""
    from PIL import Image

    try:
        yield
    except UnusableFile:
        raise
    except Image.UnidentifiedImageError:
        raise UnusableFile(path, why_not_read(path, content)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableFile(path, str(error)) from None
    except Exception as error:  # decoders meet hostile bytes with exceptions of every kind
        if isinstance(error, OSError) and error.errno:  # the system's, not the decoder's
            raise UnusableFile(path, f"cannot be read ({error.strerror})") from error
        raise UnusableFile(path, f"damaged or cut short ({one_line(str(error)) or type(error).__name__})") from error
