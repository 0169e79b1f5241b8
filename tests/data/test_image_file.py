import contextlib
import struct
import warnings
import zlib

import numpy as np
import pytest
from photographs import packed, picture, save, tiff
from PIL import Image

from sagan_jax.data import image_file, image_format, open_image
from sagan_jax.data.image_file import Reading, decode, read_image, upright_size
from sagan_jax.data.white import find_white
from sagan_jax.errors import UserError


def test_every_kind_of_grey_and_colour(tmp_path):
    rgb = picture(0)
    grey = rgb[..., 0]
    for suffix in ("png", "bmp", "tiff"):
        np.testing.assert_array_equal(read_image(save(tmp_path / f"a.{suffix}", rgb)), rgb)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.webp", rgb, lossless=True)), rgb)
    assert np.abs(read_image(save(tmp_path / "a.jpg", rgb * 0 + 77, quality=95)).astype(int) - 77).max() <= 1
    np.testing.assert_array_equal(read_image(save(tmp_path / "g.png", grey), channels=1)[..., 0], grey)
    np.testing.assert_array_equal(read_image(tmp_path / "g.png"), np.repeat(grey[..., None], 3, 2))
    luma = read_image(tmp_path / "a.png", channels=1)[..., 0]
    np.testing.assert_allclose(luma, rgb @ [0.299, 0.587, 0.114], atol=0.51)

    palette = Image.fromarray(rgb // 64 * 64).quantize(256)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))
    Image.fromarray(grey > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png", channels=1)[..., 0], (grey > 127) * 255)
    Image.fromarray(rgb * 0).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert read_image(tmp_path / "cmyk.jpg").max() <= 2


def test_sixteen_bits_keep_their_exposure(tmp_path):
    values = np.array([[0, 257, 257 * 100, 65535]], np.uint16)
    for suffix in ("png", "tif"):
        found = read_image(save(tmp_path / f"a.{suffix}", values), channels=1)[..., 0]
        assert found.tolist() == [[0, 1, 100, 255]]
    assert read_image(save(tmp_path / "dark.png", values // 4), channels=1).max() == 64
    save(tmp_path / "camera.tif", values // 16, tiffinfo={281: 4095})  # twelve bits, and says so
    assert read_image(tmp_path / "camera.tif", channels=1)[0, :, 0].tolist() == [0, 1, 100, 255]
    unit = np.array([[0, 0.2, 1]], np.float32)
    assert read_image(save(tmp_path / "f.tif", unit), channels=1)[0, :, 0].tolist() == [0, 51, 255]
    with pytest.raises(UserError, match="values from 0 to 2; allowed are 0 to 1"):
        read_image(save(tmp_path / "f.tif", unit * 2))
    with pytest.raises(UserError, match="allowed are 0 to 65535"):
        read_image(save(tmp_path / "i.tif", values.astype(np.int32) * 2))


@pytest.mark.parametrize(
    ("declared", "white"), [(255, 255), (1023, 1023), (4095, 4095), (16_383, 16_383), (65_535, 65_535)]
)
def test_what_a_tiff_declares_is_its_white_if_a_camera_has_such_a_range(tmp_path, declared, white):
    path = save(tmp_path / "a.tif", np.array([[0, white]], np.uint16), tiffinfo={281: declared})
    assert read_image(path, channels=1)[0, :, 0].tolist() == [0, 255]
    assert find_white([path]) is None


@pytest.mark.parametrize("greatest", [1000, 2000, 4094, 4096])
def test_the_greatest_value_of_the_one_image_is_not_white(example, tmp_path, greatest):
    path = save(tmp_path / "a.tif", np.array([[0, greatest]], np.uint16), tiffinfo={281: greatest})
    assert read_image(path, channels=1).max() == round(greatest * 255 / 65_535)
    assert np.asarray(example.decode(path, 1, None, **example.USUAL)).max() == round(greatest * 255 / 65_535)
    found = find_white([path])
    assert found is not None
    assert found[1] == greatest


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_a_tiff_in_which_zero_is_white_is_turned_over(tmp_path, kind):
    values = np.array([[0, 51, 255]], np.uint8)
    samples = {"uint8": values, "uint16": values.astype("<u2") * 257, "float32": (values / 255).astype("<f4")}[kind]
    sort = {"sample_format": 3} if kind == "float32" else {}
    content = tiff(samples.tobytes(), 3, 1, bits=8 * samples.itemsize, photometric=0, **sort)
    (tmp_path / "a.tif").write_bytes(content)
    assert read_image(tmp_path / "a.tif", channels=1)[0, :, 0].tolist() == [255, 204, 0]


def test_a_tiff_of_twelve_bits_a_sample_has_all_its_range_whatever_the_model_takes_for_white(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(packed(np.array([[0, 803, 1606, 4095]])), 4, 1, bits=12))
    assert read_image(tmp_path / "a.tif", channels=1)[0, :, 0].tolist() == [0, 50, 100, 255]


def test_samples_with_a_sign_are_refused_for_they_are_read_as_if_they_had_none(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(b"\x80\xff\0\x7f", 4, 1, sample_format=2))
    with pytest.raises(UserError, match=r"a\.tif: samples of 8 bits with a sign"):
        read_image(tmp_path / "a.tif")


def test_the_one_clear_value_of_sixteen_bits_is_the_background(tmp_path):
    save(tmp_path / "a.png", np.array([[65535, 257]], np.uint16), transparency=65535)
    assert read_image(tmp_path / "a.png", channels=1)[0, :, 0].tolist() == [0, 1]


def test_a_jpeg_that_was_filled_up_with_zeros_is_cut_short(tmp_path):
    """Decoders take the zeros for an image: half of this one would be stripes, without a word."""
    thumbnail = b"Exif\0\0" + save(tmp_path / "small.jpg", picture(1)).read_bytes()  # has an end of its own
    for progressive in (False, True):
        path = save(tmp_path / "a.jpg", picture(0, (200, 300, 3)), progressive=progressive, exif=thumbnail)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
        with pytest.raises(UserError, match=r"a\.jpg: damaged or cut short \(the mark that ends a JPEG is missing\)"):
            read_image(path)
        path.write_bytes(whole + b"\xff\xda what a telephone adds")
        assert read_image(path).shape == (200, 300, 3)


def test_a_jpeg_that_was_cut_and_closed_again_is_read_with_grey_for_the_rest(tmp_path):
    """Pillow does not tell it from a whole one; if it ever does, it is to be refused."""
    whole = save(tmp_path / "a.jpg", picture(0, (200, 300, 3))).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    found = read_image(tmp_path / "a.jpg", channels=1)
    assert found[:50].std() > 20
    assert found[-8:].std() == 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what is wrong with the EXIF
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0Exif\0\0II*\0\x08\0\0\0\0\0", b"Exif\0\0II*\0\xff\xff\0\0", 0, 9, 99]
)
def test_an_orientation_that_cannot_be_read_leaves_the_image_as_it_lies(tmp_path, exif):
    if isinstance(exif, int):
        exif, orientation = Image.Exif(), exif
        exif[0x0112] = orientation
    flat = np.zeros((16, 32, 3), np.uint8)
    flat[:, 16:] = 200
    np.testing.assert_allclose(read_image(save(tmp_path / "a.jpg", flat, exif=exif, quality=100)), flat, atol=3)


def test_a_known_format_that_cannot_be_read_is_not_called_a_foreign_one(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(bytes(16), 1, 2, bits=64, sample_format=3))
    with pytest.raises(UserError, match="begins as TIFF, but is damaged or of a variant that is not read"):
        read_image(tmp_path / "a.tif")


def test_transparency_lies_on_the_background(tmp_path):
    rgba = np.full((1, 3, 4), 200, np.uint8)
    rgba[0, :, 3] = 0, 128, 255
    assert read_image(save(tmp_path / "a.png", rgba))[0, :, 0].tolist() == [0, 100, 200]
    Image.fromarray(rgba).convert("LA").save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png", channels=1)[0, :, 0].tolist() == [0, 100, 200]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png")[0].tolist() == [[0, 0, 0], [50, 60, 70]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(tmp_path, orientation):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for bits, scale in ((np.uint8, 1), (np.uint16, 257)):
        path = save(tmp_path / "a.png", np.ascontiguousarray(stored).astype(bits) * bits(scale), exif=exif)
        np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], upright)


def test_sizes(tmp_path):
    path = save(tmp_path / "a.png", np.full((7, 13, 3), 90, np.uint8))
    assert read_image(path).shape == (7, 13, 3)
    assert read_image(path, size=(4, 5)).shape == (4, 5, 3)
    large = read_image(path, size=32, channels=1)
    assert large.shape == (32, 32, 1)
    assert (large == 90).all()
    with pytest.raises(UserError, match="0 x 5 is impossible"):
        read_image(path, size=(0, 5))


def png(width, height, bits=8, kind=0, pixels=b""):
    """A PNG of this header; of the kinds of the format 0 is grey, 2 colour, 4 and 6 these with alpha."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def png16(kind, samples, value):
    """One pixel of 16 bits a sample: of each x the value, of each a all of them."""
    return png(1, 1, 16, kind, b"\0" + b"".join(struct.pack(">H", value if x == "x" else 65_535) for x in samples))


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (9_500, 9_500), (8_950, 8_950)])
def test_decompression_bombs_are_not_opened(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    with pytest.raises(UserError, match=r"bomb.png: .*(pixels)"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_of_pixels_is_a_setting(tmp_path):
    path = save(tmp_path / "a.png", picture(0))
    with pytest.raises(UserError, match="30 x 20 is more than 599 pixels"):
        read_image(path, reading=Reading(max_pixels=599))
    np.testing.assert_array_equal(read_image(path, reading=Reading(max_pixels=600)), picture(0))


def test_a_line_scan_over_the_usual_limit_and_over_pillows_is_read_if_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    path = tmp_path / "line.png"
    Image.new("1", (16384, 6000), 1).save(path)  # 98 million pixels, a bit each
    with warnings.catch_warnings(action="ignore"), pytest.raises(UserError, match="more than 80,000,000 pixels"):
        read_image(path)
    found = read_image(path, channels=1, size=8, reading=Reading(max_pixels=100_000_000))
    assert (found == 255).all()


def test_the_range_of_a_camera_is_that_of_the_bits_its_values_need(tmp_path):
    def white(*greatest):
        paths = [save(tmp_path / f"{i}.png", np.array([[0, value]], np.uint16)) for i, value in enumerate(greatest)]
        return find_white(paths)

    assert white(4000, 3000) == (4095, 4000)
    assert white(4096) == (16_383, 4096)
    assert white(1000, 200) == (1023, 1000)
    assert white(65_535) == (65_535, 65_535)
    assert white(200) == (255, 200)
    eight = save(tmp_path / "eight.png", picture(0))
    declared = save(tmp_path / "declared.tif", np.array([[0, 4095]], np.uint16), tiffinfo={281: 4095})
    whole = save(tmp_path / "whole.png", picture(0)[..., 0].astype(np.uint16)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert find_white([eight, declared, tmp_path / "cut.png", tmp_path / "not there.png"]) is None


def test_twelve_bits_in_sixteen_have_all_their_levels(tmp_path):
    path = save(tmp_path / "a.png", np.arange(4096, dtype=np.uint16).reshape(64, 64))
    assert len(np.unique(read_image(path, channels=1))) == 17  # of 256, by the full range of the file
    found = read_image(path, channels=1, reading=Reading(white=4095))
    assert len(np.unique(found)) == 256
    np.testing.assert_array_equal(found.ravel(), np.rint(np.arange(4096) * 255 / 4095))
    with pytest.raises(UserError, match="values from 0 to 4095; allowed are 0 to 1023"):
        read_image(path, reading=Reading(white=1023))


@pytest.mark.parametrize(("kind", "samples"), [(2, "xxx"), (4, "xa"), (6, "xxxa")])
@pytest.mark.parametrize("white", [4095, 16_383, 65_535])
def test_sixteen_bits_that_pillow_halves_are_refused_where_white_is_less(example, tmp_path, kind, samples, white):
    """4000 is nearly white to a camera of 12 bits; grey with alpha would be 15 of 255 and grey without it 249."""
    (tmp_path / "a.png").write_bytes(png16(kind, samples, 4000))
    if white == 65_535:
        assert read_image(tmp_path / "a.png", channels=1, reading=Reading(white=white)).max() == 15
        assert np.asarray(example.decode(tmp_path / "a.png", 1, None, **example.USUAL)).max() == 15
        return
    with pytest.raises(example.Refused, match="16 bits a sample in colour or with transparency"):
        example.decode(tmp_path / "a.png", 1, None, **(example.USUAL | {"white": white}))
    with pytest.raises(UserError, match=rf"a\.png: 16 bits a sample in colour or .* but white is {white}; save it as"):
        read_image(tmp_path / "a.png", reading=Reading(white=white))


def test_what_has_no_sixteen_bits_in_colour_is_read_whatever_white_is(tmp_path):
    camera = Reading(white=4095)
    (tmp_path / "grey.png").write_bytes(png16(0, "x", 4000))
    assert read_image(tmp_path / "grey.png", channels=1, reading=camera).max() == 249
    for name in ("a.png", "a.tif", "a.bmp", "a.webp"):
        np.testing.assert_allclose(read_image(save(tmp_path / name, picture(0) * 0 + 9), reading=camera), 9, atol=2)
    header = struct.pack(
        "<2sIIIIiiHHIIiiII4I", b"BM", 74, 0, 70, 56, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0, 0xF800, 0x7E0, 31, 0
    )
    (tmp_path / "five six five.bmp").write_bytes(header + b"\xff\xff\0\0")
    assert read_image(tmp_path / "five six five.bmp", channels=1, reading=camera)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "webp"])
def test_cut_and_scrambled_files_are_refused_by_name(tmp_path, suffix):
    whole = save(tmp_path / f"a.{suffix}", picture(0, (64, 64, 3))).read_bytes()
    for length in (1, 20, len(whole) // 2, len(whole) * 9 // 10):
        (tmp_path / f"cut.{suffix}").write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"cut.{suffix}: "):
            read_image(tmp_path / f"cut.{suffix}")
    rng = np.random.default_rng(0)
    for _ in range(30):  # any outcome but a foreign exception
        scrambled = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            scrambled[place] = rng.integers(256)
        (tmp_path / f"scrambled.{suffix}").write_bytes(scrambled)
        with contextlib.suppress(UserError):
            assert read_image(tmp_path / f"scrambled.{suffix}").dtype == np.uint8


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(UserError, match=r"gone.png: cannot be read \(No such file or directory\)"):
        read_image(tmp_path / "gone.png")


def test_several_pages_are_refused(tmp_path):
    pages = [Image.fromarray(picture(i)) for i in range(2)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="one image per file"):
        read_image(tmp_path / "a.tiff")


def test_a_gif_by_another_name_is_not_let_in(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(UserError, match="not an image of an allowed format"):
        read_image(tmp_path / "a.png")


@pytest.mark.skipif("AVIF" not in image_format.formats(), reason="this Pillow has no AVIF")
def test_avif_is_read_and_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    flat = np.zeros((16, 32, 3), np.uint8)
    flat[:, 16:] = 200
    path = save(tmp_path / "a.avif", flat, exif=exif, quality=100)
    found = read_image(path)
    assert found.shape == (32, 16, 3)
    np.testing.assert_allclose(found, np.rot90(flat, -1), atol=6)


def test_heic_is_read_with_the_plugin_and_without_it_the_reason_names_it(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(40))
    for module in (open_image, image_format):
        monkeypatch.setattr(module, "formats", lambda: image_format.IMAGE_FORMATS)
    with pytest.raises(UserError, match=r"a.heic: not an image of .*pip install pillow-heif"):
        read_image(tmp_path / "a.heic")
    monkeypatch.undo()
    pytest.importorskip("pillow_heif")
    assert "HEIF" in image_format.formats()
    found = read_image(save(tmp_path / "b.heic", np.full((16, 32, 3), 90, np.uint8)))
    assert found.shape == (16, 32, 3)
    np.testing.assert_allclose(found, 90, atol=4)


def test_heic_of_all_kinds_is_an_image_or_refused_by_name(tmp_path):
    plugin = pytest.importorskip("pillow_heif")
    assert "HEIF" in image_format.formats()
    flat = np.full((16, 32, 3), 200, np.uint8)
    clear = np.concatenate([flat, np.full((16, 32, 1), 51, np.uint8)], axis=-1)
    np.testing.assert_allclose(read_image(save(tmp_path / "clear.heic", clear, quality=100)), 40, atol=2)
    assert read_image(save(tmp_path / "grey.heic", flat[..., 0]), channels=1).shape == (16, 32, 1)
    deep = plugin.from_bytes(mode="RGB;16", size=(32, 16), data=(flat.astype(np.uint16) * 257).tobytes())
    deep.save(tmp_path / "deep.heic", quality=100)  # of twelve bits
    np.testing.assert_allclose(read_image(tmp_path / "deep.heic"), 200, atol=2)
    views = [Image.fromarray(flat), Image.fromarray(flat // 2)]
    views[0].save(tmp_path / "burst.heic", save_all=True, append_images=views[1:])
    whole = (tmp_path / "grey.heic").read_bytes()
    (tmp_path / "cut.heic").write_bytes(whole[: len(whole) // 2])
    for name, reason in (("burst", "one image per file"), ("cut", "is damaged or of a variant that is not read")):
        with pytest.raises(UserError, match=rf"{name}\.heic: .*{reason}"):
            read_image(tmp_path / f"{name}.heic")


def test_raw_files_are_not_taken_for_the_tiff_of_their_thumbnail(tmp_path):
    thumbnail = save(tmp_path / "a.tif", picture(0)).read_bytes()
    for name in ("a.dng", "a.NEF", "a.newmake"):
        (tmp_path / name).write_bytes(thumbnail)
        assert image_format.is_image(tmp_path / name)
        assert not image_format.is_read(tmp_path / name)
        with pytest.raises(UserError, match="files are not read; allowed are PNG"):
            read_image(tmp_path / name)
    (tmp_path / "scan").write_bytes(thumbnail)  # no suffix: no other claim
    np.testing.assert_array_equal(read_image(tmp_path / "scan"), picture(0))


def test_what_looks_like_an_image_is_told_by_suffix_or_first_bytes(tmp_path):
    for kind, name in (("PNG", "bare"), ("JPEG", "x.001"), ("BMP", "x.old"), ("WEBP", "y"), ("TIFF", "z")):
        Image.fromarray(picture(0)).save(tmp_path / name, kind)
        assert image_format.is_read(tmp_path / name), name
    for kind, name in (("GIF", "bare gif"), ("GIF", "a.gif"), ("JPEG2000", "b"), ("PPM", "c.ppm")):
        Image.fromarray(picture(0)).save(tmp_path / name, kind)
        assert image_format.is_image(tmp_path / name), name
        assert not image_format.is_read(tmp_path / name), name
    (tmp_path / "BMW.txt").write_text("BMW and other cars, at some length, but no picture of any")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x1cftypisom" + bytes(20))
    for name in ("BMW.txt", "clip.mp4", "not there", "."):
        assert not image_format.is_image(tmp_path / name), name


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_several_strips_is_whole(tmp_path, channels):
    drawn = picture(0, (2 * image_file.STRIP + 7, 5, channels)).squeeze()
    found = read_image(save(tmp_path / "a.png", drawn), channels=channels)
    np.testing.assert_array_equal(found.squeeze(), drawn)


def smooth(height, width):
    """An image without detail, which survives JPEG and any way of making it smaller."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / height * 3), np.cos(columns / width * 4), np.sin((rows + columns) / 500)], axis=-1)
    return (127 + 100 * waves).astype(np.uint8)


@pytest.mark.parametrize(("margin", "decoded"), [(0, 640), (1, 80), (2, 160), (4, 320), (8, 640)])
def test_a_jpeg_is_decoded_no_smaller_than_the_margin_allows(tmp_path, margin, decoded):
    path = save(tmp_path / "a.jpg", smooth(640, 800), quality=95)
    image = decode(path, 3, Reading(jpeg_margin=margin), wanted=(64, 80))
    assert image.height == decoded
    assert decode(path, 3, Reading(jpeg_margin=margin)).height == 640  # nothing smaller is wanted


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_decoded_smaller_is_nearly_the_same_image_and_lies_the_same_way(tmp_path, channels):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    path = save(tmp_path / "a.jpg", smooth(640, 800), quality=95, exif=exif)
    whole = read_image(path, channels=channels, size=(80, 64))
    reduced = read_image(path, channels=channels, size=(80, 64), reading=Reading(jpeg_margin=2))
    assert np.abs(whole.astype(int) - reduced).max() <= 3
    assert np.abs(whole.astype(int) - whole[::-1]).max() > 50
    assert upright_size(path) == (800, 640)


def test_what_is_no_jpeg_is_read_as_ever(tmp_path):
    path = save(tmp_path / "a.png", picture(0, (200, 200, 3)))
    expected = read_image(path, size=16)
    np.testing.assert_array_equal(read_image(path, size=16, reading=Reading(jpeg_margin=2)), expected)
