import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.config import SaganConfig, sagan_preset
from sagan_jax.methods.dcgan import Discriminator
from sagan_jax.methods.layers import initialise
from sagan_jax.methods.sagan import SaganGenerator, sagan

SMALL = SaganConfig(width=4)


def output_shapes(module, size, channels):
    images = jnp.zeros((2, size, size, channels))
    return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), images, train=False)[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [32, pytest.param(64, marks=pytest.mark.slow), pytest.param(128, marks=pytest.mark.slow), 256]
)
@pytest.mark.parametrize("multiplier", [0, 1, 2])
def test_the_reconstruction_has_the_shape_of_the_image(size, channels, multiplier):
    shape = output_shapes(SaganGenerator(channels, width=4, multiplier=multiplier), size, channels).shape
    assert shape == (2, size, size, channels)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_the_discriminator_gives_a_logit_and_a_latent_an_image(size):
    logits, latent = output_shapes(Discriminator(width=4, latent_size=7), size, 3)
    assert (logits.shape, latent.shape) == ((2,), (2, 7))


def test_the_authors_generator_has_their_count():
    c = sagan_preset("reference")
    state = jax.eval_shape(lambda key: sagan(c).init(key, (32, 32, 3)), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.generator.params)) == 2_062_065


def test_only_attention_and_wiring_differ_between_the_switches():
    def count(**changes):
        detector = sagan(dataclasses.replace(SMALL, **changes))
        state = jax.eval_shape(lambda key: detector.init(key, (32, 32, 3)), jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(state.generator.params))

    assert count(pool="soft") == count(attend_encoder_path=True) == count()
    assert count(attention=False) < count()


def test_attended_maps_go_down_the_encoder_only_when_asked(key):
    images = jax.random.uniform(key, (2, 16, 16, 1), minval=-1)
    variables = initialise(SaganGenerator(1, width=4), key, (16, 16, 1))
    plain, wired = (
        jax.jit(partial(SaganGenerator(1, width=4, attend_encoder_path=wired).apply, train=True, mutable="batch_stats"))
        for wired in (False, True)
    )
    assert float(jnp.abs(plain(variables, images)[0] - wired(variables, images)[0]).max()) > 1e-3


def test_weights_start_as_they_should(key):
    params = sagan(SaganConfig(width=16)).init(key, (32, 32, 3)).generator.params
    kernel = params["encoder4"]["DepthwiseSeparableConv_1"]["pointwise_kernel"]  # 2 * 128 * 128 draws
    scale = params["encoder4"]["BatchNorm_1"]["scale"]
    np.testing.assert_allclose((kernel.mean(), kernel.std()), (0, 0.02), atol=5e-4)
    np.testing.assert_allclose((scale.mean(), scale.std()), (1, 0.02), atol=8e-3)
    biases = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if "bias" in str(path[-1])]
    assert biases
    assert all(float(jnp.abs(bias).max()) == 0 for bias in biases)
