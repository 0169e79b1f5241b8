"""DCGAN's two convolutions of stride 2, in one form for the CPU and one for accelerators; the same to within rounding.

On a CPU each is a kernel of the project's own, where there is a compiler for it. With XLA alone it is one matrix
product, its patches gathered or its results scattered by shifts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.ops.convolution import FeatureMaps, by_platform, has_kernels, native_forms, product, with_gradients

DCGAN = ((4, 4), (2, 2), ((1, 1), (1, 1)))
"""Its kernel, strides and padding."""


def strided_conv(
    x: FeatureMaps, kernel: Float[Array, "4 4 channel out"]
) -> Float[Array, "batch half_height half_width out"]:
    """4x4 convolution, stride 2, padding 1, no bias: DCGAN's."""
    plain = _with_adjoint(strided_conv_plain, transposed_conv_plain)
    native = with_gradients(*native_forms(x.shape[1:3], *DCGAN))
    cpu = native if has_kernels(x, kernel) else strided_conv_as_product
    return by_platform(x, kernel, cpu=cpu, default=plain)


def strided_conv_plain(x: Array, kernel: Array) -> Array:
    """For accelerators."""
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def strided_conv_as_product(x: Array, kernel: Array) -> Array:
    """For CPUs: 2x2 pixels become channels, four shifted copies of those the rows of one matrix product."""
    batch, height, width, channels = x.shape
    h, w = height // 2, width // 2
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x.reshape(batch, h + 1, 2, w + 1, 2 * channels).swapaxes(2, 3).reshape(batch, h + 1, w + 1, 4 * channels)
    patches = jnp.concatenate([x[:, i : i + h, j : j + w] for i in (0, 1) for j in (0, 1)], axis=-1)
    rows = lax.optimization_barrier(patches).reshape(-1, 16 * channels)
    kernel = kernel.reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5).reshape(16 * channels, -1)
    return product(rows, kernel).reshape(batch, h, w, -1)


def transposed_conv(
    x: FeatureMaps, kernel: Float[Array, "4 4 channel out"]
) -> Float[Array, "batch twice_height twice_width out"]:
    """4x4 transposed convolution, stride 2, padding 1, no bias: DCGAN's.

    Pixel (i, j) times `kernel[a, b]` is added to pixel (2i - 1 + a, 2j - 1 + b) of the result, as in PyTorch.
    """
    plain = _with_adjoint(transposed_conv_plain, strided_conv_plain)
    cpu = _native_transposed_conv(x) if has_kernels(x, kernel) else transposed_conv_as_product
    return by_platform(x, kernel, cpu=cpu, default=plain)


def _native_transposed_conv(x: Array) -> Callable[[Array, Array], Array]:
    """For CPUs: the gradient by its image of the convolution that halves the map, and that one its own gradient."""
    halve, double, by_kernel = native_forms((2 * x.shape[1], 2 * x.shape[2]), *DCGAN)

    def swapped(kernel: Array) -> Array:
        return kernel.swapaxes(2, 3)

    def form(x: Array, kernel: Array) -> Array:
        return double(x, swapped(kernel))

    def image_gradient(gradient: Array, kernel: Array) -> Array:
        return halve(gradient, swapped(kernel))

    def kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
        return swapped(by_kernel(gradient, kernel, x))

    return with_gradients(form, image_gradient, kernel_gradient)


def transposed_conv_plain(x: Array, kernel: Array) -> Array:
    """For accelerators."""
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _with_adjoint(form: Callable[..., Array], adjoint: Callable[..., Array]) -> Callable[..., Array]:
    """A convolution whose gradient by the image is given as another one, since ONNX lacks what JAX would make."""

    def image_gradient(gradient: Array, kernel: Array) -> Array:
        return adjoint(gradient, kernel.swapaxes(2, 3))

    def kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
        return jax.linear_transpose(lambda kernel: form(x, kernel), kernel)(gradient)[0]

    return with_gradients(form, image_gradient, kernel_gradient)


def transposed_conv_as_product(x: Array, kernel: Array) -> Array:
    """For CPUs: one matrix product gives what each pixel adds to the 4x4 around it; these are shifted and summed."""
    batch, height, width, channels = x.shape
    out = kernel.shape[-1]
    products = product(x.reshape(-1, channels), kernel.transpose(2, 0, 1, 3).reshape(channels, 16 * out))
    parts = products.reshape(batch, height, width, 4, 4, out)

    def overlapped(parts: Array, axis: int) -> Array:
        """Sums four parts of each pixel, the first axis of `parts`, into two along `axis`."""
        first, second, third, fourth = parts
        before = lax.slice_in_dim(fourth, 0, -1, axis=axis)  # of the pixel before, for the even pixels
        after = lax.slice_in_dim(first, 1, None, axis=axis)  # of the pixel after, for the odd ones
        nothing = jnp.zeros_like(lax.slice_in_dim(first, 0, 1, axis=axis))
        even = second + jnp.concatenate([nothing, before], axis=axis)
        odd = third + jnp.concatenate([after, nothing], axis=axis)
        return jnp.stack([even, odd])

    rows = overlapped(jnp.moveaxis(parts, 3, 0), 1)  # [2, B, H, W, 4, O]
    both = overlapped(jnp.moveaxis(rows, 4, 0), 3)  # [2, 2, B, H, W, O]: column, row, ...
    return both.transpose(2, 3, 1, 4, 0, 5).reshape(batch, 2 * height, 2 * width, out)
