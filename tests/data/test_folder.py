import math
import os
from pathlib import Path

import numpy as np
import pytest
from photographs import picture, save
from PIL import Image

from sagan_jax.data.folder import load_folder
from sagan_jax.data.image_file import Reading, read_image
from sagan_jax.data.layout import scan
from sagan_jax.errors import UserError


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
    data, unread = load_folder(mvtec, size=(20, 30))
    assert unread == []
    assert data.name == "bottle"
    assert data.abnormal == "a_scratch,broken"
    assert data.train.shape == (3, 20, 30, 3)
    assert data.train.dtype == np.uint8
    assert data.test_kinds.tolist() == ["good", "a_scratch", "broken", "broken"]
    assert data.test_labels.tolist() == [False, True, True, True]
    assert data.train_ids.tolist() == [f"train/good/{i:03d}.png" for i in range(3)]
    assert data.test_ids[1] == "test/a_scratch/000.png"
    np.testing.assert_array_equal(data.train[2], picture(2))
    np.testing.assert_array_equal(data.test_masks, np.stack([mark(row) > 0 for row in (99, 5, 0, 1)]))


@pytest.mark.parametrize("memory", [math.inf, 0.0])
def test_masks_are_reduced_and_the_notes_say_so(mvtec, memory):
    data, _ = load_folder(mvtec, size=(10, 15), memory=memory)
    assert data.test_masks is not None
    np.testing.assert_array_equal(data.test_masks[1], mark(5)[1::2, 1::2] > 0)
    assert data.test_masks[0].dtype == bool
    assert not data.test_masks[0].any()
    assert data.notes == ("masks are reduced to 10 x 15: a pixel is abnormal if anything marked falls on it",)


@pytest.mark.parametrize("memory", [math.inf, 0.0])
def test_scratches_outlive_any_reduction_and_masks_saved_as_jpeg_are_told_of(mvtec, memory):
    thin = np.zeros((20, 30), np.uint8)
    thin[7, 11] = 255
    save(mvtec / "ground_truth/broken/000_mask.png", thin)
    (mvtec / "ground_truth/broken/001_mask.png").unlink()
    save(mvtec / "ground_truth/broken/001_mask.jpg", mark(0))
    data, _ = load_folder(mvtec, size=2, memory=memory)
    assert data.test_masks is not None
    assert data.test_masks[2].tolist() == [[True, False], [False, False]]
    assert len(data.notes) == 2
    assert "soft greys" in data.notes[1]
    assert "masks of 1 images" in data.notes[1]
    assert "test/broken/001.png" not in data.notes[0]
    assert data.notes[1].endswith(": 001.png")


def test_ganomaly_layout(tmp_path):
    for i, place in enumerate(["train/0.normal/a.png", "test/0.normal/b.png", "test/1.abnormal/c.png"]):
        save(tmp_path / place, picture(i))
    data, _ = load_folder(tmp_path, size=8, channels=1)
    assert data.test_kinds.tolist() == ["good", "1.abnormal"]
    assert data.test_masks is None
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
    data, unread = load_folder(tmp_path, size=8)
    assert data.train_ids.tolist() == ["a.bmp", "b.PNG", "c.webp", "d.tif"]
    assert data.test.shape == (0, 8, 8, 3)
    assert data.test_masks is None
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
    with pytest.raises(UserError, match=r"found bad/, x.png; allowed are\n.*train/good.*\n(.*\n)*.*0.normal"):
        scan(tmp_path)


