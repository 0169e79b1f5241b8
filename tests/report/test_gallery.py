from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.report import gallery


@pytest.fixture
def test_set() -> dict[str, np.ndarray]:
    """Twenty tiny RGB images with reconstructions, maps, scores and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    reconstructed = rng.uniform(-1.2, 1.2, images.shape).astype(np.float32)
    maps = rng.uniform(0, 1, images.shape[:3]).astype(np.float32)
    return {
        "images": images,
        "reconstructed": reconstructed,
        "maps": maps,
        "scores": rng.permutation(20).astype(np.float32) / 8,
        "labels": np.arange(20) % 3 == 0,
    }


@pytest.mark.parametrize(
    ("scores", "count", "highest", "lowest"),
    [
        ([0.1, 0.9, 0.5, 0.3, 0.7], 2, [1, 4], [0, 3]),
        ([5.0, 5.0, 5.0, 5.0, 5.0], 2, [0, 1], [3, 4]),  # equal scores keep their order
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 2, [1, 3], [2, 4]),
        ([0.1, 0.9, 0.5], 8, [1, 2], [0]),  # none twice
        ([0.4], 8, [0], []),
        ([], 8, [], []),
    ],
)
def test_extremes_are_in_order_and_apart(scores: list, count: int, highest: list, lowest: list):
    most, least = gallery.extremes(np.array(scores, dtype=np.float32), count)
    assert (most.tolist(), least.tolist()) == (highest, lowest)


def test_extremes_of_extremes_are_the_same_again():
    for seed in range(20):
        scores = np.random.default_rng(seed).integers(0, 4, 30).astype(np.float32)
        chosen = np.concatenate(gallery.extremes(scores, 5))
        np.testing.assert_array_equal(np.concatenate(gallery.extremes(scores[chosen], 5)), np.arange(10))


def test_gallery_captions_and_pixels(tmp_path: Path, drawn: list[Figure], test_set: dict[str, np.ndarray]):
    path = tmp_path / "gallery.png"
    gallery.gallery(path, **test_set, count=4)
    # Across: names, four tiles of 96 with 6 between, margin. Down, twice: heading, three rows, caption; then the scale.
    with Image.open(path) as image:
        assert image.size == (160 + 4 * 102 - 6 + 24, 2 * (44 + 3 * 102 + 48) + 60)
    assert path.stat().st_size < 200_000
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    highest, lowest = gallery.extremes(test_set["scores"], 4)
    assert [text for text in texts if text[0].isdigit()] == [
        "2.38",
        "2.25",
        "2.12",
        "2.00",
        "0.00",
        "0.125",
        "0.250",
        "0.375",
    ]
    names = ["abnormal" if test_set["labels"][index] else "normal" for index in (*highest, *lowest)]
    assert [text for text in texts if text in ("normal", "abnormal")] == names
    # Every pixel of an image is a square of three by three: the first tile is the image with the highest score.
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    first = test_set["images"][highest[0]]
    np.testing.assert_array_equal(pixels[44 : 44 + 96, 160 : 160 + 96], first.repeat(3, axis=0).repeat(3, axis=1))
    below = np.rint((np.clip(test_set["reconstructed"][highest[0]], -1, 1) + 1) * 127.5).astype(np.uint8)
    np.testing.assert_array_equal(pixels[146 : 146 + 96, 160 : 160 + 96], below.repeat(3, axis=0).repeat(3, axis=1))


def test_gallery_of_the_extremes_alone_is_the_same_picture(tmp_path: Path, test_set: dict[str, np.ndarray]):
    chosen = np.concatenate(gallery.extremes(test_set["scores"], 3))
    gallery.gallery(tmp_path / "all.png", **test_set, count=3)
    gallery.gallery(tmp_path / "chosen.png", **{name: values[chosen] for name, values in test_set.items()}, count=3)
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "chosen.png").read_bytes()


def test_gallery_maps_share_one_scale(tmp_path: Path, drawn: list[Figure], test_set: dict[str, np.ndarray]):
    test_set["maps"][:] = test_set["scores"][:, None, None]  # each map one colour: its score
    gallery.gallery(tmp_path / "gallery.png", **test_set, count=2)
    shown = drawn[0].axes[0].images
    colours = [tuple(shown[place].get_array()[0, 0]) for place in (4, 5, 10, 11)]  # the third row of either block
    assert len(set(colours)) == 4
    assert colours[2][:3] == (0, 0, 3)  # inferno's first colour for 0, the lowest score
    bar = drawn[0].axes[1]
    assert bar.get_xlim() == (0, pytest.approx(test_set["scores"].max()))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gallery_of_few_grey_images_without_any_anomaly(tmp_path: Path, count: int):
    grey = np.full((count, 8, 8, 1), 200, dtype=np.uint8)
    zeros = np.zeros((count, 8, 8), dtype=np.float32)
    gallery.gallery(tmp_path / "gallery.png", grey, grey, zeros, zeros[:, 0, 0], np.zeros(count, dtype=bool))
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.convert("RGB").getpixel((200, 90)) == (200, 200, 200)
        assert picture.height == (1 if count == 1 else 2) * (44 + 3 * 102 + 48) + 60


def test_gallery_of_nothing_is_refused(tmp_path: Path, test_set: dict[str, np.ndarray]):
    with pytest.raises(UserError, match="nothing to show of 20 images with a count of 0"):
        gallery.gallery(tmp_path / "gallery.png", **test_set, count=0)
    with pytest.raises(UserError, match="nothing to show of 0 images"):
        gallery.gallery(tmp_path / "gallery.png", **{name: values[:0] for name, values in test_set.items()})
