import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from sagan_jax.ops import pooling


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def windows(x):
    """[B, H / 2, W / 2, C, 4]: the pixels of each 2x2 window."""
    b, h, w, c = x.shape
    return (
        np.asarray(x).reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, c, 4)
    )


def test_max_pool_is_the_maximum_of_each_window():
    x = draw(3, 4, 6, 5)
    np.testing.assert_array_equal(pooling.max_pool(x), windows(x).max(axis=-1))


def test_the_gradient_of_max_pool_goes_to_the_first_of_equals():
    x = jnp.array([[1.0, 3.0, 0.0, 0.0], [3.0, 2.0, 0.0, 0.0]])[None, :, :, None]
    gradient = jax.grad(lambda x: (pooling.max_pool(x) * jnp.array([5.0, 7.0])[None, None, :, None]).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 5, 7, 0], [0, 0, 0, 0]])


def test_soft_pool_weighs_each_pixel_by_its_exponential():
    x = draw(3, 4, 6, 5)
    weights = np.exp(windows(x))
    expected = (windows(x) * weights).sum(axis=-1) / weights.sum(axis=-1)
    np.testing.assert_allclose(pooling.soft_pool(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pooling.soft_pool(jnp.full((1, 2, 2, 1), 200.0)), [[[[200.0]]]])


def test_the_gradient_of_soft_pool_is_the_formulas():
    x, direction = draw(1, 2, 2, 1), draw(1, 2, 2, 1, seed=1)
    slope = jax.grad(lambda x: pooling.soft_pool(x).sum())(x)
    step = 1e-3
    finite = [float(pooling.soft_pool(x + sign * step * direction)[0, 0, 0, 0]) for sign in (1, -1)]
    assert float((slope * direction).sum()) == pytest.approx((finite[0] - finite[1]) / (2 * step), rel=1e-2)


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (1, 2, 2, 1), (2, 4, 8, 3)])
def test_upsampling_is_bilinear_with_the_corners_kept(shape):
    x = draw(*shape)
    result = pooling.upsample(x)
    rows, columns = (np.linspace(0, n - 1, 2 * n) for n in shape[1:3])
    grid = np.meshgrid(rows, columns, indexing="ij")
    for image, channel in np.ndindex(shape[0], shape[3]):
        expected = map_coordinates(x[image, :, :, channel], grid, order=1, mode="nearest")
        np.testing.assert_allclose(result[image, :, :, channel], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        result[:, [0, 0, -1, -1], [0, -1, 0, -1]], x[:, [0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-6
    )


def test_channel_summaries_are_mean_and_maximum_and_share_the_maximums_gradient():
    x = draw(2, 3, 4, 8)
    summaries = pooling.channel_summaries(x)
    np.testing.assert_allclose(
        summaries, np.stack([np.mean(x, axis=-1), np.max(x, axis=-1)], axis=-1), rtol=1e-5, atol=1e-6
    )
    tied = jnp.array([1.0, 4.0, 4.0, 0.0])[None, None, None]
    by_mean, by_maximum = (
        jax.grad(lambda x, part=part: pooling.channel_summaries(x)[0, 0, 0, part])(tied)[0, 0, 0] for part in (0, 1)
    )
    np.testing.assert_allclose(by_mean, [0.25] * 4)
    np.testing.assert_allclose(by_maximum, [0, 0.5, 0.5, 0])


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (1, 2, 2, 1), (2, 4, 8, 3)])
def test_the_gradient_of_upsampling_is_its_transpose(shape):
    x, gradient = draw(*shape), draw(shape[0], 2 * shape[1], 2 * shape[2], shape[3], seed=1)
    (by_x,) = jax.vjp(pooling.upsample, x)[1](gradient)
    (expected,) = jax.linear_transpose(plain_upsample, x)(gradient)
    np.testing.assert_allclose(by_x, expected, rtol=1e-4, atol=1e-5)


def plain_upsample(x):
    """By matrices [outputs, inputs] of the blending."""
    for axis in (1, 2):
        size = x.shape[axis]
        positions = np.linspace(0, size - 1, 2 * size)
        matrix = np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(size)[None]))
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(matrix, jnp.float32), x, (1, axis)), 0, axis)
    return x
