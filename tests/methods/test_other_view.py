"""Another view of normal images: none, all, and that it is the affine map it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from sagan_jax.methods.other_view import other_view

VIEW = jax.jit(other_view, static_argnames="share")


@pytest.fixture
def images():
    noise = np.random.default_rng(0).uniform(-1, 1, (24, 32, 32, 3)).astype(np.float32)
    return jnp.asarray(ndimage.gaussian_filter(noise, (0, 2, 2, 0)))


@pytest.fixture
def key():
    return jax.random.key(3)


def test_another_view_for_none_gives_the_images_back_and_for_all_changes_each(images, key):
    np.testing.assert_array_equal(VIEW(key, images, 0.0), images)
    seen = VIEW(key, images, 1.0)
    assert (np.asarray(seen) != np.asarray(images)).any(axis=(1, 2, 3)).all()
    some = (np.asarray(VIEW(key, images, 0.5)) != np.asarray(images)).any(axis=(1, 2, 3))
    assert 0 < some.sum() < len(images)


def test_an_even_image_stays_as_it_is(key):
    grey = jnp.full((4, 32, 32, 1), 0.25)
    np.testing.assert_allclose(VIEW(key, grey, 1.0), grey, atol=1e-6)


def test_places_are_turned_scaled_and_moved_by_no_more_than_is_said(key):
    """Images of their own coordinates say where each pixel of the other view was."""
    side = 64
    place = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).astype(np.float32)
    seen = np.asarray(VIEW(key, jnp.broadcast_to(place, (50, *place.shape)), 1.0))
    inner = np.index_exp[:, 20:44, 20:44]  # nothing is mirrored there
    ours, theirs = np.broadcast_to(place, seen.shape)[inner].reshape(50, -1, 2), seen[inner].reshape(50, -1, 2)
    turns, scales, shifts = [], [], []
    for now, was in zip(ours, theirs, strict=True):
        design = np.column_stack([now - (side - 1) / 2, np.ones(len(now))])
        fitted, residual, *_ = np.linalg.lstsq(design, was - (side - 1) / 2, rcond=None)
        assert residual.max() < 1e-3  # an affine map, the same for all pixels of an image
        turns.append(np.arctan2(fitted[1, 0], fitted[0, 0]))
        scales.append(np.log(np.linalg.norm(fitted[:2], axis=0)))
        shifts.append(fitted[2])
    for found, most in ((turns, 0.15), (scales, 0.1), (shifts, side / 16)):
        assert 0.7 * most < np.abs(found).max() <= most * 1.001


def test_all_channels_of_an_image_are_seen_from_one_view(images, key):
    seen = np.asarray(VIEW(key, jnp.repeat(images[..., :1], 3, axis=-1), 1.0))
    np.testing.assert_array_equal(seen[..., 0], seen[..., 2])
    assert np.abs(seen).max() <= 1
