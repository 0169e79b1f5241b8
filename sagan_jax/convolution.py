"""Convolutions as XLA runs them fastest, one form for the CPU and one for accelerators; the same to within rounding.

XLA's grouped convolutions are slow on a CPU, and the gradients of their kernels above all. There, a depthwise 3x3
convolution is nine shifted multiply-adds, which vectorise over channels, on a few images at a time, so that what lies
between it and the pointwise matrix product stays in the cache; and a 4x4 convolution of stride 2 is one matrix product.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, export, lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

Images = Float[Array, "batch height width channel"]

CACHED_BYTES = 2 * 2**20
"""How much of the depthwise result is held at once on a CPU."""

TAPS = tuple((row, column) for row in range(3) for column in range(3))

Parameters = tuple[Array, Array, Array, Array]

plain_forms = jax.make_user_context(default_value=False)
"""`with plain_forms(True):` traces the accelerators' form alone, for programs that know no platforms (ONNX)."""


def by_platform(*operands: Array, cpu: Callable[..., Any], default: Callable[..., Any]) -> Any:
    """One form on a CPU and another elsewhere, decided when the program is compiled."""
    if plain_forms.value:
        return default(*operands)
    return lax.platform_dependent(*operands, cpu=cpu, default=default)


@jax.custom_vjp
def depthwise_separable_conv(
    x: Images,
    depthwise_kernel: Float[Array, "3 3 multiplier channel"],
    depthwise_bias: Float[Array, "multiplier channel"],
    pointwise_kernel: Float[Array, "multiplier channel out"],
    pointwise_bias: Float[Array, " out"],
) -> Float[Array, "batch height width out"]:
    """Depthwise 3x3 (padding 1, bias), then pointwise 1x1 (bias) (paper section 2.3)."""
    return by_platform(
        x, depthwise_kernel, depthwise_bias, pointwise_kernel, pointwise_bias, cpu=shifted_forward, default=grouped_conv
    )


def forward(x: Array, *parameters: Array) -> tuple[Array, tuple[Array, ...]]:
    """Only the inputs are kept for the backward pass: the depthwise result is cheaper made again than stored."""
    return depthwise_separable_conv(x, *parameters), (x, *parameters)


