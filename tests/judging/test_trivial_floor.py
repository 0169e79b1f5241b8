"""The trivial floor: residuals from principal components, by hand and by plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.data.patches import Patches
from sagan_jax.data.split import Split
from sagan_jax.detector import worst_share
from sagan_jax.errors import UserError
from sagan_jax.judging.floor import fit_floor, floor_maps, floor_scores, judge_floor
from sagan_jax.judging.metrics import auroc
from sagan_jax.report.text import floor_lines


def noise(count, seed, size=8):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_worst_share_is_the_mean_of_the_highest_pixels_in_numpy_and_jax():
    maps = np.random.default_rng(0).permutation(200).reshape(1, 10, 20).astype(np.float32)
    for worst in (worst_share, jax.jit(worst_share)):
        assert float(worst(maps)[0]) == 198.5  # 2 of 200: 198 and 199
    assert float(worst_share(maps, 1.0)[0]) == maps.mean()
    assert float(worst_share(jnp.asarray(maps[:, :3, :3]))[0]) == maps[:, :3, :3].max()  # at least one pixel
    with pytest.raises(UserError, match="over 0 and at most 1"):
        worst_share(maps, 0.0)


def test_what_the_components_span_has_no_residual():
    images = noise(5, 0)  # five images span four dimensions about their mean
    floor = fit_floor(images)
    np.testing.assert_allclose(floor_maps(floor, images), 0, atol=1e-6)
    middle = ((images[:1].astype(int) + images[1:2]) // 2).astype(np.uint8)
    assert floor_maps(floor, middle).max() < 1e-4
    assert floor_maps(floor, noise(1, 1)).mean() > 0.05


def test_maps_are_the_squared_residual_of_the_exact_decomposition_averaged_over_channels():
    images, test = noise(12, 0), noise(3, 1)
    floor = fit_floor(images, components=11)  # all there are: the randomised decomposition is exact
    flat = images.reshape(12, -1) / 255
    rows = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:11]
    off = test.reshape(3, -1) / 255 - flat.mean(0)
    expected = ((off - off @ rows.T @ rows) ** 2).reshape(test.shape).mean(-1)
    np.testing.assert_allclose(floor_maps(floor, test), expected, atol=1e-5)
    scores = floor_scores(floor, test)
    np.testing.assert_allclose(scores.mean, expected.mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(scores.worst, expected.max((1, 2)), rtol=1e-4)  # one of 64 pixels


def test_the_floor_refuses_what_it_cannot_take():
    with pytest.raises(UserError, match="at least 2 images; here there are 1"):
        fit_floor(noise(1, 0))
    with pytest.raises(UserError, match="of 192 numbers; these have 768"):
        floor_maps(fit_floor(noise(4, 0)), noise(1, 0, size=16))


def make_split(masks=True):
    train, test = noise(20, 0) // 8, noise(10, 1) // 8
    labels, marked = np.arange(10) >= 5, np.zeros((10, 8, 8), bool)
    marked[5:, 3, 3] = True
    test[marked] = 255
    ids = np.array([str(i) for i in range(20)])
    return Split("set", "spot", train, ids, test, labels, ids[:10], test_masks=marked if masks else None)


def test_a_run_has_the_floor_of_its_own_images_beside_the_networks_figure():
    split, kept = make_split(), np.arange(4, 20)
    row = judge_floor(split, kept, np.arange(4))["floor"]
    scores = floor_scores(fit_floor(split.train[kept]), split.test)
    assert row["auroc_worst"]["value"] == auroc(split.test_labels, scores.worst) == 1.0
    assert row["auroc_mean"]["value"] == auroc(split.test_labels, scores.mean)
    assert row["pixel_auroc"]["value"] == pytest.approx(1, abs=0.03)  # four held-out images make coarse bins
    assert "1.000 [0.478, 1.000] by the worst 1 % of the pixels" in floor_lines({"floor": row})[0]
    assert set(judge_floor(make_split(masks=False), kept, np.arange(4))["floor"]) == {"auroc_worst", "auroc_mean"}


def test_the_floor_counts_no_pixels_of_images_that_nobody_marked():
    split, kept, held_out = make_split(), np.arange(4, 20), np.arange(4)
    masks, known = split.test_masks.copy(), np.arange(10) < 9
    masks[9] = False  # the last image has no mask
    judged = judge_floor(split._replace(test_masks=masks, test_mask_known=known), kept, held_out)["floor"]
    gone = split._replace(test=split.test[:9], test_labels=split.test_labels[:9], test_masks=masks[:9])
    assert judged["pixel_auroc"] == judge_floor(gone, kept, held_out)["floor"]["pixel_auroc"]
    assert judged["auroc_worst"] == judge_floor(split, kept, held_out)["floor"]["auroc_worst"]


def test_the_floor_is_left_out_with_a_word_of_patches_and_without_one_where_nothing_can_be_told():
    split, kept = make_split(), np.arange(20)
    cut = judge_floor(split._replace(patches=Patches(8, 4)), kept, kept)
    assert floor_lines(cut) == ["  trivial floor      left out: photographs are scored in patches"]
    assert judge_floor(split._replace(test_labels=np.zeros(10, bool)), kept, kept) == {}
    assert floor_lines({}) == []
