"""Image files as an exported model wants them, read exactly as `sagan score` reads them. Needs numpy and pillow alone.

A model takes whole images, resized to its size, or it takes patches, cut from photographs of any size; its metadata say
which, and what is white in 16-bit grey files. What is not read (other formats and suffixes, several pages, more pixels
than the model allows, values out of range) is refused.
"""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
WHITES = [2**depth - 1 for depth in (8, 10, 12, 14, 16)]  # another greatest value is but that of the one image
USUAL = {"max_pixels": 80_000_000, "white": 65_535, "jpeg_margin": 0}  # of models whose metadata say nothing of it


class Refused(Exception):
    """Why a file cannot be scored."""


def read(path: str, about: dict) -> np.ndarray:
    """What a file has for a model to score: uint8 [N, H, W, C], one whole image or all patches of a photograph.

    The photograph's score is the greatest of its patches'.

    Args:
        path: The file.
        about: The metadata of the exported model.

    Raises:
        Refused: If the file cannot be read, or a photograph is smaller than a patch.
    """
    height, width, channels = about["image_shape"]
    patches = about["patches"]
    wanted = max(height, width) if patches is None else None
    image = decode(path, channels, wanted, **USUAL | about.get("reading", {}))
    if patches is None:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    elif min(image.size) < height:
        raise Refused(f"{image.height} x {image.width} is smaller than a patch of {height} x {width}")
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    if patches is None:
        return pixels[None]
    rows, columns = (starts(length, patches["size"], patches["stride"]) for length in pixels.shape[:2])
    return np.stack([pixels[row : row + height, column : column + width] for row in rows for column in columns])


def starts(length: int, size: int, stride: int) -> list[int]:
    """Where patches begin along an axis: a stride apart, the last one flush with the edge."""
    regular = list(range(0, length - size + 1, stride))
    return regular if regular[-1] == length - size else [*regular, length - size]


def decode(path: str, channels: int, wanted: int | None, max_pixels: int, white: int, jpeg_margin: int) -> Image.Image:
    """An upright image of 8 bits a channel, "L" for one channel and "RGB" for three; raises Refused.

    A JPEG is decoded at half, a quarter or an eighth of its size where that leaves `jpeg_margin` times the side wanted.
    """
    if Path(path).suffix.lower() not in SUFFIXES:  # a camera's raw file is a TIFF inside, which has but a thumbnail
        raise Refused(f"the suffix is none of {', '.join(SUFFIXES[1:])}")
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        if not Path(path).is_file():  # opening a pipe would wait for ever
            raise Refused("not a regular file")
        content = Path(path).read_bytes()
        with Image.open(BytesIO(content), formats=FORMATS) as image:  # of a path Pillow may scramble a TIFF
            if image.width * image.height > max_pixels:
                raise Refused(f"{image.width} x {image.height} is more than {max_pixels:,} pixels")
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO is a telephone's JPEG
                raise Refused("several pages or frames; one image per file is allowed")
            if image.format in ("JPEG", "MPO") and not has_end(content):
                raise Refused("the mark that ends a JPEG is missing")
            tags = getattr(image, "tag_v2", {})  # of a TIFF
            if image.mode == "L" and 2 in np.atleast_1d(tags.get(339, 1)):
                raise Refused("samples of 8 bits with a sign")
            if white != USUAL["white"] and ";16" in str(image.tile) and image.mode[0] != "I" and image.format != "BMP":
                raise Refused("16 bits a sample in colour or with transparency have another white than the model's")
            declared, bits = (int(np.max(tags.get(*tag))) for tag in ((281, 0), (258, 16)))  # its white, bits a sample
            white = declared if declared in WHITES else 2**bits - 1 if bits < 16 else white
            if wanted is not None and jpeg_margin:
                image.draft(None, (jpeg_margin * wanted, jpeg_margin * wanted))
            image.load()
            eight_bits = to_eight_bits(ImageOps.exif_transpose(image), white, negative=tags.get(262) == 0)
            return eight_bits.convert("L" if channels == 1 else "RGB")
    except Refused:
        raise
    except Exception as error:  # decoders meet hostile bytes with exceptions of every kind
        raise Refused(f"cannot be read: {error}") from error


def has_end(jpeg: bytes) -> bool:
    """Whether the mark that ends a JPEG is there: decoders make grey of what is missing, and do not say so."""
    place = 0
    while (found := re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])").search(jpeg, place)) is not None:
        place = found.end()
        if (kind := found[1][0]) == 0xD9:
            return True
        if kind != 0xD8:  # a segment is passed over by its length, and a thumbnail within
            place += int.from_bytes(jpeg[place : place + 2], "big")
    return False


def to_eight_bits(image: Image.Image, white: int, negative: bool) -> Image.Image:
    """16-bit grey by what is white in it (0, if negative), floats from [0, 1], transparency laid on black."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        top = 1.0 if image.mode == "F" else float(white)
        if not (values.min() >= 0 and values.max() <= top):  # also catches NaN
            raise Refused(f"values from {values.min():g} to {values.max():g}; allowed are 0 to {top:g}")
        levels = np.rint(values * (255.0 / top)).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            levels[values == clear] = 0
        return Image.fromarray(255 - levels if negative else levels)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB") if image.mode == "P" else image
