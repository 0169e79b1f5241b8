"""Each form of each convolution against SciPy, and its gradients against those XLA takes of the plain form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.ndimage import correlate
from scipy.signal import correlate2d

from sagan_jax.ops import convolution, depthwise, strided


@pytest.fixture(params=["fastest", "portable"])
def forms(request):
    """With the project's own kernels where a compiler can be had, and with XLA's alone."""
    with convolution.forms(request.param):
        yield


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


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_each_form_of_the_depthwise_separable_convolution_are_scipys(channels, multiplier):
    (x,) = draws((3, 4, 6, channels))
    p = parameters(channels, multiplier, 5)
    for form in (depthwise.depthwise_separable_conv, depthwise.grouped_conv, depthwise.shifted_forward):
        np.testing.assert_allclose(form(x, *p), by_scipy(x, *p), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("cached_bytes", [1, 2**30])  # one image at a time; all at once
@pytest.mark.parametrize("multiplier", [1, 2])
def test_its_five_gradients_are_those_of_the_plain_form(monkeypatch, cached_bytes, multiplier):
    monkeypatch.setattr(convolution, "CACHED_BYTES", cached_bytes)
    x, gradient = draws((3, 4, 4, 3), (3, 4, 4, 5))
    p = parameters(3, multiplier, 5)
    expected = jax.vjp(depthwise.grouped_conv, x, *p)[1](gradient)
    got = jax.jit(depthwise.shifted_backward)(gradient, x, *p)
    for wanted, value in zip(expected, got, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)
    result, vjp = jax.vjp(depthwise.depthwise_separable_conv, x, *p)
    np.testing.assert_allclose(result, depthwise.grouped_conv(x, *p), rtol=1e-4, atol=1e-4)
    for wanted, value in zip(expected, vjp(gradient), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("forms")
def test_it_can_be_mapped_over_models():
    (x,) = draws((2, 3, 4, 4, 3))
    p = parameters(3, 2, 5)
    mapped = jax.vmap(lambda x: depthwise.depthwise_separable_conv(x, *p))(x)
    for model in range(2):
        np.testing.assert_allclose(
            mapped[model], depthwise.depthwise_separable_conv(x[model], *p), rtol=1e-5, atol=1e-5
        )


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_each_form_of_the_strided_convolution_are_scipys(channels):
    x, kernel = draws((2, 8, 6, channels), (4, 4, channels, 5))
    expected = np.zeros((2, 4, 3, 5))
    for image, c, out in np.ndindex(2, channels, 5):
        full = correlate2d(np.pad(x[image, :, :, c], 1), np.asarray(kernel)[:, :, c, out], mode="valid")
        expected[image, :, :, out] += full[::2, ::2]
    for form in (strided.strided_conv, strided.strided_conv_plain, strided.strided_conv_as_product):
        np.testing.assert_allclose(form(x, kernel), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_each_form_of_the_transposed_convolution_add_each_pixels_kernel_where_it_belongs(channels):
    x, kernel = draws((2, 3, 4, channels), (4, 4, channels, 5))
    expected = np.zeros((2, 8, 10, 5))  # with the one pixel of padding around
    for row, column in np.ndindex(3, 4):
        added = np.einsum("nc,abco->nabo", x[:, row, column], kernel)
        expected[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += added
    forms = (
        strided.transposed_conv,
        strided.transposed_conv_plain,
        strided.transposed_conv_as_product,
    )
    for form in forms:
        np.testing.assert_allclose(form(x, kernel), expected[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("forms")
def test_the_transposed_convolution_is_the_strided_ones_gradient_and_the_other_way_round():
    x, kernel, half = draws((2, 6, 8, 3), (4, 4, 3, 5), (2, 3, 4, 5))

    @jax.jit
    def both_ways(x, half):
        halved, by_x = jax.vjp(lambda x: strided.strided_conv(x, kernel), x)
        doubled, by_half = jax.vjp(lambda half: strided.transposed_conv(half, kernel.swapaxes(2, 3)), half)
        return (halved, *by_half(x)), (doubled, *by_x(half))

    for value, gradient in both_ways(x, half):
        np.testing.assert_allclose(gradient, value, rtol=1e-4, atol=1e-4)


def test_images_at_once_divide_the_batch_and_fit_the_cache(monkeypatch):
    monkeypatch.setattr(convolution, "CACHED_BYTES", 4 * 2 * 2 * 3 * 2 * 5)  # five images' worth
    size = 2 * 2 * 3 * 2
    assert convolution.images_at_once(12, size) == 4
    assert convolution.images_at_once(7, size) == 1
    assert convolution.images_at_once(6, size) == 3  # half
    assert convolution.images_at_once(1, size) is None  # all of them
    assert convolution.images_at_once(12, size, total=6 * size) == 6  # as much as the result


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_batch_left_free_gives_what_a_batch_of_known_size_gives(multiplier):
    (x,) = draws((3, 4, 4, 3))
    p = parameters(3, multiplier, 5)
    free = jax.ShapeDtypeStruct((*export.symbolic_shape("n"), 4, 4, 3), jnp.float32)
    exported = export.export(jax.jit(lambda x: depthwise.depthwise_separable_conv(x, *p)))(free)
    np.testing.assert_allclose(exported.call(x), depthwise.depthwise_separable_conv(x, *p), rtol=1e-5, atol=1e-5)


def test_plain_forms_know_no_platforms():
    x, kernel = draws((1, 4, 4, 3), (4, 4, 3, 5))
    assert "platform" in str(jax.make_jaxpr(strided.strided_conv)(x, kernel))
    with convolution.forms("plain"):
        assert "platform" not in str(jax.make_jaxpr(strided.strided_conv)(x, kernel))


@pytest.mark.parametrize(("size", "padding"), [(1, 0), (4, 0), (3, 1), (2, 0)])
def test_convolutions_that_are_matrix_products_are_xlas(size, padding):
    x, kernel = draws((3, 4, 4, 6), (size, size, 6, 5))
    sides = ((padding, padding),) * 2
    layouts = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), sides, **layouts)
    np.testing.assert_allclose(convolution.conv(x, kernel, (1, 1), sides, **layouts), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("cached_bytes", [1, 2**30])  # one image at a time; half of them
@pytest.mark.parametrize(
    ("channels", "out", "size", "stride", "padding"),
    [
        (2, 1, 7, 1, (3, 3)),
        (1, 2, 3, 1, (0, 1)),
        (3, 5, 3, 1, (1, 1)),
        (3, 5, 3, 1, (2, 0)),
        (3, 5, 3, 2, (0, 1)),
        (4, 2, 5, 3, (2, 0)),
        (3, 5, 7, 2, (3, 3)),
    ],
)
def test_any_convolution_and_both_its_gradients_are_xlas(
    monkeypatch, cached_bytes, channels, out, size, stride, padding
):
    monkeypatch.setattr(convolution, "CACHED_BYTES", cached_bytes)
    x, kernel = draws((4, 8, 6, channels), (size, size, channels, out))

    def by(conv: Any):
        return jax.vjp(
            lambda x, kernel: conv(
                x, kernel, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
            ),
            x,
            kernel,
        )

    expected, expected_vjp = by(jax.lax.conv_general_dilated)
    result, vjp = by(convolution.conv)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    (gradient,) = draws(expected.shape, seed=2)
    for value, wanted in zip(vjp(gradient), expected_vjp(gradient), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("columns", [2, 9])
def test_a_product_and_its_gradients_are_numpys_whichever_side_is_narrower(columns):
    rows, kernel, gradient = draws((6, 4), (4, columns), (6, columns))
    result, vjp = jax.vjp(convolution.product, rows, kernel)
    by_rows, by_kernel = vjp(gradient)
    np.testing.assert_allclose(result, np.asarray(rows) @ np.asarray(kernel), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_rows, np.asarray(gradient) @ np.asarray(kernel).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_kernel, np.asarray(rows).T @ np.asarray(gradient), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("width", "channels", "expected"), [(32, 64, 32), (32, 128, 16), (6, 512, 3), (7, 512, 1)])
def test_a_block_divides_its_row_and_takes_2048_floats_at_most(width, channels, expected):
    assert depthwise.block_of(width, channels) == expected