def backward(inputs: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    """The gradients by the image and by each parameter."""

    def by_autodiff(gradient: Array, *inputs: Array) -> tuple[Array, ...]:
        return jax.vjp(grouped_conv, *inputs)[1](gradient)

    return by_platform(gradient, *inputs, cpu=shifted_backward, default=by_autodiff)


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


def images_at_once(x: Array, multiplier: int) -> int | None:
    """The greatest divisor of the batch, half of it at most, whose depthwise result fits `CACHED_BYTES`.

    Half, for XLA fuses what stands in no loop into whatever takes it, and makes it anew for each use. None stands for
    all of them: where there is one, and where an exported program leaves the batch free.
    """
    batch, height, width, channels = x.shape
    if export.is_symbolic_dim(batch) or batch == 1:
        return None
    fitting = max(1, min(batch // 2, CACHED_BYTES // (4 * height * width * channels * multiplier)))
    return next(n for n in range(fitting, 0, -1) if batch % n == 0)


def padded(x: Array) -> Array:
    """One zero around each image. The barrier keeps XLA from padding anew for each of the nine taps."""
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))


def correlate(padded_images: Array, kernel: Array) -> Array:
    """A depthwise 3x3 correlation, `kernel` [3, 3, C], as nine shifted multiply-adds."""
    height, width = padded_images.shape[1] - 2, padded_images.shape[2] - 2
    taps = (
        padded_images[:, row : row + height, column : column + width] * kernel[row, column][None, None, None, :]
        for row, column in TAPS
    )
    return sum(taps, start=next(taps))


def depthwise(padded_images: Array, kernel: Array, bias: Array) -> tuple[Array, ...]:
    """The depthwise result, copy by copy. The barrier keeps XLA from making it anew inside each matrix product."""
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

    count = images_at_once(x, len(pointwise_kernel))
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
        by_pointwise = jnp.stack([flat.T @ copy.reshape(-1, channels) for copy in copies])  # [k, O, C]
        by_copies = lax.optimization_barrier(
            tuple((flat @ pointwise_kernel[j].T).reshape(*gradient.shape[:3], channels) for j in range(multiplier))
        )
        by_depthwise = kernel_gradients(images, by_copies)  # [9, k, C]
        parts = (correlate(padded(copy), flipped[:, :, j]) for j, copy in enumerate(by_copies))
        return sum(parts, start=next(parts)), (by_depthwise, by_pointwise, flat.sum(axis=0))

    count = images_at_once(x, multiplier)
    if count is None:
        by_x, sums = some(x, gradient)
    else:

        def accumulate(sums: tuple[Array, ...], chunk: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
            by_x, more = some(*chunk)
            return jax.tree.map(jnp.add, sums, more), by_x

        shapes = ((9, multiplier, channels), (multiplier, out, channels), (out,))
        zeros = tuple(jnp.zeros(shape, gradient.dtype) for shape in shapes)
        chunks = (x.reshape(-1, count, *x.shape[1:]), gradient.reshape(-1, count, *gradient.shape[1:]))
        sums, by_x = lax.scan(accumulate, zeros, chunks)
    by_depthwise, by_pointwise, by_pointwise_bias = sums
    # The depthwise bias reaches the output through the pointwise kernel alone: the other bias's gradient, sent back.
    by_depthwise_bias = jnp.einsum("o,kco->kc", by_pointwise_bias, pointwise_kernel)
    return (
        by_x.reshape(x.shape),
        by_depthwise.reshape(depthwise_kernel.shape),
        by_depthwise_bias,
        by_pointwise.swapaxes(1, 2),
        by_pointwise_bias,
    )


def kernel_gradients(padded_images: Array, gradients: tuple[Array, ...]) -> Array:
    """The gradients by the depthwise kernels, `[9, k, C]`: row by row, so that all of a row is in the cache."""
    batch, height, width, channels = gradients[0].shape

    def row(i: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        image, top = i // height, i % height
        zero = jnp.zeros((), i.dtype)
        window = lax.dynamic_slice(padded_images, (image, top, zero, zero), (1, 3, width + 2, channels))[0]
        rows = [lax.dynamic_slice(copy, (image, top, zero, zero), (1, 1, width, channels))[0, 0] for copy in gradients]
        products = ((window[r, c : c + width] * row).sum(axis=0) for r, c in TAPS for row in rows)  # each [C]
        return tuple(total + product for total, product in zip(sums, products, strict=True))

    zeros = tuple(jnp.zeros(channels, gradients[0].dtype) for _ in TAPS for _ in gradients)
    sums = lax.fori_loop(0, batch * height, row, zeros)
    return jnp.stack(sums).reshape(len(TAPS), len(gradients), channels)


def strided_conv(
    x: Images, kernel: Float[Array, "4 4 channel out"]
) -> Float[Array, "batch half_height half_width out"]:
    """4x4 convolution, stride 2, padding 1, no bias: DCGAN's."""
    plain = with_adjoint(strided_conv_plain, transposed_conv_plain)
    return by_platform(x, kernel, cpu=strided_conv_as_product, default=plain)


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
    return (rows @ kernel).reshape(batch, h, w, -1)


def transposed_conv(
    x: Images, kernel: Float[Array, "4 4 channel out"]
) -> Float[Array, "batch twice_height twice_width out"]:
    """4x4 transposed convolution, stride 2, padding 1, no bias: DCGAN's.

    Pixel (i, j) times `kernel[a, b]` is added to pixel (2i - 1 + a, 2j - 1 + b) of the result, as in PyTorch.
    """
    plain = with_adjoint(transposed_conv_plain, strided_conv_plain)
    return by_platform(x, kernel, cpu=transposed_conv_as_product, default=plain)


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


def with_adjoint(form: Callable[..., Array], adjoint: Callable[..., Array]) -> Callable[..., Array]:
    """A convolution whose gradient by the image is another one, by name: what JAX makes of it, ONNX has no word for."""

    @jax.custom_vjp
    def plain(x: Array, kernel: Array) -> Array:
        return form(x, kernel)

    def forward(x: Any, kernel: Any) -> tuple[Array, tuple[Array | None, Array]]:
        return form(x.value, kernel.value), (x.value if kernel.perturbed else None, kernel.value)

    def backward(kept: tuple[Array | None, Array], gradient: Any) -> tuple[Array, Array | None]:
        x, kernel = kept
        if isinstance(gradient, SymbolicZero):
            gradient = jnp.zeros(gradient.shape, kernel.dtype)
        by_x = adjoint(gradient, kernel.swapaxes(2, 3))
        return by_x, None if x is None else jax.vjp(lambda kernel: form(x, kernel), kernel)[1](gradient)[0]

    plain.defvjp(forward, backward, symbolic_zeros=True)
    return plain


def transposed_conv_as_product(x: Array, kernel: Array) -> Array:
    """For CPUs: one matrix product gives what each pixel adds to the 4x4 around it; these are shifted and summed."""
    batch, height, width, channels = x.shape
    out = kernel.shape[-1]
    products = x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, 16 * out)
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


def conv(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]], **options: Any) -> Array:
    """`lax.conv_general_dilated` for `nn.Conv`; where each output sees one pixel, or all, it is a matrix product."""
    height, width, channels, out = kernel.shape
    unpadded = all(sides == (0, 0) for sides in padding)
    if unpadded and (height, width) == x.shape[1:3]:
        return (x.reshape(x.shape[0], -1) @ kernel.reshape(-1, out))[:, None, None, :]
    if unpadded and height == width == 1:
        return x @ kernel.reshape(channels, out)
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)
