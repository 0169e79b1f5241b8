"""A file of every kind that is read, and of those that are refused for what they hold."""

import numpy as np
from photographs import picture, save
from PIL import Image


def make_kinds(folder):
    """Fills a folder; returns the files, in order."""
    rgb = picture(0, (37, 53, 3))
    grey, wide = rgb[..., 0], rgb[..., 0].astype(np.uint16) * 257
    for suffix in ("png", "jpg", "bmp", "tiff", "webp"):
        save(folder / f"colour.{suffix}", rgb)
        save(folder / f"grey.{suffix}", grey)
    for mode in ("1", "P", "LA", "RGBA"):
        Image.fromarray(rgb).convert(mode).save(folder / f"{mode}.png")
    rgba = np.concatenate([rgb, grey[..., None]], axis=-1)
    save(folder / "transparent.png", rgba)
    save(folder / "transparent.webp", rgba, lossless=True)
    Image.fromarray(rgba).convert("LA").save(folder / "transparent grey.png")
    Image.fromarray(rgb).quantize(16).save(folder / "transparent palette.png", transparency=3)
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.tiff")
    Image.fromarray(rgb).save(folder / "telephone.mpo", save_all=True, append_images=[Image.fromarray(rgb)])
    for suffix in ("png", "tiff"):
        save(folder / f"sixteen bits.{suffix}", wide)
    save(folder / "dark sixteen bits.png", wide // 100)
    save(folder / "twelve bits.tiff", wide // 16, tiffinfo={281: 4095})
    save(folder / "more than twelve bits.tiff", wide, tiffinfo={281: 4095})
    save(folder / "thirty-two bits.tiff", wide.astype(np.int32))
    save(folder / "too many bits.tiff", wide.astype(np.int32) * 2)
    save(folder / "float.tiff", grey.astype(np.float32) / 255)
    save(folder / "large float.tiff", grey.astype(np.float32))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(folder / f"turned {orientation}.jpg", rgb, exif=exif)
        save(folder / f"sixteen bits turned {orientation}.png", wide, exif=exif)
    return sorted(folder.iterdir())
