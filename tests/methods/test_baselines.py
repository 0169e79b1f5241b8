"""What is particular to GANomaly, EGBAD and AnoGAN."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.config import AnoganConfig, EgbadConfig, GanomalyConfig
from sagan_jax.methods.anogan import anogan
from sagan_jax.methods.egbad import BiganDiscriminator, BiganEncoder, BiganGenerator, egbad
from sagan_jax.methods.ganomaly import GanomalyGenerator, ganomaly

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
    run = jax.jit(partial(GanomalyGenerator(2, 4).apply, train=False))
    reconstructed, latent, again = run(variables, images)
    np.testing.assert_allclose(scores.total, ((latent - again) ** 2).mean(axis=-1), rtol=1e-4)
    np.testing.assert_allclose(scores.reconstruction, ((images - reconstructed) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)


def test_one_pass_gives_egbads_three_players_the_gradients_of_their_written_out_losses(images, egbad_states):
    state, new = egbad_states
    modules = {
        "generator": BiganGenerator(SHAPE, 2),
        "encoder": BiganEncoder(2, 4),
        "discriminator": BiganDiscriminator(2),
    }
    latent_key, real_key, fake_key = jax.random.split(jax.random.key(1), 3)
    latents = jax.random.normal(latent_key, (len(images), 4))

    def run(name, params, *inputs, **options):
        variables = {"params": params[name], "batch_stats": getattr(state, name).statistics}
        return modules[name].apply(variables, *inputs, train=True, mutable="batch_stats", **options)[0]

    def judged(params):
        real, _ = run("discriminator", params, run("encoder", params, images), images, dropout=real_key)
        fake, _ = run("discriminator", params, latents, run("generator", params, latents), dropout=fake_key)
        return jax.nn.softplus(real).mean(), real.mean(), jax.nn.softplus(fake).mean(), fake.mean()

    losses = {  # softplus(x) - x is the cross-entropy of calling x real, softplus(x) of calling it generated
        "generator": lambda params: judged(params)[2] - judged(params)[3],
        "encoder": lambda params: judged(params)[0],
        "discriminator": lambda params: judged(params)[0] - judged(params)[1] + judged(params)[2],
    }
    params = {name: getattr(state, name).params for name in modules}
    gradients = jax.jit(lambda params: {name: jax.grad(loss)(params)[name] for name, loss in losses.items()})(params)
    for name, gradient in gradients.items():
        means = getattr(new, name).optimiser[0].mu  # Adam's: (1 - beta1) times the first gradient
        for got, wanted in zip(jax.tree.leaves(means), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(got, 0.5 * wanted, rtol=2e-2, atol=1e-4 * float(jnp.abs(wanted).max()) + 1e-7)


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
