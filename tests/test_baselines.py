"""What is particular to GANomaly, EGBAD and AnoGAN."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.anogan import anogan
from sagan_jax.config import AnoganConfig, EgbadConfig, GanomalyConfig
from sagan_jax.egbad import egbad
from sagan_jax.ganomaly import Generator, ganomaly

SHAPE = (16, 16, 1)
EGBAD = egbad(EgbadConfig(width=2, latent_size=4, learning_rate=0.01))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(5), (4, *SHAPE), minval=-1)


@pytest.fixture(scope="module")
def egbad_states(images):
    """Before and after a step."""
    state = EGBAD.init(jax.random.key(0), SHAPE)
    return state, jax.jit(EGBAD.update)(state, images, jax.random.key(1))[0]


def test_ganomalys_score_is_the_distance_of_the_latents_of_image_and_reconstruction(images, key):
    detector = ganomaly(GanomalyConfig(width=2, latent_size=4))
    state = detector.init(key, SHAPE)
    scores = jax.jit(detector.score)(state, images)
    variables = {"params": state.generator.params, "batch_stats": state.generator.statistics}
    run = jax.jit(partial(Generator(2, 4).apply, train=False))
    reconstructed, latent, again = run(variables, images)
    np.testing.assert_allclose(scores.total, ((latent - again) ** 2).mean(axis=-1), rtol=1e-4)
    np.testing.assert_allclose(scores.reconstruction, ((images - reconstructed) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)


def test_egbads_averages_move_a_thousandth_of_the_way(egbad_states):
    old, new = egbad_states
    for name, averages in new.averages.items():
        for before, weights, average in zip(
            *map(jax.tree.leaves, (old.averages[name], getattr(new, name).params, averages)), strict=True
        ):
            np.testing.assert_allclose(average, 0.999 * before + 0.001 * weights, rtol=1e-5, atol=1e-7)


def test_egbad_scores_by_its_averages(images, egbad_states):
    state, score = egbad_states[1], jax.jit(EGBAD.score)
    forgotten = {
        name: getattr(state, name)._replace(params=jax.tree.map(jnp.zeros_like, getattr(state, name).params))
        for name in state.averages
    }
    np.testing.assert_array_equal(score(state._replace(**forgotten), images).total, score(state, images).total)


def test_egbads_dropout_is_of_the_key(images, egbad_states):
    state, update = egbad_states[0], jax.jit(EGBAD.update)
    losses = [update(state, images, jax.random.key(seed))[1]["discriminator_real"] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_anogans_search_brings_the_generated_image_nearer(images, key):
    """On a generator with weights ten times their size: at the start its images hardly depend on the latent."""
    config = AnoganConfig(width=2, latent_size=4, search_steps=1, search_rate=0.05)
    state = anogan(config).init(key, SHAPE)
    params = jax.tree.map(lambda leaf: 10 * leaf, state.generator.params)
    state = state._replace(generator=state.generator._replace(params=params))
    short, long = (
        jax.jit(anogan(dataclasses.replace(config, search_steps=steps)).score)(state, images) for steps in (1, 100)
    )
    assert (long.total < short.total).all()
    np.testing.assert_allclose(long.total, 0.9 * long.reconstruction + 0.1 * long.latent, rtol=1e-5)
