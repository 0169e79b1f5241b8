import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.ops.batch_norm import activate, batch_norm


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_batch_norm_is_the_textbook_formula(slope):
    x, scale, bias = draw(3, 4, 5, 6), draw(6, seed=1), draw(6, seed=2)
    result, mean, variance = batch_norm(x, scale, bias, slope)
    x, scale, bias = map(np.asarray, (x, scale, bias))
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, x.var(axis=(0, 1, 2)), rtol=1e-4)
    expected = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5) * scale + bias
    np.testing.assert_allclose(result, np.where(expected > 0, expected, slope * expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_the_gradients_of_batch_norm_are_those_autodiff_takes_of_the_formula(slope):
    x, scale, bias, gradient = draw(3, 4, 5, 6), draw(6, seed=1), draw(6, seed=2), draw(3, 4, 5, 6, seed=3)

    def formula(x, scale, bias):
        centred = x - x.mean(axis=(0, 1, 2), keepdims=True)
        normal = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=(0, 1, 2), keepdims=True) + 1e-5)
        return activate(normal * scale[None, None, None] + bias[None, None, None], slope)

    expected = jax.vjp(formula, x, scale, bias)[1](gradient)
    got = jax.vjp(lambda *a: batch_norm(*a, slope)[0], x, scale, bias)[1](gradient)
    for wanted, value in zip(expected, got, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-4)
