"""Synthetic defects for sets to develop on: seen, marked where they are, of no image that training sees."""

import numpy as np
import pytest
from PIL import Image

from experiments.defects import DEFECTS, main, with_defect
from sagan_jax.data.folder import load_folder


@pytest.fixture
def smooth():
    """uint8 [32, 32, 3], a gradient with texture."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 190, 32)[:, None, None] + np.linspace(-30, 30, 32)[None, :, None]
    return np.clip(ramp + rng.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_seen_and_marked_where_it_is(kind, smooth):
    spoiled, mask = with_defect(np.random.default_rng(1), smooth, kind)
    assert (spoiled.shape, spoiled.dtype, mask.shape) == (smooth.shape, np.uint8, (32, 32))
    change = np.abs(spoiled.astype(int) - smooth.astype(int)).max(axis=-1)
    assert mask.any()
    assert change[~mask].max() <= 8
    assert change[mask].min() >= 7


def test_the_folder_is_read_as_a_set_with_masks_and_no_training_image_is_in_the_test(tmp_path, capsys):
    folder = tmp_path / "digits"
    flags = ["--source=digits", "--normal=3", "--size=16", "--train-images=40", "--test-images=30", f"--out={folder}"]
    assert main(flags) == 0
    assert "40 and 30 images written" in capsys.readouterr().out
    split, _ = load_folder(folder, size=16)
    assert len(split.train) == 40
    assert int(split.test_labels.sum()) == 20
    assert set(np.unique(split.test_kinds)) == {"good", *DEFECTS}
    assert np.asarray(split.test_masks)[split.test_labels].any(axis=(1, 2)).all()
    trained = {image.tobytes() for image in np.asarray(split.train)}
    assert not any(image.tobytes() in trained for image in np.asarray(split.test)[~split.test_labels])

    assert main(flags) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "message"), [("--normal=x", "digits has '0', '1'"), ("--train-images=5000", "digits has 183 such images")]
)
def test_what_a_set_does_not_have_is_refused(flag, message, tmp_path, capsys):
    arguments = ["--source=digits", "--normal=3", "--size=16", f"--out={tmp_path / 'x'}", flag]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_negative_seed_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--source=digits", "--normal=3", "--size=16", f"--out={tmp_path / 'x'}", "--seed=-1"])
    assert ended.value.code == 2
    assert "seed is -1; it must be at least 0" in capsys.readouterr().err


def test_squares_of_a_photograph_for_training_and_test_share_no_pixel(tmp_path):
    data = pytest.importorskip("skimage.data")
    assert main(["--source=brick", f"--out={tmp_path / 'brick'}", "--train-images=9", "--test-images=9"]) == 0
    photograph = np.asarray(data.brick())
    for part, left, right in (("train", 0, 307), ("test", 307, 512)):
        for path in (tmp_path / "brick" / part / "good").iterdir():
            square = np.asarray(Image.open(path))
            windows = np.lib.stride_tricks.sliding_window_view(photograph[:, left:right], (64, 64))
            assert (windows[:, :, 0] == square[0]).all(axis=-1).any()


def test_a_photograph_of_ones_own_is_cut_into_squares(tmp_path, smooth, capsys):
    file = tmp_path / "cloth.png"
    Image.fromarray(np.tile(smooth, (2, 4, 1))).save(file)  # 64 x 128 pixels, of which 77 columns are for training
    few = ["--train-images=4", "--test-images=6", f"--source={file}"]
    assert main([*few, "--size=32", f"--out={tmp_path / 'cloth'}"]) == 0
    split, _ = load_folder(tmp_path / "cloth", size=32)
    assert np.asarray(split.train).shape == (4, 32, 32, 3)
    assert int(split.test_labels.sum()) == 4
    assert main([*few, "--size=64", f"--out={tmp_path / 'too_large'}"]) == 2
    assert "128 x 64 pixels: too few for squares of 64" in capsys.readouterr().err
    assert not (tmp_path / "too_large").exists()


def test_where_a_defect_cannot_be_seen_another_is_drawn_and_no_mask_is_empty(tmp_path, capsys):
    rng = np.random.default_rng(0)
    plain = np.full((64, 200, 3), 90, np.uint8)  # a smear, a swirl or a piece turned round shows nothing here
    Image.fromarray(plain).save(tmp_path / "plain.png")
    assert not with_defect(rng, plain, "smear")[1].any()
    flags = [f"--source={tmp_path / 'plain.png'}", "--size=32", "--train-images=8", "--test-images=24"]
    assert main([*flags, f"--out={tmp_path / 'set'}"]) == 0
    masks = list((tmp_path / "set/ground_truth").rglob("*.png"))
    assert len(masks) == 16
    assert all(np.asarray(Image.open(mask)).any() for mask in masks)
