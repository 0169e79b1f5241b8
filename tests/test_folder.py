import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan_jax.data import folder
from sagan_jax.data.folder import load_folder, read_image, read_mask, scan
from sagan_jax.errors import UserError


def picture(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def mvtec(tmp_path):
    root = tmp_path / "bottle"
    for i in range(3):
        save(root / f"train/good/{i:03d}.png", picture(i))
    save(root / "test/good/000.png", picture(10))
    for i in range(2):
        save(root / f"test/broken/{i:03d}.png", picture(20 + i))
        save(root / f"ground_truth/broken/{i:03d}_mask.png", mark(i))
    save(root / "test/a_scratch/000.png", picture(30))
    save(root / "ground_truth/a_scratch/000_mask.png", mark(5))
    return root


def mark(row):
    mask = np.zeros((20, 30), np.uint8)
    mask[2 * row : 2 * row + 4, :10] = 255
    return mask


def test_mvtec_layout(mvtec):
    (mvtec / "readme.txt").write_text("the root's own files are nobody's business")
    (data, kinds, masks), unread = load_folder(mvtec, size=(20, 30))
    assert unread == []
    assert data.name == "bottle"
    assert data.abnormal == "a_scratch,broken"
    assert data.train.shape == (3, 20, 30, 3)
    assert data.train.dtype == np.uint8
    assert kinds.tolist() == ["good", "a_scratch", "broken", "broken"]
    assert data.test_labels.tolist() == [False, True, True, True]
    assert data.train_ids.tolist() == [f"train/good/{i:03d}.png" for i in range(3)]
    assert data.test_ids[1] == "test/a_scratch/000.png"
    np.testing.assert_array_equal(data.train[2], picture(2))
    np.testing.assert_array_equal(masks, np.stack([mark(row) > 0 for row in (99, 5, 0, 1)]))


def test_masks_are_resized_by_nearest_neighbour(mvtec):
    (_, _, masks), _ = load_folder(mvtec, size=(10, 15))
    assert masks is not None
    np.testing.assert_array_equal(masks[1], mark(5)[1::2, 1::2] > 0)
    assert masks.dtype == bool
    assert not masks[0].any()


def test_ganomaly_layout(tmp_path):
    for i, place in enumerate(["train/0.normal/a.png", "test/0.normal/b.png", "test/1.abnormal/c.png"]):
        save(tmp_path / place, picture(i))
    (data, kinds, masks), _ = load_folder(tmp_path, size=8, channels=1)
    assert kinds.tolist() == ["good", "1.abnormal"]
    assert masks is None
    assert data.train.shape == (1, 8, 8, 1)
    assert data.test.shape == (2, 8, 8, 1)
    save(tmp_path / "test/2.odd/c.png", picture(5))
    with pytest.raises(UserError, match=r"may hold 0.normal and 1.abnormal; found .*2.odd"):
        scan(tmp_path)


def test_bare_folder_is_all_training(tmp_path):
    for name in ("b.PNG", "a.bmp", "c.webp", "d.tif"):
        save(tmp_path / name, picture(ord(name[0])))
    (tmp_path / "notes.txt").write_text("x")
    save(tmp_path / ".hidden.png", picture(1))
    (data, _, masks), unread = load_folder(tmp_path, size=8)
    assert data.train_ids.tolist() == ["a.bmp", "b.PNG", "c.webp", "d.tif"]
    assert data.test.shape == (0, 8, 8, 3)
    assert masks is None
    assert data.abnormal == "none"
    assert [file.path.name for file in unread] == ["notes.txt"]
    assert "suffix" in unread[0].reason


def test_unknown_layouts_say_what_was_found_and_what_is_allowed(tmp_path):
    with pytest.raises(UserError, match="not a folder that can be read"):
        scan(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found nothing; allowed are"):
        scan(tmp_path)
    save(tmp_path / "x.png", picture(0))
    save(tmp_path / "bad/y.png", picture(1))
    with pytest.raises(UserError, match=r"found bad/, x.png; allowed are\n.*train/good.*\n.*0.normal"):
        scan(tmp_path)


def test_folders_without_normal_images_or_with_abnormal_training_are_refused(mvtec):
    save(mvtec / "train/broken/0.png", picture(0))
    with pytest.raises(UserError, match="normal ones only, in train/good; found train/broken/"):
        scan(mvtec)
    (mvtec / "train/broken/0.png").unlink()
    (mvtec / "train/broken").rmdir()
    for file in (mvtec / "train/good").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="train/good holds no normal images"):
        scan(mvtec)
    (mvtec / "train/good/0.png").touch()
    with pytest.raises(UserError, match=r"none of the 1 normal images can be read.*empty"):
        load_folder(mvtec, size=8, on_bad="skip")


def test_test_images_that_were_trained_on_are_named_even_in_another_format(mvtec):
    save(mvtec / "test/good/same.bmp", picture(1))
    with pytest.raises(UserError, match=r"1 test images are training.*test/good/same.bmp = train/good/001.png"):
        load_folder(mvtec, size=8)


def test_bad_files_are_refused_or_skipped_but_always_named(mvtec):
    (mvtec / "train/good/9.png").write_text("plain text")
    (mvtec / "test/good/9.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"2 of 9 images cannot be used(.|\n)*9.png: not an image(.|\n)*9.jpg: .*empty"):
        load_folder(mvtec, size=8)
    (data, kinds, masks), bad = load_folder(mvtec, size=8, on_bad="skip")
    assert [file.path.name for file in bad] == ["9.png", "9.jpg"]
    assert masks is not None
    assert len(data.train) == 3
    assert len(data.test) == len(kinds) == len(masks) == 4
    with pytest.raises(UserError, match="allowed are 'refuse' and 'skip'"):
        load_folder(mvtec, size=8, on_bad="ignore")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda mask: mask.unlink(), "no mask for it"),
        (lambda mask: save(mask, np.zeros((20, 30), np.uint8)), "marks nothing"),
        (lambda mask: save(mask, mark(0)[:10]), "mask is 10 x 30 but its image 20 x 30"),
        (lambda mask: mask.write_bytes(mask.read_bytes()[:60]), "damaged or cut short"),
    ],
)
def test_masks_that_cannot_be_believed(mvtec, change, reason):
    change(mvtec / "ground_truth/broken/001_mask.png")
    (_, kinds, masks), bad = load_folder(mvtec, size=8, on_bad="skip")
    assert kinds.tolist() == ["good", "a_scratch", "broken"]
    assert masks is not None
    assert len(masks) == 3
    assert [file.path.name for file in bad] == ["001.png"]
    assert reason in bad[0].reason


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


