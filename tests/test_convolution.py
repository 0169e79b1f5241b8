"""Each form of each convolution against SciPy, and its gradients against those XLA takes of the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.ndimage import correlate
from scipy.signal import correlate2d

from sagan_jax import convolution


def draws(*shapes, seed=0):
    draw = [np.random.default_rng([seed, i]).normal(size=shape) for i, shape in enumerate(shapes)]
    return [jnp.asarray(values, jnp.float32) for values in draw]


def parameters(channels, multiplier, out):
    return draws((3, 3, multiplier, channels), (multiplier, channels), (multiplier, channels, out), (out,), seed=1)


def by_scipy(*arguments):
    x, kernel, bias, pointwise, pointwise_bias = map(np.asarray, arguments)
    result = np.zeros((*x.shape[:3], pointwise.shape[-1]))
    for image in range(len(x)):
        for j, c in np.ndindex(*bias.shape):
            depthwise = correlate(x[image, :, :, c], kernel[:, :, j, c], mode="constant") + bias[j, c]
            result[image] += depthwise[:, :, None] * pointwise[j, c]
    return result + pointwise_bias


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_both_forms_of_the_depthwise_separable_convolution_are_scipys(channels, multiplier):
    (x,) = draws((3, 4, 6, channels))
    p = parameters(channels, multiplier, 5)
    for form in (convolution.depthwise_separable_conv, convolution.grouped_conv, convolution.shifted_forward):
        np.testing.assert_allclose(form(x, *p), by_scipy(x, *p), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cached_bytes", [1, 2**30])  # one image at a time; all at once
@pytest.mark.parametrize("multiplier", [1, 2])
def test_its_five_gradients_are_those_of_the_plain_form(monkeypatch, cached_bytes, multiplier):
    monkeypatch.setattr(convolution, "CACHED_BYTES", cached_bytes)
    x, gradient = draws((3, 4, 4, 3), (3, 4, 4, 5))
    p = parameters(3, multiplier, 5)
    expected = jax.vjp(convolution.grouped_conv, x, *p)[1](gradient)
    got = jax.jit(convolution.shifted_backward)(gradient, x, *p)
    for wanted, value in zip(expected, got, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)
    result, vjp = jax.vjp(convolution.depthwise_separable_conv, x, *p)
    np.testing.assert_allclose(result, convolution.grouped_conv(x, *p), rtol=1e-4, atol=1e-4)
    for wanted, value in zip(expected, vjp(gradient), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)


def test_it_can_be_mapped_over_models():
    (x,) = draws((2, 3, 4, 4, 3))
    p = parameters(3, 2, 5)
    mapped = jax.vmap(lambda x: convolution.depthwise_separable_conv(x, *p))(x)
    for model in range(2):
        np.testing.assert_allclose(
            mapped[model], convolution.depthwise_separable_conv(x[model], *p), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_both_forms_of_the_strided_convolution_are_scipys(channels):
    x, kernel = draws((2, 8, 6, channels), (4, 4, channels, 5))
    expected = np.zeros((2, 4, 3, 5))
    for image, c, out in np.ndindex(2, channels, 5):
        full = correlate2d(np.pad(x[image, :, :, c], 1), np.asarray(kernel)[:, :, c, out], mode="valid")
        expected[image, :, :, out] += full[::2, ::2]
    for form in (convolution.strided_conv, convolution.strided_conv_plain, convolution.strided_conv_as_product):
        np.testing.assert_allclose(form(x, kernel), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_both_forms_of_the_transposed_convolution_add_each_pixels_kernel_where_it_belongs(channels):
    x, kernel = draws((2, 3, 4, channels), (4, 4, channels, 5))
    expected = np.zeros((2, 8, 10, 5))  # with the one pixel of padding around
    for row, column in np.ndindex(3, 4):
        added = np.einsum("nc,abco->nabo", x[:, row, column], kernel)
        expected[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += added
    forms = (
        convolution.transposed_conv,
        convolution.transposed_conv_plain,
        convolution.transposed_conv_as_product,
    )
    for form in forms:
        np.testing.assert_allclose(form(x, kernel), expected[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)


def test_the_transposed_convolution_is_the_strided_ones_gradient_and_the_other_way_round():
    x, kernel, half = draws((2, 6, 8, 3), (4, 4, 3, 5), (2, 3, 4, 5))

    @jax.jit
    def both_ways(x, half):
        strided, by_x = jax.vjp(lambda x: convolution.strided_conv(x, kernel), x)
        transposed, by_half = jax.vjp(lambda half: convolution.transposed_conv(half, kernel.swapaxes(2, 3)), half)
        return (strided, *by_half(x)), (transposed, *by_x(half))

    for value, gradient in both_ways(x, half):
        np.testing.assert_allclose(gradient, value, rtol=1e-4, atol=1e-4)


def test_images_at_once_divide_the_batch_and_fit_the_cache(monkeypatch):
    monkeypatch.setattr(convolution, "CACHED_BYTES", 4 * 2 * 2 * 3 * 2 * 5)  # five images' worth
    x = jnp.zeros((12, 2, 2, 3))
    assert convolution.images_at_once(x, multiplier=2) == 4
    assert convolution.images_at_once(x[:7], multiplier=2) == 1
    assert convolution.images_at_once(x[:6], multiplier=2) == 3  # half
    assert convolution.images_at_once(x[:1], multiplier=2) is None  # all of them


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_batch_left_free_gives_what_a_batch_of_known_size_gives(multiplier):
    (x,) = draws((3, 4, 4, 3))
    p = parameters(3, multiplier, 5)
    free = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), 4, 4, 3), jnp.float32)
    exported = export.export(jax.jit(lambda x: convolution.depthwise_separable_conv(x, *p)))(free)
    np.testing.assert_allclose(exported.call(x), convolution.depthwise_separable_conv(x, *p), rtol=1e-5, atol=1e-5)


def test_plain_forms_know_no_platforms():
    x, kernel = draws((1, 4, 4, 3), (4, 4, 3, 5))
    assert "platform" in str(jax.make_jaxpr(convolution.strided_conv)(x, kernel))
    with convolution.plain_forms(True):
        assert "platform" not in str(jax.make_jaxpr(convolution.strided_conv)(x, kernel))


@pytest.mark.parametrize(("size", "padding"), [(1, 0), (4, 0), (3, 1), (2, 0)])
def test_convolutions_that_are_matrix_products_are_xlas(size, padding):
    x, kernel = draws((3, 4, 4, 6), (size, size, 6, 5))
    sides = ((padding, padding),) * 2
    layouts = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), sides, **layouts)
    np.testing.assert_allclose(convolution.conv(x, kernel, (1, 1), sides, **layouts), expected, rtol=1e-4, atol=1e-5)
