"""Convolutions in the fastest form for a CPU and in one for accelerators; the same to within rounding.

On a CPU they are kernels of the project's own, where there is a compiler for them. With XLA alone, whose gradients by a
convolution's kernel take up to fifty times the convolution itself there, these are products of patches, made for some
images at a time so that they stay in the cache; so is a convolution of maps smaller than its kernel, twenty to eighty
times as fast as XLA's. One of few channels, which leaves a CPU's vectors empty, is a product of whole rows of the map.
`depthwise` and `strided` have the convolutions that SAGAN's generator and DCGAN's networks are made of.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, export, lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from sagan_jax.ops import native

FeatureMaps = Float[Array, "batch height width channel"]

CACHED_BYTES = 2 * 2**20
"""Bytes of intermediate results held at once on a CPU."""

_NARROW = 2
"""Convolutions of at most this many channels, in and out, take whole rows on a CPU."""

_VECTOR = 16
"""The most floats that a vector of a CPU holds; the kernel of 3x3 convolutions takes channels in whole vectors."""

forms = jax.make_user_context(default_value="fastest")
"""`with forms("portable"):` traces XLA's own kernels alone, for programs that run elsewhere; "plain" the accelerators'
form alone, for those that know no platforms (ONNX)."""


def by_platform(*operands: Array, cpu: Callable[..., Any], default: Callable[..., Any]) -> Any:
    """One form on a CPU and another elsewhere, decided when the program is compiled."""
    if forms.value == "plain":
        return default(*operands)
    return lax.platform_dependent(*operands, cpu=cpu, default=default)


def has_kernels(*operands: Array) -> bool:
    """Whether a program traced now for a CPU may call the project's own kernels on these arrays.

    Not where the batch is left free: such a program is to be exported, and has to run without them.
    """
    free = any(export.is_symbolic_dim(size) for operand in operands for size in operand.shape)
    return forms.value == "fastest" and not free and native.usable(*operands)


def images_at_once(batch: Any, size: int, total: int = 0) -> int | None:
    """The greatest divisor of the batch, half of it at most, that takes `CACHED_BYTES` at `size` floats an image.

    Or that takes what a result of `total` floats does, to which each part of the batch adds.

    Half, because XLA fuses what is outside a loop into its users, and computes it again for each of them. None means
    all images: if there is one, and if an exported program leaves the batch free.
    """
    if export.is_symbolic_dim(batch) or batch == 1:
        return None
    fitting = max(1, min(batch // 2, max(CACHED_BYTES, 4 * total) // (4 * size)))
    return next(n for n in range(fitting, 0, -1) if batch % n == 0)


def product_over_rows(x: Float[Array, "rows a"], y: Float[Array, "rows b"]) -> Float[Array, "a b"]:
    """x.T @ y, the narrower of the two transposed: up to twice as fast on a CPU as the wider."""
    if x.shape[1] <= y.shape[1]:
        return x.T @ y
    return lax.optimization_barrier(y.T @ x).T


@jax.custom_vjp
def product(rows: Float[Array, "rows a"], kernel: Float[Array, "a b"]) -> Float[Array, "rows b"]:
    """A matrix product whose gradient by the kernel is a `product_over_rows`."""
    return rows @ kernel


def _product_forward(rows: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    """Keeps both."""
    return product(rows, kernel), (rows, kernel)


def _product_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """The gradients by both."""
    rows, kernel = kept
    return gradient @ kernel.T, product_over_rows(rows, gradient)


product.defvjp(_product_forward, _product_backward)


def conv(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]], **options: Any) -> Array:
    """`lax.conv_general_dilated` for `nn.Conv`, neither dilated nor grouped.

    Where each output sees one pixel, or all, it is a matrix product.
    """
    height, width, channels, out = kernel.shape
    unpadded = all(sides == (0, 0) for sides in padding)
    if unpadded and (height, width) == x.shape[1:3]:
        return (x.reshape(x.shape[0], -1) @ kernel.reshape(-1, out))[:, None, None, :]
    if unpadded and height == width == 1:
        return x @ kernel.reshape(channels, out)

    def plain(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)

    def padded(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def by_rows(x: Array, kernel: Array) -> Array:
        return _conv_of_rows(padded(x), kernel)

    def by_patches(x: Array, kernel: Array) -> Array:
        patches = patches_of(padded(x), (height, width), strides)
        rows = patches.reshape(-1, patches.shape[-1])
        return product(rows, kernel.reshape(-1, out)).reshape(*patches.shape[:3], out)

    def image_gradient(gradient: Array, kernel: Array) -> Array:
        mirrored = lax.optimization_barrier(kernel[::-1, ::-1].swapaxes(2, 3))  # or XLA leaves its fast form
        axes = zip((height, width), padding, x.shape[1:3], gradient.shape[1:3], strides, strict=True)
        sides = [(taps - 1 - low, size + low - stride * (seen - 1) - 1) for taps, (low, _), size, seen, stride in axes]
        spread: dict[str, Any] = {**options, "lhs_dilation": strides}  # zeros between what the stride leaves apart
        return lax.conv_general_dilated(gradient, mirrored, (1, 1), sides, **spread)

    def kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
        return _product_of_patches(padded(x), gradient, (height, width), strides)

    if max(channels, out) <= _NARROW and tuple(strides) == (1, 1):
        cpu = by_rows
    elif has_kernels(x, kernel):
        cpu = with_gradients(*native_forms(x.shape[1:3], (height, width), strides, padding))
    elif x.shape[1] < height or x.shape[2] < width:
        cpu = by_patches
    else:
        cpu = with_gradients(plain, image_gradient, kernel_gradient)
    return by_platform(x, kernel, cpu=cpu, default=plain)


def native_forms(
    image: Sequence[int], kernel: tuple[int, int], strides: Sequence[int], padding: Sequence[tuple[int, int]]
) -> tuple[Callable[[Array, Array], Array], Callable[[Array, Array], Array], Callable[[Array, Array, Array], Array]]:
    """For CPUs, a convolution and its gradients as `with_gradients` takes them.

    `kernels/winograd.cc` has those of 3x3 kernels and stride 1, `kernels/convolution.cc` all others.

    Args:
        image: Height and width of the images.
        kernel: Of the kernel.
        strides: Down and across.
        padding: Zeros before and after, down and across.
    """
    (above, below), (left, right) = padding
    sides = {"above": above, "left": left}
    attributes = {"stride_down": strides[0], "stride_across": strides[1], **sides}
    axes = zip(image, kernel, strides, padding, strict=True)
    size = [(pixels + sum(zeros) - taps) // stride + 1 for pixels, taps, stride, zeros in axes]
    small = kernel == (3, 3) and tuple(strides) == (1, 1) and max(above, below, left, right) <= 2

    def by_winograd(weights: Array) -> bool:
        return small and weights.shape[2] % _VECTOR == 0 and weights.shape[3] % _VECTOR == 0

    def form(x: Array, weights: Array) -> Array:
        shape = (None, *size, weights.shape[3])
        if by_winograd(weights):
            return native.call("sagan_winograd", [shape], x, weights, attributes=sides)[0]
        return native.call("sagan_conv", [shape], x, weights, attributes=attributes)[0]

    def image_gradient(gradient: Array, weights: Array) -> Array:
        shape = (None, *image, weights.shape[2])
        if by_winograd(weights):
            mirrored = weights[::-1, ::-1].swapaxes(2, 3)
            opposite = {"above": 2 - above, "left": 2 - left}
            return native.call("sagan_winograd", [shape], gradient, mirrored, attributes=opposite)[0]
        return native.call("sagan_conv_by_image", [shape], gradient, weights, attributes=attributes)[0]

    def kernel_gradient(x: Array, weights: Array, gradient: Array) -> Array:
        shape = (*kernel, x.shape[3], gradient.shape[3])
        if by_winograd(weights):
            return native.call("sagan_winograd_by_kernel", [shape], x, gradient, batched=(0, 1), attributes=sides)[0]
        return native.call("sagan_conv_by_kernel", [shape], x, gradient, batched=(0, 1), attributes=attributes)[0]

    return form, image_gradient, kernel_gradient


def _conv_of_rows(
    padded_images: Float[Array, "batch padded_height padded_width channel"],
    kernel: Float[Array, "rows columns channel out"],
) -> Float[Array, "batch height width out"]:
    """A convolution of stride 1: rows of the map times matrices with the kernel's rows along their diagonals."""
    rows, columns, channels, out = kernel.shape
    batch, padded_height, padded_width, _ = padded_images.shape
    height, width = padded_height - rows + 1, padded_width - columns + 1
    distance = jnp.arange(padded_width)[:, None] - jnp.arange(width)[None, :]
    diagonals = (distance[None] == jnp.arange(columns)[:, None, None]).astype(kernel.dtype)  # [columns, W', W]
    bands = jnp.einsum("rdco,dpw->rpcwo", kernel, diagonals).reshape(rows, padded_width * channels, width * out)
    lines = padded_images.reshape(batch, padded_height, -1)
    seen = (lines[:, row : row + height].reshape(-1, padded_width * channels) for row in range(rows))
    products = (product(line, band) for line, band in zip(seen, bands, strict=True))
    return reduce(jnp.add, products).reshape(batch, height, width, out)


