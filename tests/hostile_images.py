"""A folder of images that mean harm, or were harmed, beside good ones; made anew for each test."""

import io
import os
import pickle
import struct
import zlib

import numpy as np
from photographs import picture, save, tiff
from PIL import Image

from sagan_jax.data.image_format import UNREAD

GOOD = (
    "good.png",
    "good.jpg",
    "one pixel.png",
    "line\nbreak.png",
    "снег ☃ \u202egnp.png",
    "<img src=x onerror=alert(1)>.png",
    f"{'long' * 50}.png",
    SHORT := "fewer rows than promised.png",  # Pillow, as browsers do, has the rest black
)
SIDE = 30_000


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, pixels, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def zeros(count):
    """So many bytes of zeros, compressed a thousandfold, without ever having them in memory."""
    packer, block = zlib.compressobj(1), bytes(2**20)
    whole, rest = divmod(count, len(block))
    return b"".join([*(packer.compress(block) for _ in range(whole)), packer.compress(bytes(rest)), packer.flush()])


def encoded(kind, array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def animated(kind, array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, save_all=True, append_images=[Image.fromarray(255 - array)])
    return file.getvalue()


FOREIGN = ("GIF", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "PDF", "EPS")
CUTS = 10  # of a whole file of each format


def many_files():
    """Content by name of systematic cases, in two parts.

    Returns:
        What is no image: files cut short at every tenth, formats that are not read by the name of one that is, and
        images by the names of those that are not read; then whole files with one byte changed, which may be either.
    """
    image = picture(0, (64, 64, 3))
    whole = {kind: encoded(kind, image) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")}
    bad, either = {}, {}
    for kind, content in whole.items():
        for part in range(1, CUTS + 1):
            bad[f"cut at {part:02d}.{kind.lower()}"] = content[: len(content) * part // (CUTS + 1)]
        for place in range(0, 100, 4):
            changed = bytearray(content)
            changed[place] ^= 0x55
            either[f"byte {place:02d}.{kind.lower()}"] = bytes(changed)
    for kind in FOREIGN:
        bad[f"a {kind}.png"] = encoded(kind, image)
    return bad | {f"a png{suffix}": whole["PNG"] for suffix in UNREAD}, either


def hostile_files():
    """Content by name; none of it may be taken for an image."""
    image = picture(0, (64, 64, 3))
    whole = {kind: encoded(kind, image) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")}
    bits = np.full((8, 8), np.nan, np.float32)
    bmp = bytearray(whole["BMP"])
    bmp[18:26] = struct.pack("<ii", 8000, 8000)
    pages = [Image.fromarray(image), Image.fromarray(image)]
    several = io.BytesIO()
    pages[0].save(several, "TIFF", save_all=True, append_images=pages[1:])
    return {
        "empty.png": b"",
        "text.png": b"This is no image.\n",
        "page.jpg": b"<html><script>alert(1)</script></html>",
        "pickle.png": pickle.dumps([image]),
        "a gif.png": encoded("GIF", image[..., 0]),
        **{f"cut.{kind.lower()}": content[: len(content) * 2 // 3] for kind, content in whole.items()},
        "bomb.png": png(SIDE, SIDE, zeros(SIDE * (SIDE + 1))),
        "bomb of text.png": png(1, 1, zeros(2), png_chunk(b"zTXt", b"a\0\0" + zeros(2**30))),
        "bomb of colours.png": png(1, 1, zeros(2), png_chunk(b"iCCP", b"a\0\0" + zeros(2**30))),
        "promises pixels.bmp": bytes(bmp),
        "no width.png": png(0, 10, zeros(10)),
        "not a number.tiff": encoded("TIFF", bits),
        "infinite.tiff": encoded("TIFF", np.full((8, 8), np.inf, np.float32)),
        "pages.tiff": several.getvalue(),
        "zeros in place of the rest.jpg": whole["JPEG"][: len(whole["JPEG"]) // 2].ljust(len(whole["JPEG"]), b"\0"),
        "with a sign.tiff": tiff(image[..., 0].tobytes(), 64, 64, sample_format=2),
        "double.tiff": tiff(bytes(64 * 64 * 8), 64, 64, bits=64, sample_format=3),
        "half.tiff": tiff(bytes(64 * 64 * 2), 64, 64, bits=16, sample_format=3),
        "no bits.tiff": tiff(bytes(64), 64, 64, bits=0),
        "no photometric known.tiff": tiff(image[..., 0].tobytes(), 64, 64, photometric=99),
        "wrong checksum.png": png(8, 8, zlib.compress(bytes(9 * 8 * 3)), png_chunk(b"tEXt", b"a\0b")[:-4] + b"sums"),
        "no rows.png": png(8, 8, b""),
        **{f"moves.{kind.lower()}": animated(kind, image) for kind in ("PNG", "WEBP")},
    }


def make_folder(folder):
    """Fills a folder.

    Returns:
        The names of all that cannot be scored. A file without permission is among them unless root is reading.
    """
    for seed, name in enumerate(GOOD):
        shape = (1, 1, 3) if "one pixel" in name else (20, 30, 3)
        save(folder / name, picture(seed, shape))
    (folder / SHORT).write_bytes(png(100, 8000, zeros(10 * 101)))
    more, either = many_files()
    files = hostile_files() | more
    for name, content in (files | either).items():
        (folder / name).write_bytes(content)
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "nowhere.png").symlink_to("nothing.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "a loop of folders").symlink_to(folder)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    save(folder / "forbidden.png", picture(50)).chmod(0)
    others = ["loop.png", "nowhere.png", "endless.png", "folder.png", "pipe.png"]
    return [*files, *others, *([] if os.access(folder / "forbidden.png", os.R_OK) else ["forbidden.png"])]
