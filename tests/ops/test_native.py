"""The kernels compiled here: equal to XLA's forms at the edges of vectors and blocks, and done without if need be."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from sagan_jax.ops import convolution, depthwise, native

compiled = pytest.mark.skipif(not native.registered(), reason="there is no C++ compiler")


def draws(*shapes):
    draw = [np.random.default_rng([3, i]).normal(size=shape) for i, shape in enumerate(shapes)]
    return [jnp.asarray(values, jnp.float32) for values in draw]


def close(values, expected):
    for value, wanted in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4 * float(jnp.abs(wanted).max()))


# Batches over several strips of rows and several threads; channels of part of a vector, of whole ones and of more than
# a block; more depthwise results than a product takes at once; maps of one pixel, of one row, wider than a strip.
@compiled
@pytest.mark.parametrize(
    ("shape", "multiplier", "out"),
    [
        ((5, 16, 16, 3), 2, 64),
        ((9, 8, 8, 17), 1, 33),
        ((2, 4, 4, 300), 2, 70),
        ((70, 1, 1, 16), 2, 16),
        ((2, 1, 9, 5), 3, 100),
        ((1, 3, 200, 16), 2, 1),
    ],
)
def test_the_depthwise_kernels_are_the_xla_forms(shape, multiplier, out):
    x, gradient, *parameters = draws(
        shape,
        (*shape[:3], out),
        (3, 3, multiplier, shape[3]),
        (multiplier, shape[3]),
        (multiplier, shape[3], out),
        (out,),
    )
    native_result = jax.jit(depthwise.native_forward)(x, *parameters)
    close([native_result], [depthwise.shifted_forward(x, *parameters)])
    close(
        jax.jit(depthwise.native_backward)(gradient, x, *parameters),
        depthwise.shifted_backward(gradient, x, *parameters),
    )


@compiled
@pytest.mark.parametrize(
    ("shape", "out", "size", "strides", "padding"),
    [
        ((5, 16, 16, 3), 64, (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((9, 8, 8, 64), 130, (4, 4), (2, 2), ((1, 1), (1, 1))),
        ((3, 4, 4, 300), 17, (3, 3), (1, 1), ((1, 1), (1, 1))),  # more than is gathered at once
        ((40, 2, 2, 20), 16, (3, 3), (1, 1), ((1, 1), (1, 1))),  # maps smaller than the kernel
        ((2, 7, 150, 5), 3, (2, 5), (3, 1), ((0, 2), (4, 0))),
        ((2, 5, 6, 4), 3, (2, 2), (3, 3), ((0, 0), (0, 0))),  # pixels that no tap sees
        ((40, 16, 16, 16), 24, (3, 3), (2, 2), ((0, 1), (0, 1))),  # zeros below and right alone, of whole vectors
        ((40, 8, 8, 16), 24, (3, 1), (2, 1), ((0, 1), (0, 0))),  # and below alone
        ((3, 16, 16, 16), 32, (3, 3), (1, 1), ((1, 1), (1, 1))),  # from here on by Winograd's algorithm
        ((2, 7, 9, 32), 80, (3, 3), (1, 1), ((1, 0), (2, 2))),  # tiles cut off; more than a panel
        ((40, 2, 2, 144), 16, (3, 3), (1, 1), ((1, 1), (1, 1))),  # by small tiles, as the next ones
        ((3, 5, 2, 16), 32, (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((140, 1, 3, 16), 16, (3, 3), (1, 1), ((1, 1), (0, 0))),
    ],
)
def test_the_convolutions_kernels_are_xlas(shape, out, size, strides, padding):
    x, kernel = draws(shape, (*size, shape[3], out))

    def plain(x, kernel):
        layouts = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layouts)

    expected, vjp = jax.vjp(plain, x, kernel)
    form, image_gradient, kernel_gradient = convolution.native_forms(shape[1:3], size, strides, padding)
    (gradient,) = draws(expected.shape)
    got = jax.jit(lambda: (image_gradient(gradient, kernel), kernel_gradient(x, kernel, gradient)))()
    close([jax.jit(form)(x, kernel), *got], [expected, *vjp(gradient)])


@compiled
def test_an_images_result_has_the_same_bits_in_any_batch():
    x, kernel, *parameters = draws((7, 4, 4, 24), (3, 3, 24, 40), (3, 3, 2, 24), (2, 24), (2, 24, 40), (40,))
    form, *_ = convolution.native_forms((4, 4), (3, 3), (1, 1), ((1, 1), (1, 1)))
    for call in (lambda x: form(x, kernel), lambda x: depthwise.native_forward(x, *parameters)):
        together = call(x)
        for i in range(7):
            np.testing.assert_array_equal(call(x[i : i + 1])[0], together[i])


@compiled
def test_gradients_have_the_same_bits_every_time():
    x, gradient, *parameters = draws((64, 4, 4, 24), (64, 4, 4, 40), (3, 3, 2, 24), (2, 24), (2, 24, 40), (40,))
    first, *others = (jax.jit(depthwise.native_backward)(gradient, x, *parameters) for _ in range(5))
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


@compiled
def test_nan_is_passed_on():
    x, *parameters = draws((1, 4, 4, 3), (3, 3, 2, 3), (2, 3), (2, 3, 5), (5,))
    result = depthwise.native_forward(x.at[0, 0, 0, 1].set(jnp.nan), *parameters)
    assert jnp.isnan(result[0, :2, :2]).all()
    assert jnp.isfinite(result[0, 2:]).all()


@compiled
def test_only_float32_programs_for_this_machines_cpu_call_the_kernels():
    def text(x, kernel):
        def call(x, kernel):
            return convolution.conv(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))

        return str(jax.make_jaxpr(call)(x, kernel))

    x, kernel = draws((2, 4, 4, 3), (3, 3, 3, 5))
    assert "sagan_conv" in text(x, kernel)
    assert "sagan_conv" not in text(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert "sagan_conv" not in text(jax.ShapeDtypeStruct((*export.symbolic_shape("n"), 4, 4, 3), x.dtype), kernel)
    with convolution.forms("portable"):
        assert "sagan_conv" not in text(x, kernel)


@compiled
def test_a_library_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library = native.compiled("depthwise")
    assert library is not None
    assert [library] == list((tmp_path / "sagan_jax" / "kernels").iterdir())
    written = library.stat()
    assert native.compiled("depthwise") == library
    assert library.stat() == written


@pytest.mark.parametrize("compiler", ["", "no-such-compiler", "false"])
def test_without_a_compiler_xlas_own_kernels_give_the_same(compiler, tmp_path):
    program = (
        "import jax.numpy as jnp, numpy as np\n"
        "from sagan_jax import device\n"
        "from sagan_jax.ops import depthwise\n"
        "x = jnp.arange(32.0).reshape(1, 4, 4, 2)\n"
        "ones = [jnp.ones(shape) for shape in ((3, 3, 1, 2), (1, 2), (1, 2, 1), (1,))]\n"
        "print(device.start(), float(depthwise.depthwise_separable_conv(x, *ones)[0, 1, 1, 0]))"
    )
    environment = {**os.environ, "CXX": compiler, "XDG_CACHE_HOME": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    # Nine pixels of two channels, the middle ones 10 and 11, and the three biases.
    assert found.stdout == f"cpu ({os.cpu_count()} cores, XLA's kernels) {9.0 * (10 + 11) + 3}\n"
    assert not list(tmp_path.rglob("*.so"))


@compiled
def test_each_device_computes_its_part_of_the_batch():
    program = (
        "import jax, jax.numpy as jnp, numpy as np\n"
        "from jax.sharding import Mesh, NamedSharding, PartitionSpec\n"
        "from sagan_jax.ops import depthwise\n"
        "x = jnp.arange(64.0).reshape(2, 4, 4, 2)\n"
        "parameters = [jnp.ones(shape) for shape in ((3, 3, 1, 2), (1, 2), (1, 2, 1), (1,))]\n"
        "def loss(x, *parameters):\n"
        "    return jnp.square(depthwise.depthwise_separable_conv(x, *parameters)).sum()\n"
        "gradients = jax.grad(loss, argnums=(0, 1, 2, 3, 4))\n"
        "expected = gradients(x, *parameters)\n"
        "mesh = Mesh(np.array(jax.devices()), ('batch',))\n"
        "split = jax.device_put(x, NamedSharding(mesh, PartitionSpec('batch')))\n"
        "whole = jax.device_put(parameters, NamedSharding(mesh, PartitionSpec()))\n"
        "program = jax.jit(gradients).lower(split, *whole).compile()\n"
        "for got, wanted in zip(program(split, *whole), expected, strict=True):\n"
        "    np.testing.assert_allclose(got, wanted, rtol=1e-5)\n"
        "text = program.as_text()\n"
        "print(len(jax.devices()), 'sagan_depthwise_backward' in text, 'all-gather' in text, 'all-reduce' in text)"
    )
    environment = os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2", "True", "False", "True"]  # sums over the batch are all that devices exchange


def test_another_processor_or_compiler_has_a_library_of_its_own(monkeypatch):
    name = native.library_name("depthwise", "g++ 12")
    assert name.startswith("depthwise-")
    assert native.library_name("depthwise", "g++ 12") == name
    assert native.library_name("depthwise", "g++ 13") != name
    monkeypatch.setattr(native, "processor", lambda: "another")
    assert native.library_name("depthwise", "g++ 12") != name