def with_gradients(
    form: Callable[[Array, Array], Array],
    image_gradient: Callable[[Array, Array], Array],
    kernel_gradient: Callable[[Array, Array, Array], Array],
) -> Callable[[Array, Array], Array]:
    """A convolution `form(x, kernel)` whose gradients, from that by its result, are written out.

    That by the image is `image_gradient(gradient, kernel)`, that by the kernel `kernel_gradient(x, kernel, gradient)`.
    """

    @jax.custom_vjp
    def conv(x: Array, kernel: Array) -> Array:
        return form(x, kernel)

    def forward(x: Any, kernel: Any) -> tuple[Array, tuple[Array | None, Array]]:
        return form(x.value, kernel.value), (x.value if kernel.perturbed else None, kernel.value)

    def backward(kept: tuple[Array | None, Array], gradient: Any) -> tuple[Array, Array | None]:
        x, kernel = kept
        if isinstance(gradient, SymbolicZero):
            gradient = jnp.zeros(gradient.shape, kernel.dtype)
        return image_gradient(gradient, kernel), None if x is None else kernel_gradient(x, kernel, gradient)

    conv.defvjp(forward, backward, symbolic_zeros=True)
    return conv


def patches_of(
    padded_images: Float[Array, "batch padded_height padded_width channel"],
    size: tuple[int, int],
    strides: Sequence[int],
) -> Float[Array, "batch height width seen"]:
    """What each pixel of a convolution's result sees: the values of all channels under each of its kernel's taps."""
    (rows, columns), (down, across) = size, strides
    _, height, width, _ = padded_images.shape
    taps = [
        padded_images[:, row : height - rows + row + 1 : down, column : width - columns + column + 1 : across]
        for row in range(rows)
        for column in range(columns)
    ]
    return lax.optimization_barrier(jnp.concatenate(taps, axis=-1))


def _product_of_patches(
    padded_images: Float[Array, "batch padded_height padded_width channel"],
    gradient: Float[Array, "batch height width out"],
    size: tuple[int, int],
    strides: Sequence[int],
) -> Float[Array, "rows columns channel out"]:
    """The gradient by a kernel of this size: what each of its taps saw, times the gradient by the result."""
    batch, height, width, out = gradient.shape
    channels = padded_images.shape[-1]
    rows, columns = size
    seen = rows * columns * channels

    def some(images: Array, gradient: Array) -> Array:
        patches = patches_of(images, size, strides).reshape(-1, seen)
        return product_over_rows(patches, gradient.reshape(-1, out))

    def accumulate(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        return total + some(*chunk), None

    count = images_at_once(batch, height * width * seen, total=seen * out)
    if count is None:
        total = some(padded_images, gradient)
    else:
        zeros = jnp.zeros((seen, out), gradient.dtype)
        chunks = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]), (padded_images, gradient))
        total, _ = lax.scan(accumulate, zeros, chunks)
    return total.reshape(rows, columns, channels, out)
