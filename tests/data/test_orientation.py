"""However a file lies, and whether it comes as a path or in memory, the same image stands upright."""

import subprocess
import sys

import numpy as np
import pytest
from photographs import picture
from PIL import Image, features

from sagan_jax.data.image_file import decode, read_image, upright_size

UPRIGHT = picture(0, (20, 30, 4))
LYING = {  # an upright image as a file of each orientation stores it
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: np.rot90,
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image, -1),
}
TIFF = [
    (mode, "TIFF", options)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I", "F")
    for options in ({}, {"tiffinfo": {278: 40}}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"})
]  # in strips, in one, and compressed
OTHERS = [(mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
OTHERS += [(mode, "JPEG", {"quality": 100, "subsampling": 0}) for mode in ("L", "RGB", "CMYK")]
OTHERS += [(mode, "WEBP", {"lossless": True, "exact": True}) for mode in ("L", "RGB", "RGBA")]
OTHERS += [("RGB", "AVIF", {"quality": 100, "subsampling": "4:4:4"})] if features.check("avif") else []


def in_mode(mode):
    """The upright image in a mode of Pillow's; one of letters and I;16 is of 16 bits, I of 32."""
    if mode == "F":
        return Image.fromarray(UPRIGHT[..., 0].astype(np.float32) / 255)
    if mode.startswith("I"):
        dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
        return Image.fromarray((UPRIGHT[..., 0].astype(np.uint16) * 257).astype(dtype))
    return Image.fromarray(UPRIGHT).convert("RGB" if mode == "P" else mode).convert(mode)


def as_file(path, mode, kind, orientation, options):
    """The upright image stored as it lies; and whether the file tells."""
    upright = in_mode(mode)
    lying = Image.fromarray(np.ascontiguousarray(LYING[orientation](np.asarray(upright))))
    if mode == "P":
        lying.putpalette(upright.getpalette())
    elif lying.mode != upright.mode:
        lying = Image.frombytes(mode, lying.size, lying.tobytes())
    exif = Image.Exif()
    exif[0x0112] = orientation
    told = {"tiffinfo": {274: orientation, **options.get("tiffinfo", {})}} if kind == "TIFF" else {"exif": exif}
    lying.save(path, kind, **{**options, **told})
    return path


@pytest.mark.parametrize(("mode", "kind", "options"), TIFF + OTHERS)
def test_every_kind_of_file_stands_upright_from_a_path_and_from_memory(example, tmp_path, mode, kind, options):
    channels = 3 if mode in ("P", "RGB", "RGBA", "CMYK") else 1
    expected = read_image(as_file(tmp_path / "upright", mode, kind, 1, options), channels=channels).squeeze()
    for orientation in LYING:
        path = as_file(tmp_path / "lying", mode, kind, orientation, options)
        content = path.read_bytes()
        from_path, from_memory = (np.asarray(decode(path, channels, content=given)) for given in (None, content))
        np.testing.assert_array_equal(from_path, from_memory, err_msg=str(orientation))
        loss = 16 if kind in ("JPEG", "AVIF") else 0
        np.testing.assert_allclose(from_path.astype(int), expected, atol=loss, err_msg=str(orientation))
        if kind != "AVIF":
            by_example = np.asarray(example.decode(path, channels, None, **example.USUAL))
            np.testing.assert_array_equal(by_example, from_path, err_msg=str(orientation))
        assert upright_size(path) == upright_size(path, content=content) == (20, 30)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_what_stands_already_has_the_pixels_that_were_saved(tmp_path, mode, kind):
    """So that what the files above are compared with is what was stored."""
    if kind == "BMP" and mode in ("LA", "RGBA", "I;16"):  # which it has not
        return
    in_mode(mode).save(tmp_path / "a", kind)
    if mode == "I;16":
        expected = UPRIGHT[..., :1].repeat(3, -1)
    else:
        black = Image.new("RGBA", (30, 20), (0, 0, 0, 255))
        expected = np.asarray(Image.alpha_composite(black, in_mode(mode).convert("RGBA")))[..., :3]
    np.testing.assert_array_equal(decode(tmp_path / "a", 3), expected)
    np.testing.assert_array_equal(decode(tmp_path / "a", 3, content=(tmp_path / "a").read_bytes()), expected)


PROGRAM = """
import os, sys
from pathlib import Path
from PIL import Image
from sagan_jax.data.image_file import as_array, decode, upright_size
from sagan_jax.data.open_image import content_of, open_image
from sagan_jax.errors import UserError
path = Path(sys.argv[1])
whole = path.read_bytes()
image = decode(path, 1)
os.truncate(path, 0)
print(as_array(image, (32, 32)).mean())
path.write_bytes(whole)
for content in (content_of(path), None):
    try:
        with open_image(path, content=content) as image:
            os.truncate(path, 100)
            print(image.convert("L").resize((32, 32)).getpixel((5, 5)))
    except UserError as error:
        print(str(error).rpartition(": ")[2])
"""


@pytest.mark.parametrize("name", ["a.tif", "a.bmp", "lzw.tif"])
def test_a_file_that_is_written_over_while_it_is_read_does_not_end_the_process(tmp_path, name):
    """As a camera does that keeps one name; what is mapped into memory would be gone."""
    options = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    Image.new("L", (1000, 1000), 100).save(tmp_path / name, **options)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == ["100.0", "100"]
    assert said[2] == "100" or "damaged" in said[2]