def test_images_of_formats_that_are_not_read_are_counted_and_named(tmp_path):
    for name in ("a.gif", "b.jp2"):
        save(tmp_path / "data" / name, picture(0))
    with pytest.raises(UserError, match=r"formats that are not read: 2 \(a.gif, b.jp2\); allowed are PNG, JPEG"):
        scan(tmp_path / "data")
    save(tmp_path / "data/c.png", picture(1))
    save(tmp_path / "data/d.png", picture(2)).rename(tmp_path / "data/d")
    data, unread = load_folder(tmp_path / "data", size=8)
    assert data.train_ids.tolist() == ["c.png", "d"]
    assert [file.path.name for file in unread] == ["a.gif", "b.jp2"]
    assert data.notes == ("images of formats that are not read were not used: 2 (a.gif, b.jp2)",)


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
    data, bad = load_folder(mvtec, size=8, on_bad="skip")
    assert [file.path.name for file in bad] == ["9.png", "9.jpg"]
    assert data.test_masks is not None
    assert len(data.train) == 3
    assert len(data.test) == len(data.test_kinds) == len(data.test_masks) == 4
    with pytest.raises(UserError, match="allowed are 'refuse' and 'skip'"):
        load_folder(mvtec, size=8, on_bad="ignore")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda mask: save(mask, np.zeros((20, 30), np.uint8)), "marks nothing"),
        (lambda mask: save(mask, mark(0)[:10]), "mask is 10 x 30 but its image 20 x 30"),
        (lambda mask: mask.write_bytes(mask.read_bytes()[:60]), "damaged or cut short"),
    ],
)
@pytest.mark.parametrize("memory", [math.inf, 0.0])
def test_masks_that_cannot_be_believed_are_refused_or_skipped_without_their_images(mvtec, change, reason, memory):
    change(mvtec / "ground_truth/broken/001_mask.png")
    with pytest.raises(UserError, match=f"0 of 7 images and 1 masks cannot be used(.|\n)*001_mask.png: .*{reason}"):
        load_folder(mvtec, size=8)
    data, bad = load_folder(mvtec, size=8, on_bad="skip", memory=memory)
    assert data.test_kinds.tolist() == ["good", "a_scratch", "broken", "broken"]
    assert data.test_masks is not None
    assert data.test_mask_known.tolist() == [True, True, True, False]
    assert not data.test_masks[3].any()
    assert [file.path.name for file in bad] == ["001_mask.png"]
    assert "1 of 3 abnormal test images have no mask that can be used" in data.notes[1]
    assert data.notes[1].endswith("alone: broken 1")


def test_a_kind_without_masks_stays_in_the_test_set_and_out_of_pixel_metrics(mvtec):
    (mvtec / "ground_truth/a_scratch/000_mask.png").unlink()
    (mvtec / "ground_truth/a_scratch").rmdir()
    data, bad = load_folder(mvtec, size=8)
    assert bad == []
    assert data.test_kinds.tolist() == ["good", "a_scratch", "broken", "broken"]
    assert data.test_mask_known.tolist() == [True, False, True, True]


def test_masks_may_be_called_as_their_images_and_may_be_several(mvtec):
    truth = mvtec / "ground_truth"
    (truth / "broken/000_mask.png").rename(truth / "broken/000.png")
    for i in range(2):
        save(truth / f"a_scratch/000/{i:03d}.png", mark(3 * i))
    (truth / "a_scratch/000_mask.png").unlink()
    (truth / "broken/stray_mask.png").write_bytes((truth / "broken/000.png").read_bytes())
    (truth / "nothing").mkdir()
    for memory in (math.inf, 0.0):
        data, unread = load_folder(mvtec, size=(20, 30), memory=memory)
        assert data.test_mask_known.all()
        assert data.test_masks is not None
        np.testing.assert_array_equal(data.test_masks[1], (mark(0) | mark(3)) > 0)
        np.testing.assert_array_equal(data.test_masks[2], mark(0) > 0)
        assert [file.path.name for file in unread] == ["stray_mask.png", "nothing"]


def test_the_layouts_words_may_be_in_capitals_and_what_is_not_used_is_named(mvtec):
    for old, new in (("train/good", "train/Good"), ("train", "Train"), ("test/good", "test/GOOD"), ("test", "Test")):
        (mvtec / old).rename(mvtec / new)
    (mvtec / "ground_truth").rename(mvtec / "Ground_Truth")
    save(mvtec / "validation/good/000.png", picture(50))
    save(mvtec / "Test/loose.png", picture(51))
    save(mvtec / "Train/loose.png", picture(52))
    save(mvtec / "loose.png", picture(53))
    data, unread = load_folder(mvtec, size=8)
    assert data.test_kinds.tolist() == ["good", "a_scratch", "broken", "broken"]
    assert data.test_mask_known.all()
    assert [str(file.path.relative_to(mvtec)) for file in unread] == [
        "validation",
        "loose.png",
        "Train/loose.png",
        "Test/loose.png",
    ]
    assert "held-out images are drawn from the training images" in unread[0].reason


@pytest.mark.parametrize(
    "name", ["normal", "Nominal", "OK", "pass", "defect-free", "Defect_Free", "no defect", "0.normal"]
)
@pytest.mark.parametrize("word", ["good", "ok"])
def test_a_kind_that_is_called_normal_is_asked_about_in_every_layout(mvtec, word, name):
    if name.lower() == word:
        return
    (mvtec / "train/good").rename(mvtec / "train" / word)
    (mvtec / "test/good").rename(mvtec / "test" / name)
    with pytest.raises(UserError, match=f"test/{name} would be a kind of anomaly; call it test/{word} if"):
        scan(mvtec)