def png(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (9_500, 9_500), (8_950, 8_950)])
def test_decompression_bombs_are_not_opened(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    with pytest.raises(UserError, match=r"bomb.png: .*(pixels)"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_of_pixels_is_a_constant(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", picture(0))
    monkeypatch.setattr(folder, "MAX_PIXELS", 599)
    with pytest.raises(UserError, match="30 x 20 is more than 599 pixels"):
        read_image(path)


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


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX names, links and pipes")
def test_hostile_names_links_and_pipes(tmp_path):
    good = tmp_path / "train/good"
    for seed, name in enumerate(["line\nbreak.png", "шуруп ⚙️.png", "-rf.png", "a'\"b.png", " .png"]):
        save(good / name, picture(seed))
    (good / "loop").symlink_to(good)
    (good / "self.png").symlink_to("self.png")
    (good / "dangling.png").symlink_to("nothing.png")
    os.mkfifo(good / "pipe.png")
    (good / "folder.png").mkdir()
    (data, _, _), bad = load_folder(tmp_path, size=8, on_bad="skip")
    assert len(data.train) == 5
    assert {file.path.name for file in bad} == {"loop", "self.png", "dangling.png", "pipe.png", "folder.png"}
    (good / "line\nbreak.png").write_text("no image")
    with pytest.raises(UserError) as caught:
        load_folder(tmp_path, size=8)
    assert r"line\nbreak.png" in str(caught.value)
    assert "line\nbreak" not in str(caught.value)


def test_mask_of_any_value_but_black(tmp_path):
    path = save(tmp_path / "m.png", np.array([[0, 1], [255, 0]], np.uint8))
    assert read_mask(path, image_shape=(2, 2)).tolist() == [[False, True], [True, False]]
