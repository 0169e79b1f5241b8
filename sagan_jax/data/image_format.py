"""Which files are images, told from their names and first bytes, and which formats of them can be read here."""

import stat
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # and AVIF and HEIF where they can be, see `formats`
UNREAD = (  # suffixes of images that are not read: named, never passed over
    *(".gif", ".apng", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".psd", ".svg", ".ico", ".tga", ".pcx", ".dds"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".exr", ".hdr", ".dcm", ".fits", ".xcf"),
    # Cameras' raw files are TIFF by their first bytes, and read as such would be their thumbnails.
    *(".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef"),
    *(".srw", ".3fr", ".fff", ".iiq", ".mos", ".erf", ".kdc", ".dcr", ".mrw", ".rwl", ".x3f"),
)
_COPIES = ("@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX")  # folders that systems make: thumbnails, deleted files
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc"), "HEIF")
_BRANDS |= dict.fromkeys((b"mif1", b"msf1"), "HEIF")
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "PSD",
    b"v/1\x01": "OpenEXR",
}


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The formats that can be read here: `IMAGE_FORMATS`, and AVIF and HEIF (HEIC) if Pillow or a plugin has them."""
    from PIL import features

    found: list[str] = list(IMAGE_FORMATS)
    with suppress(ImportError):
        import_module("pillow_avif")
        found.append("AVIF")
    if "AVIF" not in found and "avif" in features.modules and features.check("avif"):
        found.append("AVIF")
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
        found.append("HEIF")
    return tuple(found)


def is_read(path: Path) -> bool:
    """Whether a file in a folder is taken for an image: by its suffix, and one without a known one by its bytes."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix not in UNREAD and kind_of(path) in formats() and not is_raw(path))


def is_passed_over(name: str) -> bool:
    """Whether a search leaves out the file or folder of that name: it is hidden, or of the copies that systems make."""
    return name.startswith(".") or name in _COPIES


def has_image_suffix(path: Path) -> bool:
    """Whether a file's suffix is that of an image, of a format that is read or of one that is not."""
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *UNREAD)


def is_image(path: Path) -> bool:
    """Whether a file looks like an image, by suffix or first bytes, of a format that is read or of one that is not."""
    return has_image_suffix(path) or kind_of(path) is not None


def kind_of(path: Path) -> str | None:
    """The image format that a regular file's first bytes say it has; None for anything else."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            return kind_of_bytes(file.read(32))
    except OSError:
        return None


def kind_of_bytes(start: bytes) -> str | None:
    """The image format that a file's first bytes, 32 or more, say it has; None for anything else."""
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12])
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM":  # two letters are not enough: the header's length is one of these
        return "BMP" if int.from_bytes(start[14:18], "little") in (12, 40, 52, 56, 64, 108, 124) else None
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def is_raw(path: Path, content: bytes | None = None) -> bool:
    """Whether a file is a TIFF inside and calls itself something else: a raw file of a camera not known here."""
    if path.suffix.lower() in ("", *IMAGE_SUFFIXES):
        return False
    return (kind_of(path) if content is None else kind_of_bytes(content[:32])) == "TIFF"


def why_not_read(path: Path, content: bytes | None = None) -> str:
    """Why a file, or the content of one, that Pillow does not know cannot be read, and what helps."""
    allowed = f"not an image of an allowed format ({', '.join(formats())})"
    if (kind := kind_of(path) if content is None else kind_of_bytes(content)) == "HEIF" and "HEIF" not in formats():
        return f"{allowed}; HEIC is read once pillow-heif is installed: pip install pillow-heif"
    if kind == "AVIF" and "AVIF" not in formats():
        return f"{allowed}; AVIF is read by Pillow 11.3 and newer"
    if kind in formats():
        return f"begins as {kind}, but is damaged or of a variant that is not read"
    return allowed if kind is None else f"{allowed} but {kind}"