@pytest.mark.parametrize("memory", [math.inf, 0.0])
def test_a_test_set_without_normal_images_is_read_and_told_of(mvtec, memory):
    (mvtec / "test/good").rename(mvtec / "test/sans")
    data, _ = load_folder(mvtec, size=(20, 30), memory=memory)
    assert data.test_labels.all()
    assert data.notes[0] == (
        "no test image is normal: all 4 count as abnormal, by the names of their kinds (a_scratch, broken, sans)"
    )


def test_a_name_that_could_be_either_is_refused(mvtec):
    save(mvtec / "test/ok/000.png", picture(50))
    with pytest.raises(UserError, match="test/ok would be a kind of anomaly; call it test/good if"):
        scan(mvtec)
    (mvtec / "test/ok").rename(mvtec / "test/Good")
    if len(list((mvtec / "test").iterdir())) == 4:  # capitals matter to this file system
        with pytest.raises(UserError, match="differ in capitals alone"):
            scan(mvtec)


def test_btad_layout(tmp_path):
    save(tmp_path / "train/ok/0.bmp", picture(0))
    save(tmp_path / "test/ok/1.bmp", picture(1))
    save(tmp_path / "test/ko/2.bmp", picture(2))
    save(tmp_path / "ground_truth/ko/2.png", mark(1))
    data, unread = load_folder(tmp_path, size=(20, 30))
    assert unread == []
    assert data.test_kinds.tolist() == ["good", "ko"]
    assert data.test_labels.tolist() == [False, True]
    np.testing.assert_array_equal(data.test_masks[1], mark(1) > 0)


@pytest.fixture
def candle(tmp_path):
    rows = ["object,split,label,image,mask"]
    for i, (split, label) in enumerate(
        [("train", "normal"), ("test", "anomaly"), ("train", "normal"), ("test", "normal")]
    ):
        folder = "Normal" if label == "normal" else "Anomaly"
        mask = "" if label == "normal" else f"candle/Data/Masks/Anomaly/{i}.png"
        save(tmp_path / f"candle/Data/Images/{folder}/{i}.JPG", picture(i))
        rows.append(f"candle,{split},{label},candle/Data/Images/{folder}/{i}.JPG,{mask}")
    save(tmp_path / "candle/Data/Masks/Anomaly/1.png", mark(2) // 255)
    rows.append("other,train,normal,other/Data/Images/Normal/0.JPG,")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text("\n".join(rows))
    return tmp_path / "candle"


def test_images_of_visa_may_be_links_to_files_elsewhere(candle, tmp_path):
    image = candle / "Data/Images/Normal/0.JPG"
    image.rename(tmp_path / "kept.jpg")
    image.symlink_to(tmp_path / "kept.jpg")
    data, _ = load_folder(candle, size=(20, 30))
    assert data.train_ids.tolist() == ["Data/Images/Normal/0.JPG", "Data/Images/Normal/2.JPG"]


def test_visa_layout(candle):
    save(candle / "Data/Images/Normal/new.JPG", picture(9))
    data, unread = load_folder(candle, size=(20, 30))
    assert data.train_ids.tolist() == ["Data/Images/Normal/0.JPG", "Data/Images/Normal/2.JPG"]
    assert data.test_ids.tolist() == ["Data/Images/Normal/3.JPG", "Data/Images/Anomaly/1.JPG"]
    assert data.test_kinds.tolist() == ["good", "anomaly"]
    np.testing.assert_array_equal(data.test_masks[1], mark(2) > 0)
    assert [file.path.name for file in unread] == ["new.JPG"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("candle,train,normal", "candle,train,anomaly", "training images are normal ones"),
        ("candle/Data/Images/Normal/0", "../elsewhere/0", "names ../elsewhere/0.JPG, which is not in"),
        ("label,", "lable,", "lacks the columns label"),
        ("candle,", "candles,", "has no images of candle"),
        ("candle,test,anomaly", "candle,val,anomaly", r"1cls\.csv, line 3: the split is 'val'; allowed are"),
        ("candle,test,anomaly", "candle,,anomaly", r"line 3: nothing under split"),
        ("candle,test,anomaly", "candle,test,", r"line 3: nothing under label"),
        ("candle,test,anomaly", "candle,test, ", r"line 3: nothing under label"),
        ("candle,test,anomaly", "candle,test,Good", r"line 3: the label is 'good'; it must be 'normal' if"),
        ("candle,test,anomaly", "candle,test,no-defect", r"line 3: the label is 'no-defect'"),
        ("/0.JPG,", "/0.JPG", r"line 2: nothing under mask"),
        ("/0.JPG,", "/0.JPG,,", r"line 2: more cells than columns"),
        ("/2.JPG", "/0.JPG", r"has images more than once: candle/Data/Images/Normal/0\.JPG"),
    ],
)
def test_a_table_of_visa_that_cannot_be_believed_is_refused(candle, old, new, reason):
    table = candle.parent / "split_csv/1cls.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(UserError, match=reason):
        scan(candle)
    table.unlink()
    with pytest.raises(UserError, match=r"1cls.csv is not there; .* a category of VisA"):
        scan(candle)


