"""The depthwise-separable convolution, in forms for the CPU and one for accelerators; the same to within rounding.

On a CPU it is a kernel of the project's own, where there is a compiler for it. XLA's grouped convolutions are slow
there, and the gradients of their kernels above all: with XLA alone a depthwise 3x3 convolution is nine shifted
multiply-adds, which vectorise over channels, on a few images at a time, so that what lies between it and the pointwise
matrix product stays in the cache.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from sagan_jax.ops import native
from sagan_jax.ops.convolution import FeatureMaps, by_platform, has_kernels, images_at_once, product_over_rows

_BLOCK_BYTES = 2**13
"""Bytes of a map's row worked on at once where kernel gradients are summed up on a CPU: the nearest cache
holds five such blocks."""

_TAPS = tuple((row, column) for row in range(3) for column in range(3))


@jax.custom_vjp
def depthwise_separable_conv(
    x: FeatureMaps,
    depthwise_kernel: Float[Array, "3 3 multiplier channel"],
    depthwise_bias: Float[Array, "multiplier channel"],
    pointwise_kernel: Float[Array, "multiplier channel out"],
    pointwise_bias: Float[Array, " out"],
) -> Float[Array, "batch height width out"]:
    """Depthwise 3x3 (padding 1, bias), then pointwise 1x1 (bias) (paper section 2.3)."""
    parameters = (depthwise_kernel, depthwise_bias, pointwise_kernel, pointwise_bias)
    cpu = native_forward if has_kernels(x, *parameters) else shifted_forward
    return by_platform(x, *parameters, cpu=cpu, default=grouped_conv)


def forward(x: Array, *parameters: Array) -> tuple[Array, tuple[Array, ...]]:
    """Only the inputs are kept for the backward pass: the depthwise result is cheaper made again than stored."""
    return depthwise_separable_conv(x, *parameters), (x, *parameters)


def backward(inputs: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    """The gradients by the image and by each parameter."""

    def by_autodiff(gradient: Array, *inputs: Array) -> tuple[Array, ...]:
        return jax.vjp(grouped_conv, *inputs)[1](gradient)

    cpu = native_backward if has_kernels(gradient, *inputs) else shifted_backward
    return by_platform(gradient, *inputs, cpu=cpu, default=by_autodiff)


depthwise_separable_conv.defvjp(forward, backward)


def grouped_conv(
    x: Array, depthwise_kernel: Array, depthwise_bias: Array, pointwise_kernel: Array, pointwise_bias: Array
) -> Array:
    """For accelerators: a grouped convolution and a matrix product."""
    _, _, multiplier, channels = depthwise_kernel.shape
    hidden = lax.conv_general_dilated(  # channel c's copies stand side by side: [B, H, W, C * k]
        x,
        depthwise_kernel.swapaxes(2, 3).reshape(3, 3, 1, channels * multiplier),
        window_strides=(1, 1),
        padding=((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
    hidden = hidden + depthwise_bias.T.reshape(1, 1, 1, -1)
    pointwise_kernel = pointwise_kernel.swapaxes(0, 1).reshape(channels * multiplier, -1)
    return hidden @ pointwise_kernel + pointwise_bias[None, None, None, :]


def native_forward(
    x: Array, depthwise_kernel: Array, depthwise_bias: Array, pointwise_kernel: Array, pointwise_bias: Array
) -> Array:
    """For CPUs: `kernels/depthwise.cc`."""
    parameters = (depthwise_kernel, depthwise_bias, pointwise_kernel, pointwise_bias)
    (result,) = native.call("sagan_depthwise_forward", [(None, *x.shape[1:3], len(pointwise_bias))], x, *parameters)
    return result


def native_backward(
    gradient: Array,
    x: Array,
    depthwise_kernel: Array,
    depthwise_bias: Array,
    pointwise_kernel: Array,
    pointwise_bias: Array,
) -> tuple[Array, ...]:
    """All five gradients."""
    shapes = [(None, *x.shape[1:]), depthwise_kernel.shape, pointwise_kernel.shape, pointwise_bias.shape]
    operands = (gradient, x, depthwise_kernel, depthwise_bias, pointwise_kernel)
    by_x, by_depthwise, by_pointwise, by_bias = native.call(
        "sagan_depthwise_backward", shapes, *operands, batched=(0, 1)
    )
    return by_x, by_depthwise, _by_depthwise_bias(by_bias, pointwise_kernel), by_pointwise, by_bias


def _by_depthwise_bias(by_pointwise_bias: Array, pointwise_kernel: Array) -> Array:
    """The depthwise bias reaches the output through the pointwise kernel alone: the other's gradient, sent back."""
    return jnp.einsum("o,kco->kc", by_pointwise_bias, pointwise_kernel)


def padded(x: Array) -> Array:
    """One zero around each image. The barrier keeps XLA from padding again for each of the nine taps."""
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))


def correlate(padded_images: Array, kernel: Array) -> Array:
    """A depthwise 3x3 correlation, `kernel` [3, 3, C], as nine shifted multiply-adds."""
    height, width = padded_images.shape[1] - 2, padded_images.shape[2] - 2
    taps = (
        padded_images[:, row : row + height, column : column + width] * kernel[row, column][None, None, None, :]
        for row, column in _TAPS
    )
    return sum(taps, start=next(taps))


