"""The optimisers: which weights Muon trains, what its update is, and how the learning rate goes on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.config import AdversarialConfig, sagan_preset, skip_ganomaly_preset
from sagan_jax.methods.optimisers import learning_rate, optimisers
from sagan_jax.methods.sagan import sagan
from sagan_jax.methods.skip_ganomaly import skip_ganomaly

CONFIG = AdversarialConfig(learning_rate=1e-3)
MUON = AdversarialConfig(learning_rate=1e-3, optimiser="muon", decay="constant", beta1=0.9)


def test_the_learning_rate_is_constant_for_half_the_steps_then_falls_to_zero():
    rate = learning_rate(CONFIG, steps=10)
    expected = [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0]
    np.testing.assert_allclose([rate(step) for step in range(11)], np.array(expected) * 1e-3, rtol=1e-5, atol=1e-9)
    assert learning_rate(dataclasses.replace(CONFIG, decay="constant"), steps=10) == 1e-3


def first_update(shape, name="pointwise_kernel"):
    """A weight, its gradient and Muon's first update, as matrices from all inputs to all outputs."""
    gradient = jax.random.normal(jax.random.key(0), shape)
    params = {name: jnp.zeros(shape)}
    optimiser, _ = optimisers(MUON, None)
    updates, _ = optimiser.update({name: gradient}, optimiser.init(params), params)
    return np.asarray(gradient).reshape(-1, shape[-1]), np.asarray(updates[name]).reshape(-1, shape[-1])


@pytest.mark.parametrize("shape", [(2, 32, 16), (3, 3, 8, 16)])
def test_muon_steps_as_far_along_every_direction_of_the_gradient(shape):
    gradient, update = first_update(shape)
    u, singular_values, v = np.linalg.svd(gradient, full_matrices=False)
    along = np.diag(u.T @ update @ v.T)  # the update along each direction of the gradient
    assert singular_values.max() > 2 * singular_values.min()
    assert (along < 0).all()
    assert along.min() / along.max() < 1.8  # Newton-Schulz leaves singular values between 0.7 and 1.2
    size = 0.2 * MUON.learning_rate  # the root mean square of Adam's updates
    assert np.sqrt((update**2).mean()) == pytest.approx(size, rel=0.25)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((3, 3, 2, 32), "depthwise_kernel"),  # a channel has weights of its own
        ((7, 7, 2, 1), "kernel"),  # one output
        ((1, 1, 16, 4), "kernel"),  # the reconstruction's channels
        ((32,), "bias"),
    ],
)
def test_adam_trains_what_is_no_matrix(shape, name):
    gradient, update = first_update(shape, name)
    np.testing.assert_allclose(update / np.sign(gradient), update[0, 0] / np.sign(gradient[0, 0]), rtol=1e-3)
    assert -2 < update[0, 0] / np.sign(gradient[0, 0]) / MUON.learning_rate <= -1  # Adam's first step: one size for all


def trained_by_muon(detector):
    """The names of the generator's weights that have a mean gradient of Muon's, and how many there are."""
    state = jax.eval_shape(lambda key: detector.init(key, (32, 32, 3)), jax.random.key(0))
    mean = state.training.generator.optimiser.inner_states["muon"].inner_state[0].mu
    names = [path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(mean)]
    return set(names), len(names)


def test_muon_trains_the_convolutions_that_mix_channels():
    inspection = sagan_preset("inspection")
    assert trained_by_muon(sagan(inspection)) == ({"pointwise_kernel"}, 18)  # two a block, nine blocks
    plain = dataclasses.replace(inspection, depthwise=False)
    assert trained_by_muon(sagan(plain)) == ({"kernel"}, 18)
    names, count = trained_by_muon(skip_ganomaly(skip_ganomaly_preset("inspection")))
    assert names == {"kernel"}
    assert count > 6


def test_the_papers_optimiser_is_adam():
    for preset in ("paper", "reference"):
        assert sagan_preset(preset).optimiser == skip_ganomaly_preset(preset).optimiser == "adam"
