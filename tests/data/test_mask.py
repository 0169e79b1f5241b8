import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photographs import save, tiff
from PIL import Image, ImageDraw

from sagan_jax.data.mask import decode_mask, read_mask, reduce
from sagan_jax.errors import UserError


def scratch(width=3, size=1024):
    """A photograph's mask with one thin line, slanting."""
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).line((300, 401, 420, 440), fill=255, width=width)
    return np.asarray(image)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_any_value_but_black(tmp_path, value):
    path = save(tmp_path / "m.png", np.array([[0, value], [value, 0]], np.uint8))
    assert read_mask(path, image_shape=(2, 2)).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_a_mask_in_which_zero_is_white_marks_where_it_is_zero(tmp_path, kind):
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    samples = np.array([[0, top]], np.dtype(kind).newbyteorder("<"))
    sort = {"sample_format": 3} if kind == "float32" else {}
    content = tiff(samples.tobytes(), 2, 1, bits=8 * samples.itemsize, photometric=0, **sort)
    (tmp_path / "m.tif").write_bytes(content)
    assert read_mask(tmp_path / "m.tif", image_shape=(1, 2)).tolist() == [[True, False]]


def test_a_mask_of_what_is_no_number_is_refused(tmp_path):
    path = save(tmp_path / "m.tif", np.array([[np.nan, 1]], np.float32))
    with pytest.raises(UserError, match="values that are not numbers"):
        read_mask(path, image_shape=(1, 2))


def test_the_darkest_colour_and_the_smallest_sixteen_bit_number_mark(tmp_path):
    colour = np.zeros((1, 2, 3), np.uint8)
    colour[0, 0] = 0, 0, 1
    sixteen = np.array([[1, 0]], np.uint16)
    seen = np.array([[[0, 9, 0, 255], [9, 9, 9, 0]]], np.uint8)  # the second is transparent: nothing is drawn there
    for name, values in (("c.png", colour), ("s.png", sixteen), ("a.png", seen)):
        assert read_mask(save(tmp_path / name, values), image_shape=(1, 2)).tolist() == [[True, False]], name


def test_a_scratch_of_three_pixels_is_there_after_reducing_eightfold(tmp_path):
    path = save(tmp_path / "m.png", scratch())
    found = read_mask(path, image_shape=(1024, 1024), size=128)
    blocks = (scratch() > 0).reshape(128, 8, 128, 8).any((1, 3))
    np.testing.assert_array_equal(found, blocks)
    assert found.any()


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 29),
    st.integers(0, 29),
)
def test_no_pixel_is_ever_lost_and_none_marked_far_off(height, width, rows, columns, row, column):
    row, column = row % height, column % width
    mask = np.zeros((height, width), bool)
    mask[row, column] = True
    found = np.argwhere(reduce(mask, (rows, columns)))
    assert len(found)
    # What a pixel of the reduced mask covers, as fractions of the sides, overlaps what the marked one covers.
    for (r, c), (n, m) in ((place, (rows, columns)) for place in found):
        assert r / n < (row + 1) / height
        assert row / height < (r + 1) / n
        assert c / m < (column + 1) / width
        assert column / width < (c + 1) / m


def test_masks_of_one_size_and_enlarged_by_whole_numbers_stay_as_they_are():
    mask = np.random.default_rng(0).integers(0, 2, (7, 5)).astype(bool)
    np.testing.assert_array_equal(reduce(mask, (7, 5)), mask)
    np.testing.assert_array_equal(reduce(mask, (14, 15)), np.kron(mask, np.ones((2, 3), bool)))


def test_the_ringing_of_a_jpeg_is_not_marked(tmp_path):
    drawn = np.zeros((64, 64), np.uint8)
    drawn[20:41, 13:37] = 255
    path = save(tmp_path / "m.jpg", drawn, quality=60)
    assert ((np.asarray(Image.open(path)) > 0) != (drawn > 0)).sum() > 50
    found, halved = decode_mask(path, image_shape=(64, 64))
    assert halved
    np.testing.assert_array_equal(found, drawn > 0)
    again = save(tmp_path / "m.png", np.asarray(Image.open(path)))  # a PNG now, its greys still those of the JPEG
    np.testing.assert_array_equal(decode_mask(again, image_shape=(64, 64)).pixels, drawn > 0)
    assert decode_mask(again, image_shape=(64, 64)).halved
    assert not decode_mask(save(tmp_path / "clean.png", drawn), image_shape=(64, 64)).halved


def test_a_dark_jpeg_marks_nothing_and_is_refused(tmp_path):
    path = save(tmp_path / "m.jpg", np.full((8, 8), 100, np.uint8))
    with pytest.raises(UserError, match=r"m.jpg: the mask .* marks nothing; it has soft greys"):
        read_mask(path, image_shape=(8, 8))


def test_several_masks_of_one_image_are_taken_together(tmp_path):
    files = [save(tmp_path / f"{i}.png", np.eye(2, dtype=np.uint8)[i : i + 1] * 255) for i in range(2)]
    assert read_mask(files, image_shape=(1, 2)).tolist() == [[True, True]]


def test_the_soft_greys_of_a_mask_of_sixteen_bits_are_halved_as_those_of_eight_and_labels_are_not(tmp_path):
    soft = np.asarray(Image.fromarray(scratch(40)).resize((128, 128), Image.Resampling.BICUBIC))
    eight = decode_mask(save(tmp_path / "8.png", soft), image_shape=(128, 128))
    sixteen = decode_mask(save(tmp_path / "16.png", soft.astype(np.uint16) * 257), image_shape=(128, 128))
    assert (eight.halved, sixteen.halved) == (True, True)
    assert (eight.pixels != sixteen.pixels).mean() < 0.01
    labels = decode_mask(save(tmp_path / "l.png", np.arange(16, dtype=np.uint16).reshape(4, 4)), image_shape=(4, 4))
    assert labels.pixels.sum() == 15
