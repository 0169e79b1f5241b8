"""Arrays that are not images as they are meant are refused, with what is wanted."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mean_detector import MEAN

from sagan_jax.config import SaganConfig, TrainingConfig
from sagan_jax.data.image_array import check_images, check_images_for
from sagan_jax.data.patches import Patches
from sagan_jax.errors import UserError
from sagan_jax.judging.scoring import score_images
from sagan_jax.methods.sagan import sagan
from sagan_jax.training.loop import fit

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
UNIT = IMAGES / np.float32(255)

WRONG = {
    "float_in_unit": (UNIT, r"images are float32 from 0 to 1; .* uint8, 0 \(black\) to 255 .*rint\(255 \* images\)"),
    "float_normalised": (2 * UNIT - 1, r"float32 from -1 to 1; .*np\.rint\(127\.5 \* \(images \+ 1\)\)"),
    "float_in_bytes": (IMAGES.astype(float), r"float64 from 0 to 255; .*np\.rint\(images\)\.astype"),
    "int": (IMAGES.astype(np.int64), r"int64 from 0 to 255; .*np\.rint\(images\)\.astype"),
    "sixteen_bits": (IMAGES.astype(np.uint16) * 257, r"uint16 from 0 to 65535; .*images / 257"),
    "bool": (IMAGES > 127, r"images are bool; .*astype\(np\.uint8\) \* 255"),
    "nan": (np.where(UNIT > 0.9, np.nan, UNIT), r"float32, not all of them finite; they must be uint8"),
    "out_of_all_range": (UNIT * 1e6, r"float32 from 0 to 1e\+06; they must be uint8, 0 \(black\) to 255 \(white\)$"),
    "list": (IMAGES.tolist(), r"of type list; they must be a NumPy or JAX array of uint8"),
    "one_image": (IMAGES[0], r"\(16, 16, 3\); they must be \[N, H, W, C\].* if this is one image, take images\[None\]"),
    "grey_without_channels": (IMAGES[..., 0], r"\(5, 16, 16\); .*if they are grey, take images\[\.\.\., None\]"),
    "one_row": (IMAGES[0, :, :, 0], r"\(16, 16\); they must be \[N, H, W, C\]"),
    "channels_first": (np.moveaxis(IMAGES, -1, 1), r"16 channels; .*np\.moveaxis\(images, 1, -1\)"),
    "four_channels": (np.concatenate([IMAGES, IMAGES[..., :1]], -1), r"4 channels; .*1 \(grey\) or 3 \(RGB\)$"),
    "no_pixels": (IMAGES[:, :0], r"there are no pixels"),
    "grey_for_rgb": (IMAGES[..., :1], r"images are 16 x 16, grey; the model takes 16 x 16, RGB"),
    "other_size": (np.tile(IMAGES, (1, 2, 2, 1)), r"images are 32 x 32, RGB; the model takes 16 x 16, RGB"),
}


@pytest.fixture(scope="module")
def state():
    return MEAN.init(jax.random.key(0), (16, 16, 3))


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arrays_are_refused_where_they_enter(wrong, state):
    images, message = WRONG[wrong]
    # The undecorated functions: elsewhere than in the tests nothing else checks types.
    with pytest.raises(UserError, match=message):
        inspect.unwrap(score_images)(MEAN, state, images)
    with pytest.raises(UserError, match=message):
        next(inspect.unwrap(fit)(MEAN, state, images, TrainingConfig(epochs=1, batch_size=2)))


def test_right_arrays_pass_be_they_numpys_or_jaxs_and_any_number_of_them(state):
    for images in (IMAGES, jnp.asarray(IMAGES), IMAGES[:0], np.zeros_like(IMAGES)):
        check_images_for(MEAN, state, images)
    check_images(IMAGES[..., :1])


def test_photographs_that_are_cut_may_have_any_size_but_not_any_number_of_channels(state):
    large = np.zeros((1, 40, 50, 3), np.uint8)
    check_images_for(MEAN, state, large, Patches(16, 8))
    with pytest.raises(UserError, match="16 x 16, grey; the model takes 16 x 16, RGB"):
        check_images_for(MEAN, state, large[..., :1], Patches(16, 8))


def test_training_images_without_a_pixel_over_one_are_refused(state):
    black = UNIT.astype(np.uint8)
    assert black.max() == 1
    with pytest.raises(UserError, match=r"brighter than 1; .*Multiply numbers in \[0, 1\] by 255"):
        next(fit(MEAN, state, black, TrainingConfig(epochs=1, batch_size=2)))
    assert np.isfinite(score_images(MEAN, state, black).total).all()  # a black photograph can be scored


def test_networks_say_which_sizes_they_take():
    detector = sagan(SaganConfig(width=4, latent_size=8))
    state = jax.eval_shape(lambda key: detector.init(key, (32, 32, 1)), jax.random.key(0))
    check_images_for(detector, state, np.zeros((1, 32, 32, 1), np.uint8))
    with pytest.raises(UserError, match="images are 16 x 16, grey; the model takes 32 x 32, grey"):
        check_images_for(detector, state, np.zeros((1, 16, 16, 1), np.uint8))
    with pytest.raises(UserError, match="images are 24x24; they must be square"):
        check_images_for(detector, state, np.zeros((1, 24, 24, 1), np.uint8))
