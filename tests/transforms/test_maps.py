import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from small_gan import SMALL_GAN

from sagan_jax.detector import Detector, Scores
from sagan_jax.errors import UserError
from sagan_jax.judging.scoring import score_images
from sagan_jax.transforms.maps import blur_mirrored, mapped


def score(state, images, statistics="running"):
    """A latent term of each pixel's square, weighted by the state."""
    latent = (state * images**2).sum(axis=(1, 2, 3))
    return Scores(latent, latent, latent, jnp.zeros(images.shape[:3]), images)


TOY = Detector(lambda key, shape: None, lambda state, batch, key: (state, {}), score)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_the_blur_is_scipys(sigma):
    maps = np.random.default_rng(0).uniform(size=(2, 32, 32)).astype(np.float32)
    expected = ndimage.gaussian_filter(maps, (0, sigma, sigma), truncate=3)
    np.testing.assert_allclose(blur_mirrored(jnp.asarray(maps), sigma), expected, atol=1e-5)


def test_the_latent_gradient_is_the_derivative_of_the_latent_term():
    rng = np.random.default_rng(0)
    weights, images = rng.uniform(0, 1, (32, 32, 3)), rng.uniform(-1, 1, (2, 32, 32, 3))
    found = mapped(TOY, "latent_gradient").score(jnp.asarray(weights[None]), jnp.asarray(images))
    expected = ndimage.gaussian_filter(np.abs(2 * weights * images).mean(-1), (0, 1, 1), truncate=3)
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)


def test_the_scores_stay_and_so_does_a_method_with_its_own_map():
    assert mapped(SMALL_GAN, "residual") is SMALL_GAN
    assert mapped(SMALL_GAN, "latent_gradient") is mapped(SMALL_GAN, "latent_gradient")
    state = SMALL_GAN.init(jax.random.key(0), (16, 16, 1))
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    own, other, alone = (
        score_images(chosen, state, part, batch_size=4, pictures=("map",))
        for chosen, part in (
            (SMALL_GAN, images),
            (mapped(SMALL_GAN, "latent_gradient"), images),
            (mapped(SMALL_GAN, "latent_gradient"), images[2:]),
        )
    )
    for name in ("total", "latent"):
        np.testing.assert_allclose(getattr(other, name), getattr(own, name), rtol=1e-5)
    assert (other.map > 0).all()
    np.testing.assert_allclose(alone.map[0], other.map[2], rtol=1e-4)  # no image depends on its neighbours


def test_a_latent_gradient_of_a_score_without_a_latent_term_is_refused():
    with pytest.raises(UserError, match="no latent term; take residual"):
        mapped(TOY._replace(latent=False), "latent_gradient")