def test_the_words_of_a_table_of_visa_may_be_in_capitals(candle):
    table = candle.parent / "split_csv/1cls.csv"
    text = table.read_text().replace("candle,test,anomaly", "Candle,TEST, Anomaly ").replace(",train,n", ",Train,N")
    table.write_text(text)
    data, _ = load_folder(candle, size=(20, 30))
    assert len(data.train) == 2
    assert data.test_kinds.tolist() == ["good", "anomaly"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX names")
def test_names_that_are_no_text_become_names_that_are(tmp_path):
    root = os.path.join(os.fsencode(tmp_path), b"caf\xe9")  # noqa: PTH118 (paths of bytes)
    for i, place in enumerate(["train/good/0.png", "test/good/1.png", "test/b\udce9/2.png"]):
        save(Path(os.fsdecode(root)) / place, picture(i))
    data, _ = load_folder(os.fsdecode(root), size=8)
    assert (data.name, data.abnormal) == (r"caf\udce9", r"b\udce9")
    assert data.test_kinds.tolist() == ["good", r"b\udce9"]


def sixteen(seed, top=4000):
    return np.random.default_rng(seed).integers(0, top, (20, 30)).astype(np.uint16)


@pytest.mark.parametrize("memory", [math.inf, 0.0])
def test_the_range_of_a_twelve_bit_camera_is_found_from_normal_training_images(tmp_path, memory):
    for i, place in enumerate(["train/good/0.png", "train/good/1.png", "test/good/2.png", "test/bad/3.png"]):
        save(tmp_path / place, sixteen(i))
    data, _ = load_folder(tmp_path, size=(20, 30), channels=1, memory=memory)
    assert data.reading == (80_000_000, 4095, 2)
    np.testing.assert_array_equal(data.train[0][..., 0], np.rint(sixteen(0) * (255 / 4095)).astype(np.uint8))
    np.testing.assert_array_equal(data.test[1][..., 0], np.rint(sixteen(3) * (255 / 4095)).astype(np.uint8))
    greatest = max(sixteen(0).max(), sixteen(1).max())
    said = f"white is 4095 in 16-bit grey files, as the greatest value of the normal training images is {greatest};"
    assert data.notes[0].startswith(said)
    wide, _ = load_folder(tmp_path, size=8, white=65_535, memory=memory)
    assert wide.reading.white == 65_535
    assert wide.train[0].max() <= 16
    assert wide.notes == ("the training images are nearly black: the brightest value of any of them is 16 of 255",)


def test_a_test_image_beyond_the_range_is_refused_not_clipped(tmp_path):
    save(tmp_path / "train/good/0.png", sixteen(0))
    save(tmp_path / "test/bad/1.png", sixteen(1, 60_000))
    with pytest.raises(UserError, match=r"1.png: values from .*; allowed are 0 to 4095"):
        load_folder(tmp_path, size=8)


@pytest.mark.parametrize("memory", [math.inf, 0.0])
def test_the_limit_of_pixels_goes_with_the_images(mvtec, memory):
    with pytest.raises(UserError, match=r"7 of 7 images cannot be used(.|\n)*30 x 20 is more than 500 pixels"):
        load_folder(mvtec, size=8, max_pixels=500)
    data, _ = load_folder(mvtec, size=8, max_pixels=600, memory=memory)
    assert data.reading == (600, 65_535, 2)


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
    data, bad = load_folder(tmp_path, size=8, on_bad="skip")
    assert len(data.train) == 5
    assert {file.path.name for file in bad} == {"loop", "self.png", "dangling.png", "pipe.png", "folder.png"}
    (good / "line\nbreak.png").write_text("no image")
    with pytest.raises(UserError) as caught:
        load_folder(tmp_path, size=8)
    assert r"line\nbreak.png" in str(caught.value)
    assert "line\nbreak" not in str(caught.value)


def test_copies_among_the_training_images_are_told_of_for_they_lower_the_threshold(mvtec):
    save(mvtec / "train/good/copy.bmp", picture(1))
    data, _ = load_folder(mvtec, size=(20, 30))
    assert len(data.train) == 4
    assert data.notes[0].startswith(
        "1 of 4 normal training images show exactly what another does (copy.bmp); the thres"
    )


def test_an_image_cannot_be_both_normal_and_abnormal(mvtec):
    save(mvtec / "test/broken/001.png", picture(10))
    with pytest.raises(UserError, match=r"1 test images are both .*test/broken/001\.png = test/good/000\.png"):
        load_folder(mvtec, size=8)


def test_accents_may_be_taken_apart_in_the_names_of_masks_as_macos_does(mvtec):
    for name, new in (("test/broken/000.png", "Ü.png"), ("ground_truth/broken/000_mask.png", "U\u0308_mask.png")):
        (mvtec / name).rename((mvtec / name).with_name(new))
    data, unread = load_folder(mvtec, size=8)
    assert unread == []
    assert data.test_mask_known.all()


def test_two_images_do_not_share_a_mask_because_their_names_differ_in_the_suffix_alone(mvtec):
    save(mvtec / "test/broken/000.bmp", picture(40))
    with pytest.raises(UserError, match=r"000\.bmp and 000\.png have one mask, .*000_mask\.png"):
        scan(mvtec)


def test_folders_that_systems_make_are_no_part_of_the_layout(mvtec):
    for folder in (".", "train", "train/good", "test", "test/broken", "ground_truth/broken"):
        save(mvtec / folder / "@eaDir/000.png/SYNOFILE_THUMB_M.png", picture(0))
    data, unread = load_folder(mvtec, size=8)
    assert unread == []
    assert data.test_kinds.tolist() == ["good", "a_scratch", "broken", "broken"]


def test_masks_that_are_drawn_the_other_way_round_are_told_of(mvtec):
    for mask in (mvtec / "ground_truth").rglob("*.png"):
        with Image.open(mask) as drawn:
            save(mask, 255 - np.asarray(drawn))
    data, _ = load_folder(mvtec, size=8)
    assert "the masks of 3 of 3 images mark more than half of them (000.png, 000.png, 001.png)" in data.notes[1]
    assert "turn the masks over" in data.notes[1]


def test_large_jpegs_are_decoded_smaller_and_compared_whole(tmp_path):
    image = picture(0, (200, 300, 3))
    save(tmp_path / "train/good/a.jpg", image)
    path = save(tmp_path / "test/good/b.jpg", picture(1, (200, 300, 3)))
    for memory in (np.inf, 0.0):  # in memory, and left on disk
        data, _ = load_folder(tmp_path, size=16, memory=memory)
        expected = read_image(path, size=16, reading=Reading(jpeg_margin=2))
        np.testing.assert_array_equal(data.test[0], expected)
    data, _ = load_folder(tmp_path, size=16, jpeg_margin=0)
    np.testing.assert_array_equal(data.test[0], read_image(path, size=16))
    with Image.open(tmp_path / "train/good/a.jpg") as decoded:
        decoded.save(tmp_path / "test/good/same.png")
    with pytest.raises(UserError, match="test images are training images"):
        load_folder(tmp_path, size=16)


def test_test_images_of_sixteen_bits_among_those_of_eight_are_refused_until_white_is_said(tmp_path):
    for i in range(4):
        save(tmp_path / f"train/good/{i}.png", picture(i)[..., 0])
        save(tmp_path / f"test/good/{i}.png", picture(10 + i)[..., 0].astype(np.uint16) * 16)
    with pytest.raises(UserError, match=r"test images have 16 bits .* --white=4095"):
        load_folder(tmp_path, size=16)
    split, _ = load_folder(tmp_path, size=16, white=4095)
    assert abs(float(split.test.mean()) - float(split.train.mean())) < 40


def test_an_image_in_the_wrong_place_is_not_said_to_be_of_a_format_that_is_not_read(tmp_path):
    for i in range(2):
        save(tmp_path / f"train/good/{i}.png", picture(i))
    save(tmp_path / "train/x.png", picture(9))
    split, unused = load_folder(tmp_path, size=16)
    assert [file.path.name for file in unused] == ["x.png"]
    assert not any("formats that are not read" in note for note in split.notes)