def depthwise(padded_images: Array, kernel: Array, bias: Array) -> tuple[Array, ...]:
    """The depthwise result, copy by copy. The barrier keeps XLA from making it again inside each matrix product."""
    copies = (correlate(padded_images, kernel[:, :, j]) + bias[j][None, None, None, :] for j in range(kernel.shape[2]))
    return lax.optimization_barrier(tuple(copies))


def shifted_forward(
    x: Array, depthwise_kernel: Array, depthwise_bias: Array, pointwise_kernel: Array, pointwise_bias: Array
) -> Array:
    """For CPUs: shifted multiply-adds and matrix products, a few images at a time."""
    channels, out = pointwise_kernel.shape[1:]

    def some(images: Array) -> Array:
        copies = depthwise(padded(images), depthwise_kernel, depthwise_bias)
        products = (copy.reshape(-1, channels) @ pointwise_kernel[j] for j, copy in enumerate(copies))
        result = sum(products, start=next(products)) + pointwise_bias[None, :]
        return result.reshape(*images.shape[:3], out)

    count = images_at_once(x.shape[0], math.prod(x.shape[1:]) * len(pointwise_kernel))
    if count is None:
        return some(x)
    return lax.map(some, x.reshape(-1, count, *x.shape[1:])).reshape(*x.shape[:3], out)


def shifted_backward(
    gradient: Array,
    x: Array,
    depthwise_kernel: Array,
    depthwise_bias: Array,
    pointwise_kernel: Array,
    pointwise_bias: Array,
) -> tuple[Array, ...]:
    """All five gradients, a few images at a time, those of the parameters summed up on the way."""
    multiplier, channels, out = pointwise_kernel.shape
    flipped = depthwise_kernel[::-1, ::-1]

    def some(images: Array, gradient: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        images = padded(images)
        flat = gradient.reshape(-1, out)
        copies = depthwise(images, depthwise_kernel, depthwise_bias)
        by_pointwise = jnp.stack([product_over_rows(copy.reshape(-1, channels), flat) for copy in copies])  # [k, C, O]
        by_copies = lax.optimization_barrier(
            tuple((flat @ pointwise_kernel[j].T).reshape(*gradient.shape[:3], channels) for j in range(multiplier))
        )
        by_depthwise = _kernel_gradients(images, by_copies)  # [9, k, C]
        parts = (correlate(padded(copy), flipped[:, :, j]) for j, copy in enumerate(by_copies))
        return sum(parts, start=next(parts)), (by_depthwise, by_pointwise, flat.sum(axis=0))

    count = images_at_once(x.shape[0], math.prod(x.shape[1:]) * multiplier)
    if count is None:
        by_x, sums = some(x, gradient)
    else:

        def accumulate(sums: tuple[Array, ...], chunk: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
            by_x, more = some(*chunk)
            return jax.tree.map(jnp.add, sums, more), by_x

        shapes = ((9, multiplier, channels), (multiplier, channels, out), (out,))
        zeros = tuple(jnp.zeros(shape, gradient.dtype) for shape in shapes)
        chunks = (x.reshape(-1, count, *x.shape[1:]), gradient.reshape(-1, count, *gradient.shape[1:]))
        sums, by_x = lax.scan(accumulate, zeros, chunks)
    by_depthwise, by_pointwise, by_pointwise_bias = sums
    return (
        by_x.reshape(x.shape),
        by_depthwise.reshape(depthwise_kernel.shape),
        _by_depthwise_bias(by_pointwise_bias, pointwise_kernel),
        by_pointwise,
        by_pointwise_bias,
    )


def _kernel_gradients(padded_images: Array, gradients: tuple[Array, ...]) -> Array:
    """The gradients by the depthwise kernels, `[9, k, C]`, block by block of a row, so that all of one is cached."""
    batch, height, width, channels = gradients[0].shape
    size = block_of(width, channels)
    blocks = width // size

    def block(i: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        row, left = i // blocks, i % blocks * size
        image, top, zero = row // height, row % height, jnp.zeros((), i.dtype)
        window = lax.dynamic_slice(padded_images, (image, top, left, zero), (1, 3, size + 2, channels))[0]
        parts = [lax.dynamic_slice(copy, (image, top, left, zero), (1, 1, size, channels))[0, 0] for copy in gradients]
        products = ((window[r, c : c + size] * part).sum(axis=0) for r, c in _TAPS for part in parts)  # each [C]
        return tuple(total + product for total, product in zip(sums, products, strict=True))

    zeros = tuple(jnp.zeros(channels, gradients[0].dtype) for _ in _TAPS for _ in gradients)
    sums = lax.fori_loop(0, batch * height * blocks, block, zeros)
    return jnp.stack(sums).reshape(len(_TAPS), len(gradients), channels)


def block_of(width: int, channels: int) -> int:
    """The greatest divisor of a row's width that makes a block of `_BLOCK_BYTES` at most."""
    fitting = max(1, min(width, _BLOCK_BYTES // (4 * channels)))
    return next(n for n in range(fitting, 0, -1) if width % n == 0)
