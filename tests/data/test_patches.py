import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagan_jax.data import patches
from sagan_jax.errors import UserError


def test_windows_are_worked_by_hand_and_the_last_is_flush():
    corners = patches.windows(10, 7, 4, 3)
    assert corners.tolist() == [[r, c] for r in (0, 3, 6) for c in (0, 3)]
    assert patches.windows(10, 8, 4, 3).tolist() == [[r, c] for r in (0, 3, 6) for c in (0, 3, 4)]
    assert patches.windows(4, 4, 4, 1).tolist() == [[0, 0]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))
def test_windows_cover_every_pixel_and_leave_no_image(height, width, size, stride):
    if stride > size or min(height, width) < size:
        with pytest.raises(UserError):
            patches.windows(height, width, size, stride)
        return
    corners = patches.windows(height, width, size, stride)
    covered = np.zeros((height, width), int)
    for row, column in corners:
        assert 0 <= row <= height - size
        assert 0 <= column <= width - size
        covered[row : row + size, column : column + size] += 1
    assert covered.min() >= 1
    assert len(np.unique(corners, axis=0)) == len(corners)


def test_small_images_and_gapping_strides_are_refused_by_name():
    with pytest.raises(UserError, match="100 x 300 is smaller than a patch of 128 x 128"):
        patches.windows(100, 300, 128, 64)
    with pytest.raises(UserError, match="stride of 9 is impossible; allowed are 1 to the patch size, 8"):
        patches.windows(20, 20, 8, 9)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_extract_equals_slicing(channels):
    image = np.random.default_rng(0).integers(0, 256, (9, 11, *channels), np.uint8)
    corners = patches.windows(9, 11, 4, 3)
    expected = np.stack([image[r : r + 4, c : c + 4] for r, c in corners])
    found = patches.extract(image, corners, 4)
    np.testing.assert_array_equal(found, expected)
    found[:] = 0
    assert image.any()  # a copy


def blend(maps, corners, shape):
    blended = patches.Blend(shape)
    blended.add(maps, corners)
    return blended.mean


@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 9), st.integers(1, 9))
def test_a_constant_field_blends_to_exactly_that_constant(constant, size, stride):
    corners = patches.windows(23, 17, size, min(size, stride))
    blended = blend(np.full((len(corners), size, size), constant, np.float32), corners, (23, 17))
    assert blended.dtype == np.float32
    assert (blended == np.float32(constant)).all()


def test_blend_is_the_tapered_weighted_mean():
    rng = np.random.default_rng(1)
    corners = patches.windows(20, 26, 8, 5)
    maps = rng.standard_normal((len(corners), 8, 8))
    weight = np.outer(*[np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2] * 2)
    total, weights = np.zeros((2, 20, 26))
    for (row, column), patch in zip(corners, maps, strict=True):
        total[row : row + 8, column : column + 8] += weight * patch
        weights[row : row + 8, column : column + 8] += weight
    np.testing.assert_allclose(blend(maps, corners, (20, 26)), total / weights, rtol=2e-5, atol=2e-6)


def test_patches_of_one_smooth_field_leave_no_seam():
    rows, columns = np.mgrid[:64, :64].astype(np.float32)
    field = np.sin(rows / 9) + np.cos(columns / 7)
    corners = patches.windows(64, 64, 16, 6)
    blended = blend(patches.extract(field, corners, 16), corners, (64, 64))
    np.testing.assert_allclose(blended, field, atol=1e-6)

    offsets = np.random.default_rng(0).standard_normal(len(corners))  # patches that disagree meet smoothly
    blended = blend(np.ones((1, 16, 16)) * offsets[:, None, None], corners, (64, 64))
    hard = np.zeros((64, 64))
    for (row, column), offset in zip(corners, offsets, strict=True):
        hard[row : row + 16, column : column + 16] = offset
    assert np.abs(np.diff(blended[8:-8, 8:-8])).max() < 0.25 * np.abs(np.diff(hard)).max()


def test_patches_added_in_batches_blend_as_one():
    corners = patches.windows(20, 20, 8, 3)
    maps = np.random.default_rng(2).standard_normal((len(corners), 8, 8, 3)).astype(np.float32)
    blended = patches.Blend((20, 20))
    for i in range(0, len(corners), 4):
        blended.add(maps[i : i + 4], corners[i : i + 4])
    np.testing.assert_array_equal(blended.mean, blend(maps, corners, (20, 20)))
    np.testing.assert_array_equal(blended.mean[..., 1], blend(maps[..., 1], corners, (20, 20)))


def test_score_large_finds_the_spot_with_one_shape_of_batch():
    image = np.zeros((50, 70, 3), np.uint8)
    image[31:34, 52:55] = 200
    shapes = set()

    def score(batch):
        shapes.add(batch.shape)
        pixels = batch.astype(np.float32)
        return {"total": pixels.mean((1, 2, 3)), "map": pixels.mean(-1), "reconstructed": pixels}

    found = patches.score_large(image, score, patches.Patches(16, 8), batch=7)
    corners = patches.windows(50, 70, 16, 8)
    assert len(corners) % 7  # so the last batch had to be filled up
    assert shapes == {(7, 16, 16, 3)}
    expected = patches.extract(image, corners, 16).mean((1, 2, 3))
    np.testing.assert_allclose(found["total"], expected, rtol=1e-6)
    assert found["total"].max() == pytest.approx(200 * 9 / 256)
    np.testing.assert_allclose(found["map"], image[..., 0], atol=1e-4)  # every patch says the same of a pixel
    np.testing.assert_allclose(found["reconstructed"], image, atol=1e-4)


def test_an_empty_batch_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        patches.score_large(np.zeros((8, 8, 1), np.uint8), lambda x: {}, patches.Patches(8, 8), batch=0)


def test_a_map_is_made_within_one_image_of_float32_beside_a_row_of_patches():
    image, cut = np.zeros((1024, 1024, 1), np.uint8), patches.Patches(64, 32)

    def score(batch):
        return {"map": np.zeros(batch.shape[:3], np.float32)}

    tracemalloc.start()
    patches.score_large(image, score, cut, batch=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * 4 * 1024 * 1024
