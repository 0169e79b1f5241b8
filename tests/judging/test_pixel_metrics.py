import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from sagan_jax.errors import UserError
from sagan_jax.judging.pixel_metrics import aupro, bin_edges, count_pixels, joined, pixel_auroc, summarise_pixels


def plain_aupro(maps, masks, limit=0.3):
    """AUPRO from its definition: a threshold at a time, every region by itself, over the distinct map values."""
    regions = []
    for values, mask in zip(maps, masks, strict=True):
        labelled, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [values[labelled == region] for region in range(1, count + 1)]
    normal = maps[~masks]
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        x.append((normal >= threshold).mean())
        y.append(np.mean([(region >= threshold).mean() for region in regions]))
    x, y = np.array(x), np.array(y)
    at_limit = np.interp(limit, x, y)
    inside = x < limit
    return np.trapezoid(np.append(y[inside], at_limit), np.append(x[inside], limit)) / limit


def blobs(images=12, side=40, seed=0, strength=1.0):
    """Maps of noise with brighter spots where the masks are, of sizes from a few pixels up; half have no mask."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, side, side), bool)
    for mask in masks[: images // 2]:
        for _ in range(rng.integers(1, 4)):
            top, left = rng.integers(0, side - 10, 2)
            height, width = rng.integers(2, 10, 2)
            mask[top : top + height, left : left + width] = True
    maps = rng.gamma(2.0, 0.01, masks.shape) * np.exp(strength * masks * rng.uniform(0, 2, masks.shape))
    return maps.astype(np.float32), masks


def counted(maps, masks):
    return count_pixels(maps, masks, bin_edges(maps[~masks.any((1, 2))]))


def test_a_case_worked_by_hand():
    # One region of four pixels scored 9, 9, 2, 2 and one of a single pixel scored 5, among ten normal pixels 0 ... 8.
    maps = np.array([[[9, 9, 0, 5, 0], [2, 2, 0, 0, 0], [8, 6, 4, 3, 1]]], np.float32)
    masks = np.array([[[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]], bool)
    masks[0, 0, 3] = True
    counts = count_pixels(maps, masks, np.arange(0.5, 9))
    # Rates of false positives 0, 1/10 (8), 2/10 (6), 2/10 (5), 3/10 (4); overlap 1/4 from the start, 3/4 from 5 on.
    assert aupro(counts) == pytest.approx((0.2 * 0.25 + 0.1 * 0.75) / 0.3)
    # Wins of 9, 9, 5, 2, 2 over ten normal pixels: 10, 10, 8, 6, 6.
    assert pixel_auroc(counts) == pytest.approx(40 / 50)


@pytest.mark.parametrize("strength", [-0.5, 0.0, 1.0, 3.0])
def test_binned_metrics_are_the_exact_ones(strength):
    maps, masks = blobs(seed=1, strength=strength)
    counts = counted(maps, masks)
    assert pixel_auroc(counts) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-4)
    assert aupro(counts) == pytest.approx(plain_aupro(maps, masks), abs=5e-4)


@pytest.mark.parametrize(
    ("scale", "shift"), [(0.1, 0.2), (0.1, 3), (1, -3), (1, -0.2), (1, 3), (10, -3), (10, -0.2), (10, 3)]
)
def test_maps_of_another_day_are_measured_as_well(scale, shift):
    """Their normal pixels too lie beyond those that the edges are from: the maps of a new surface, or in new light."""
    maps, masks = blobs(seed=2)
    edges = bin_edges(maps[6:])
    moved = maps * scale + shift * maps.std()
    counts = count_pixels(moved, masks, edges)
    assert pixel_auroc(counts) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=2e-3)
    assert aupro(counts) == pytest.approx(plain_aupro(maps, masks), abs=5e-3)


@pytest.mark.parametrize("value", [0.0, -2.0, 5.0])
def test_normal_maps_that_are_flat_do_not_hide_what_lies_above(value):
    maps, masks = blobs(strength=3.0)
    counts = count_pixels(value + maps, masks, bin_edges(np.full((2, 8, 8), value)))
    assert pixel_auroc(counts) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=2e-3)


def test_any_rising_function_of_the_maps_has_the_same_metrics():
    maps, masks = blobs()
    shifted = (100 + maps.astype(np.float64) * 1e-3).astype(np.float64)
    for metric in (pixel_auroc, aupro):
        assert metric(counted(shifted, masks)) == pytest.approx(metric(counted(maps, masks)), abs=1e-4)


def test_a_set_counted_in_parts_is_the_set():
    maps, masks = blobs()
    edges = bin_edges(maps[6:])
    whole, parts = count_pixels(maps, masks, edges), [(0, 5), (5, 12)]
    again = joined([count_pixels(maps[a:b], masks[a:b], edges) for a, b in parts])
    for left, right in zip(whole, again, strict=True):
        np.testing.assert_array_equal(left, right)


def test_perfect_maps_have_1_and_flat_ones_chance():
    _, masks = blobs()
    noise = np.random.default_rng(0).uniform(0, 0.5, masks.shape)
    perfect = counted(noise + masks, masks)
    assert (pixel_auroc(perfect), aupro(perfect)) == pytest.approx((1, 1), abs=1e-3)
    flat = counted(np.zeros(masks.shape), masks)
    assert (pixel_auroc(flat), aupro(flat)) == pytest.approx((0.5, 0.15))  # the diagonal up to 0.3


def test_memory_does_not_grow_with_the_pixels():
    maps, masks = blobs(images=2, side=40)
    large = [np.kron(values, np.ones((1, 8, 8), values.dtype)) for values in (maps, masks)]
    edges = bin_edges(maps)
    assert count_pixels(large[0], large[1].astype(bool), edges).normal.shape == (2, len(edges) + 1)


def test_intervals_cover_the_value_and_shrink_with_the_images():
    few, many = (summarise_pixels(counted(*blobs(images)), resamples=200) for images in (12, 120))
    for name in ("pixel_auroc", "aupro"):
        assert few[name].low <= few[name].value <= few[name].high
        assert many[name].high - many[name].low < few[name].high - few[name].low
    maps, masks = blobs()
    assert summarise_pixels(counted(maps, masks), seed=1) == summarise_pixels(counted(maps, masks), seed=1)


def test_without_marks_there_is_nothing_to_measure():
    maps, masks = blobs()
    with pytest.raises(UserError, match="no pixel is marked"):
        pixel_auroc(counted(maps, np.zeros_like(masks)))
    with pytest.raises(UserError, match="every pixel is marked"):
        aupro(count_pixels(maps, np.ones_like(masks), bin_edges(maps)))
    with pytest.raises(UserError, match="resamples is 0"):
        summarise_pixels(counted(maps, masks), resamples=0)


def test_maps_whose_normal_pixels_hardly_differ_are_measured_as_well():
    rng = np.random.default_rng(0)
    normal = 1e-13 * rng.random((4, 8, 8), np.float32)
    masks = np.zeros((6, 8, 8), bool)
    masks[3:, 2:5, 2:5] = True
    maps = rng.random((6, 8, 8), np.float32) * np.where(masks, 2, 1).astype(np.float32)
    counts = count_pixels(maps, masks, bin_edges(normal))
    assert pixel_auroc(counts) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=0.02)


def test_a_map_that_is_not_finite_and_a_mask_that_is_no_mask_are_refused():
    maps, masks = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4), bool)
    edges = bin_edges(np.arange(16, dtype=np.float32))
    maps[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="a pixel of the maps is 'not finite'"):
        count_pixels(maps, masks, edges)
    with pytest.raises(UserError, match="a pixel of the maps is 'not finite'"):
        bin_edges(maps)


def test_intervals_are_numbers_where_images_are_marked_all_over():
    masks = np.array([np.ones((4, 4)), np.ones((4, 4)), np.eye(4)], bool)
    maps = np.random.default_rng(0).random((3, 4, 4), np.float32)
    found = summarise_pixels(count_pixels(maps, masks, bin_edges(maps)), resamples=50)
    assert np.isfinite([*found["pixel_auroc"], *found["aupro"]]).all()
