import jax.numpy as jnp
import numpy as np

from sagan_jax.methods.losses import absolute_error, binary_cross_entropy, squared_error


def test_errors_by_hand():
    x, y = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.0, 1.0, 0.5])
    np.testing.assert_array_equal(absolute_error(x, y), [1.0, 3.0, 0.0])
    np.testing.assert_array_equal(squared_error(x, y), [1.0, 9.0, 0.0])


def test_binary_cross_entropy_is_the_textbook_formula():
    logits = np.linspace(-5, 5, 11)
    probability = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(binary_cross_entropy(jnp.array(logits), 1.0), -np.log(probability), rtol=1e-5)
    np.testing.assert_allclose(binary_cross_entropy(jnp.array(logits), 0.0), -np.log(1 - probability), rtol=1e-5)


def test_binary_cross_entropy_is_finite_and_exact_for_huge_logits():
    logits = jnp.array([-1e4, 1e4])
    np.testing.assert_array_equal(binary_cross_entropy(logits, 1.0), [1e4, 0.0])
    np.testing.assert_array_equal(binary_cross_entropy(logits, 0.0), [0.0, 1e4])
