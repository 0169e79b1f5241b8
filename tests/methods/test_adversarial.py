"""The step: what it leaves alone, and that its one pass gives the gradients of the losses as written out."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sagan_jax.config import AdversarialConfig
from sagan_jax.methods.adversarial import reconstruction_gan
from sagan_jax.methods.layers import BatchNorm, Conv

CONFIG = AdversarialConfig(learning_rate=1e-3)


class Generator(nn.Module):
    """The least that has all a generator has: weights, biases, running statistics."""

    @nn.compact
    def __call__(self, images, train):
        return Conv(images.shape[-1], 1)(nn.relu(BatchNorm()(Conv(4, 3, padding=1)(images), train)))


class Discriminator(nn.Module):
    """The least that has all a discriminator has."""

    @nn.compact
    def __call__(self, images, train):
        latent = nn.relu(BatchNorm()(Conv(5, 4)(images), train)).mean(axis=(1, 2))  # [B, 5]
        return nn.Dense(1)(latent)[:, 0], latent


def small_gan(**changes):
    return reconstruction_gan(lambda _: (Generator(), Discriminator()), dataclasses.replace(CONFIG, **changes), None)


@pytest.fixture(scope="module")
def batch():
    return jax.random.uniform(jax.random.key(5), (4, 16, 16, 1), minval=-1)


def updated(batch, **changes):
    detector = small_gan(**changes)
    state = detector.init(jax.random.key(0), batch.shape[1:])
    return state, *jax.jit(detector.update)(state, batch, jax.random.key(1))


def written_out_gradients(state, batch, latent_in_discriminator):
    """Both objectives by the book, each network run afresh for each."""
    generator, discriminator = Generator(), Discriminator()

    def train(module, params, player, x):
        return module.apply({"params": params, "batch_stats": player.statistics}, x, train=True, mutable="batch_stats")[
            0
        ]

    def bce(logits, target):
        return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target)).mean()

    def generator_loss(params):
        fake = train(generator, params, state.generator, batch)
        _, real_latent = train(discriminator, state.discriminator.params, state.discriminator, batch)
        logits, latent = train(discriminator, state.discriminator.params, state.discriminator, fake)
        return bce(logits, 1.0) + 40 * jnp.abs(batch - fake).mean() + ((real_latent - latent) ** 2).mean()

    def discriminator_loss(params):
        fake = train(generator, state.generator.params, state.generator, batch)
        real_logits, real_latent = train(discriminator, params, state.discriminator, batch)
        logits, latent = train(discriminator, params, state.discriminator, fake)
        latent_loss = ((real_latent - latent) ** 2).mean() if latent_in_discriminator else 0.0
        return bce(real_logits, 1.0) + bce(logits, 0.0) + latent_loss

    return (
        jax.jit(jax.value_and_grad(generator_loss))(state.generator.params),
        jax.jit(jax.value_and_grad(discriminator_loss))(state.discriminator.params),
    )


@pytest.mark.parametrize("latent_in_discriminator", [False, True])
def test_one_pass_gives_the_losses_and_gradients_of_the_written_out_objectives(batch, latent_in_discriminator):
    state, new, metrics = updated(batch, latent_in_discriminator=latent_in_discriminator)
    expected = written_out_gradients(state, batch, latent_in_discriminator)
    for name, (loss, gradient) in zip(("generator", "discriminator"), expected, strict=True):
        np.testing.assert_allclose(metrics[f"{name}_loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics[f"{name}_gradient_norm"], optax.tree.norm(gradient), rtol=1e-3)
        mean_gradient = getattr(new, name).optimiser[0].mu  # Adam's: (1 - beta1) times the first gradient
        for got, wanted in zip(jax.tree.leaves(mean_gradient), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(got, 0.5 * wanted, rtol=2e-2, atol=1e-4 * float(jnp.abs(wanted).max()) + 1e-6)


def test_the_generators_loss_is_the_weighted_sum_of_its_terms(batch):
    _, _, m = updated(batch)
    total = m["generator_adversarial"] + 40 * m["generator_reconstruction"] + m["generator_latent"]
    np.testing.assert_allclose(m["generator_loss"], total, rtol=1e-6)
    np.testing.assert_allclose(m["discriminator_loss"], m["discriminator_real"] + m["discriminator_fake"], rtol=1e-6)


def test_each_update_leaves_the_other_players_parameters_alone(batch):
    """The generator's step does not depend on whether the discriminator moves in it, nor the other way round."""
    detector = small_gan()
    state = detector.init(jax.random.key(0), batch.shape[1:])
    update = jax.jit(detector.update)
    new, _ = update(state, batch, jax.random.key(1))
    # Adam's memory of another past changes that player's step, and no bit of the other's.
    other = state.discriminator._replace(optimiser=new.discriminator.optimiser)
    changed, _ = update(state._replace(discriminator=other), batch, jax.random.key(1))
    assert_same(changed.generator, new.generator)
    assert not same(changed.discriminator.params, new.discriminator.params)
    other = state.generator._replace(optimiser=new.generator.optimiser)
    changed, _ = update(state._replace(generator=other), batch, jax.random.key(1))
    assert_same(changed.discriminator, new.discriminator)
    assert not same(changed.generator.params, new.generator.params)


def test_the_discriminators_statistics_move_on_real_then_on_generated_images(batch):
    state, new, _ = updated(batch)
    discriminator, generator = Discriminator(), Generator()
    fake, _ = generator.apply(
        {"params": state.generator.params, "batch_stats": state.generator.statistics},
        batch,
        True,
        mutable="batch_stats",
    )
    statistics = state.discriminator.statistics
    for images in (batch, fake):
        variables = {"params": state.discriminator.params, "batch_stats": statistics}
        statistics = discriminator.apply(variables, images, True, mutable="batch_stats")[1]["batch_stats"]
    for got, wanted in zip(jax.tree.leaves(new.discriminator.statistics), jax.tree.leaves(statistics), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_a_collapsed_discriminator_starts_afresh_and_says_so(batch):
    state, new, metrics = updated(batch, reinitialise_below=100.0)  # above any loss there is
    assert metrics["discriminator_reinitialised"] == 1
    old, fresh = state.discriminator.params["Conv_0"], new.discriminator.params["Conv_0"]
    moved = jnp.abs(old["Conv_0"]["kernel"] - fresh["Conv_0"]["kernel"])
    assert float(jnp.median(moved)) > 5 * CONFIG.learning_rate  # Adam's first step moves by the learning rate
    assert float(fresh["Conv_0"]["kernel"].std()) == pytest.approx(0.02, rel=0.3)


def test_a_discriminator_that_has_not_collapsed_is_left_alone(batch):
    _, plain, _ = updated(batch)
    _, new, metrics = updated(batch, reinitialise_below=1e-5)
    assert metrics["discriminator_reinitialised"] == 0
    assert_same(new.discriminator.params, plain.discriminator.params)


def same(a, b):
    return all(bool((x == y).all()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
