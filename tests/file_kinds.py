"""A file of every kind that is read, and of those that are refused for what they hold."""

import numpy as np
from photographs import packed, picture, save, tiff
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
    samples = {"white is zero": wide, "zero is white.float": grey.astype(np.float32) / 255}
    for name, values in samples.items():
        kind = {"sample_format": 3} if values.dtype == np.float32 else {}
        content = tiff(values.tobytes(), 53, 37, bits=8 * values.itemsize, photometric=0, **kind)
        (folder / f"{name}.tiff").write_bytes(content)
    (folder / "zero is white.8.tiff").write_bytes(tiff(grey.tobytes(), 53, 37, photometric=0))
    (folder / "packed.tiff").write_bytes(tiff(packed(wide[:, :52] >> 4), 52, 37, bits=12))
    (folder / "with a sign.tiff").write_bytes(tiff(grey.tobytes(), 53, 37, sample_format=2))
    save(folder / "one value clear.png", wide, transparency=int(wide[0, 0]))
    jpeg = save(folder / "without its end.jpg", picture(1, (64, 64, 3)), quality=95).read_bytes()
    (folder / "without its end.jpg").write_bytes(jpeg[: len(jpeg) // 2].ljust(len(jpeg), b"\0"))
    (folder / "more after its end.jpg").write_bytes(jpeg + b"\xff\xda\0")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(folder / f"turned {orientation}.jpg", rgb, exif=exif)
        save(folder / f"sixteen bits turned {orientation}.png", wide, exif=exif)
    return sorted(folder.iterdir())
