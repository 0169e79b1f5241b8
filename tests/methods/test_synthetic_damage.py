"""Synthetic damage: what stays whole, what is marked, what is drawn from the key."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from sagan_jax.config import RestorationConfig
from sagan_jax.errors import UserError
from sagan_jax.methods.synthetic_damage import damage, other_light
from sagan_jax.ops.blur import gaussian

DAMAGE = jax.jit(damage, static_argnames="config")
LIGHT = jax.jit(other_light, static_argnames="share")
CONFIG = RestorationConfig(whole=0.0)


@pytest.fixture(scope="module")
def images():
    """[24, 16, 16, 2], smooth."""
    noise = np.random.default_rng(0).normal(size=(24, 16, 16, 2))
    return jnp.asarray(np.tanh(2 * ndimage.gaussian_filter(noise, (0, 2, 2, 0)) * 4), jnp.float32)


def test_an_image_left_whole_is_as_it_was_and_has_an_empty_mask(images, key):
    damaged, mask = DAMAGE(key, images, RestorationConfig(whole=1.0))
    np.testing.assert_array_equal(damaged, images)
    assert mask.shape == (24, 16, 16)
    assert not mask.any()


def test_the_mask_is_where_the_damage_is_seen(images, key):
    damaged, mask = DAMAGE(key, images, CONFIG)
    change = np.abs(np.asarray(damaged) - np.asarray(images)).max(axis=-1)  # [B, H, W]
    marked = np.asarray(mask) == 1
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert marked.any(axis=(1, 2)).mean() > 0.8  # images that show damage
    assert marked[change > 0.2].all()
    around = ndimage.maximum_filter(change, (0, 7, 7))
    assert (around < 0.04).any()
    assert not marked[around < 0.04].any()

    blur = gaussian(16, 0.7)
    seen = np.stack([blur @ image @ blur.T for image in change])
    clear = np.abs(seen - 0.05) > 1e-5  # elsewhere rounding decides
    np.testing.assert_array_equal(marked[clear], (seen > 0.05)[clear])


def test_what_is_drawn_is_a_matter_of_the_key_alone(images, key):
    first, again, other = (DAMAGE(key, images, CONFIG) for key in (key, key, jax.random.key(1)))
    for part in range(2):
        assert np.asarray(first[part]).tobytes() == np.asarray(again[part]).tobytes()
        assert (np.asarray(first[part]) != np.asarray(other[part])).any()


def test_damaged_images_stay_in_range_and_grey_ones_can_be_damaged(images, key):
    damaged, mask = DAMAGE(key, images[..., :1], CONFIG)
    assert damaged.shape == (24, 16, 16, 1)
    assert mask.any()
    assert np.abs(damaged).max() <= 1


def test_another_light_for_none_gives_the_images_back_and_for_all_changes_each(images, key):
    np.testing.assert_array_equal(LIGHT(key, images, 0.0), images)
    lit = LIGHT(key, images, 1.0)
    assert (np.asarray(lit) != np.asarray(images)).any(axis=(1, 2, 3)).all()
    assert np.abs(lit).max() <= 1


def test_a_blur_keeps_what_is_even_and_the_sum_of_its_weights():
    np.testing.assert_allclose(gaussian(9, 2.0).sum(axis=1), np.ones(9), rtol=1e-6)
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2 / 4.0)
    np.testing.assert_allclose(gaussian(9, 2.0)[4], weights / weights.sum(), rtol=1e-6)


def test_kinds_that_are_not_drawn_are_not_drawn(images, key):
    grey = jnp.zeros_like(images)  # in a grey world only another colour or another light is seen
    alone = replace(CONFIG, not_drawn=("other_image", "other_place", "blur", "surroundings", "colour"), opacity=1.0)
    lit, mask = DAMAGE(key, grey, alone)
    low, high = np.asarray(lit).min(axis=(1, 2)), np.asarray(lit).max(axis=(1, 2))
    assert (low * high >= 0).all()  # each is brighter in places or darker, not both: one light a region
    assert np.asarray(mask).any()
    unseen = replace(alone, not_drawn=("light", "colour", "surroundings"))
    assert not DAMAGE(key, grey, unseen)[1].any()


def test_lines_are_thinner_than_areas(images, key):
    colour = ("other_image", "other_place", "blur", "surroundings", "light")
    lines, areas = (
        replace(CONFIG, not_drawn=(*colour, *shapes), lines=0.5) for shapes in (("blob", "box"), ("curve", "scratch"))
    )
    grey = jnp.zeros((64, 64, 64, 1))
    narrow, wide = (ndimage.grey_erosion(np.asarray(DAMAGE(key, grey, kind)[1]), (1, 7, 7)) for kind in (lines, areas))
    assert wide.any(axis=(1, 2)).mean() > 2 * narrow.any(axis=(1, 2)).mean()


@pytest.mark.parametrize(
    "not_drawn",
    [("curve", "scratch", "blob", "box"), ("other_image", "colour", "light", "surroundings")],
)
def test_damage_of_no_kind_is_refused(not_drawn):
    with pytest.raises(UserError, match="not_drawn"):
        RestorationConfig(not_drawn=not_drawn)
