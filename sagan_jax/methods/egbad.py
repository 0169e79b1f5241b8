"""EGBAD (Zenati et al., 2018): a bidirectional GAN; its encoder replaces AnoGAN's search.

A generator makes images from latents, an encoder latents from images, and a discriminator tells the pairs (E(x), x) and
(z, G(z)) apart, which the two others try to make alike. Score: 0.9 ‖x - G(E(x))‖₁ + 0.1 times the L1 distance between
the discriminator's features of (E(x), x) and (E(x), G(E(x))), or its cross-entropy on the latter, all by exponential
moving averages of the weights. Parameters at 32 px, RGB: generator 8,755,328, encoder
1,732,232, discriminator 4,892,289.

Where this departs from its authors' released code, for 28 px MNIST: the widths at other sizes and in colour are ours;
one batch serves all three networks, whose updates are taken from one forward pass; a leaky ReLU follows the encoder's
first convolution; 4x4 convolutions have no bias; BatchNorm has this project's epsilon and momentum (1e-5 and 0.9,
there 1e-3 and 0.99). Theirs is the one code of this family that scores strictly.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from sagan_jax.config import EgbadConfig
from sagan_jax.detector import Detector, Metrics, Scores, Statistics, check_floats
from sagan_jax.methods.adversarial import (
    Judgement,
    Player,
    apply_gradient,
    apply_scoring,
    apply_training,
    new_player,
    total_score,
)
from sagan_jax.methods.dcgan import check_image_shape
from sagan_jax.methods.layers import ARITHMETIC, BatchNorm, StridedConv, TransposedConv, weight_init
from sagan_jax.methods.losses import absolute_error, binary_cross_entropy
from sagan_jax.methods.optimisers import adam
from sagan_jax.ops import convolution

NAMES = ("generator", "encoder", "discriminator")
_SLOPE = 0.1


class BiganEncoder(nn.Module):
    """From an image to a latent: three 3x3 convolutions, two of them strided, and a dense layer.

    Attributes:
        width: Channels after the first convolution, doubled by each further one.
        latent_size: Length of the latent.
        dtype: Arithmetic of the network; the latent is float32.
    """

    width: int
    latent_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        def conv(level: int, stride: int) -> nn.Conv:
            features = self.width * 2 ** (level - 1)
            padding = ((2 - stride, 1),) * 2  # a map keeps its size, or has half of it
            return nn.Conv(
                features,
                (3, 3),
                stride,
                padding,
                dtype=self.dtype,
                kernel_init=weight_init,
                conv_general_dilated=convolution.conv,
                name=f"conv{level}",
            )

        x = nn.leaky_relu(conv(1, 1)(images), _SLOPE)  # [B, H, W, width]
        for level in (2, 3):
            x = BatchNorm(_SLOPE, name=f"norm{level}")(conv(level, 2)(x), train)  # [B, H / 2^(level - 1), ...]
        return dense(self.latent_size, self.dtype, "latent")(x.reshape(x.shape[0], -1)).astype(jnp.float32)


class BiganGenerator(nn.Module):
    """From a latent to an image: two dense layers to a quarter of the side, two transposed convolutions, tanh.

    Attributes:
        image_shape: [H, W, C] of the image.
        width: Dense layers have 32 times as many features and 4 times as many channels, the map after them 2 times.
        dtype: Arithmetic of the network; the image is float32.
    """

    image_shape: tuple[int, ...]
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latent: Array, train: bool) -> Array:
        side = self.image_shape[0] // 4
        x = dense(32 * self.width, self.dtype, "dense1")(latent)[:, None, None, :]
        x = BatchNorm(0.0, name="norm1")(x, train)[:, 0, 0, :]
        x = dense(side * side * 4 * self.width, self.dtype, "dense2")(x)
        x = BatchNorm(0.0, name="norm2")(x[:, None, None, :], train).reshape(-1, side, side, 4 * self.width)
        x = TransposedConv(2 * self.width, dtype=self.dtype, name="conv3")(x)
        x = BatchNorm(0.0, name="norm3")(x, train)  # [B, H / 2, W / 2, 2 width]
        x = TransposedConv(self.image_shape[-1], dtype=self.dtype, name="conv4")(x)  # [B, H, W, C]
        return jnp.tanh(x.astype(jnp.float32))


class BiganDiscriminator(nn.Module):
    """A logit and a feature of a pair of latent and image. In training half of each layer's outputs are dropped.

    Attributes:
        width: The image's two convolutions have twice as many channels, the latent's dense layer 16 times as many
            features, the joint one 32 times.
        dtype: Arithmetic of the network; logits and feature are float32.
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latent: Array, images: Array, train: bool, dropout: Array | None = None) -> tuple[Array, Array]:
        def drop(x: Array, layer: int) -> Array:
            if dropout is None:
                return x
            return nn.Dropout(0.5, deterministic=False)(x, rng=jax.random.fold_in(dropout, layer))

        x = StridedConv(2 * self.width, self.dtype, name="conv1")(images)
        x = drop(nn.leaky_relu(x, _SLOPE), 1)  # [B, H / 2, W / 2, 2 width]
        x = StridedConv(2 * self.width, self.dtype, name="conv2")(x)
        x = drop(BatchNorm(_SLOPE, name="norm2")(x, train), 2)  # [B, H / 4, W / 4, 2 width]
        z = drop(nn.leaky_relu(dense(16 * self.width, self.dtype, "latent")(latent), _SLOPE), 3)
        joint = jnp.concatenate([x.reshape(x.shape[0], -1), z], axis=-1)
        feature = drop(nn.leaky_relu(dense(32 * self.width, self.dtype, "joint")(joint), _SLOPE), 4)
        logits = dense(1, self.dtype, "classifier")(feature)  # [B, 1]
        return logits[:, 0].astype(jnp.float32), feature.astype(jnp.float32)


def dense(features: int, dtype: Any, name: str) -> nn.Dense:
    """A dense layer with this project's initialisation."""
    return nn.Dense(features, dtype=dtype, kernel_init=weight_init, name=name)


class EgbadState(NamedTuple):
    """The state of a training run: the three players, their weights' moving averages, the steps taken."""

    step: Array
    generator: Player
    encoder: Player
    discriminator: Player
    averages: dict[str, Any]


@lru_cache(maxsize=32)
def egbad(config: EgbadConfig, steps: int | None = None) -> Detector:
    """EGBAD as a detector; the same settings give the same functions.

    Args:
        config: Its settings.
        steps: Training steps in all, over which a decaying learning rate decays; None keeps it constant.

    Returns:
        The detector. Its `init` raises `UserError` for images that are not square with a power-of-two side.
    """
    dtype = ARITHMETIC[config.precision]
    optimiser = adam(config, steps)

    def networks(image_shape: tuple[int, ...]) -> tuple[BiganGenerator, BiganEncoder, BiganDiscriminator]:
        check_image_shape(image_shape)
        return (
            BiganGenerator(image_shape, config.width, dtype),
            BiganEncoder(config.width, config.latent_size, dtype),
            BiganDiscriminator(config.width, dtype),
        )

    def init(key: Array, image_shape: tuple[int, ...]) -> EgbadState:
        @jax.jit  # one program in place of thousands of small ones
        def build(key: Array) -> EgbadState:
            latent_shape = (config.latent_size,)
            inputs = ((latent_shape,), (image_shape,), (latent_shape, image_shape))
            modules, keys = networks(image_shape), jax.random.split(key, 3)
            players = {
                name: new_player(optimiser, module, key, *shapes)
                for name, module, key, shapes in zip(NAMES, modules, keys, inputs, strict=True)
            }
            averages = {name: player.params for name, player in players.items()}
            return EgbadState(step=jnp.zeros((), jnp.int32), **players, averages=averages)

        return build(key)

    def update(state: EgbadState, batch: Array, key: Array) -> tuple[EgbadState, Metrics]:
        check_floats(batch)
        generator, encoder, discriminator = networks(batch.shape[1:])
        latent_key, real_key, fake_key = jax.random.split(key, 3)
        latent = jax.random.normal(latent_key, (len(batch), config.latent_size))

        def discriminate(params: Any, latent: Array, images: Array, statistics: Any, key: Array) -> Any:
            output, statistics = apply_training(discriminator, params, statistics, latent, images, dropout=key)
            return Judgement(*output), statistics

        # The forward passes, each made once. The discriminator's running statistics move on real, then generated.
        generated, generator_vjp, generator_statistics = jax.vjp(
            lambda params: apply_training(generator, params, state.generator.statistics, latent),
            state.generator.params,
            has_aux=True,
        )
        encoded, encoder_vjp, encoder_statistics = jax.vjp(
            lambda params: apply_training(encoder, params, state.encoder.statistics, batch),
            state.encoder.params,
            has_aux=True,
        )
        d_params = state.discriminator.params
        real, real_vjp, statistics = jax.vjp(
            lambda params, encoded: discriminate(params, encoded, batch, state.discriminator.statistics, real_key),
            d_params,
            encoded,
            has_aux=True,
        )
        fake, fake_vjp, statistics = jax.vjp(
            lambda params, generated: discriminate(params, latent, generated, statistics, fake_key),
            d_params,
            generated,
            has_aux=True,
        )

        # The backward passes: generator and encoder want the labels flipped.
        def loss_and_gradient(judgement: Judgement, target: float) -> tuple[Array, Judgement]:
            return jax.value_and_grad(lambda j: binary_cross_entropy(j.logits, target).mean())(judgement)

        generator_loss, by_fake = loss_and_gradient(fake, 1.0)
        (generator_gradient,) = generator_vjp(fake_vjp(by_fake)[1])
        encoder_loss, by_real = loss_and_gradient(real, 0.0)
        (encoder_gradient,) = encoder_vjp(real_vjp(by_real)[1])
        real_loss, by_real = loss_and_gradient(real, 1.0)
        fake_loss, by_fake = loss_and_gradient(fake, 0.0)
        discriminator_gradient = jax.tree.map(jnp.add, real_vjp(by_real)[0], fake_vjp(by_fake)[0])

        players = {
            "generator": apply_gradient(optimiser, state.generator, generator_gradient, generator_statistics),
            "encoder": apply_gradient(optimiser, state.encoder, encoder_gradient, encoder_statistics),
            "discriminator": apply_gradient(optimiser, state.discriminator, discriminator_gradient, statistics),
        }
        averages: Any = optax.incremental_update(
            {name: player.params for name, player in players.items()}, state.averages, 1.0 - config.average_decay
        )
        metrics = {
            "generator_loss": generator_loss,
            "generator_gradient_norm": optax.tree.norm(generator_gradient),
            "encoder_loss": encoder_loss,
            "encoder_gradient_norm": optax.tree.norm(encoder_gradient),
            "discriminator_loss": real_loss + fake_loss,
            "discriminator_real": real_loss,
            "discriminator_fake": fake_loss,
            "discriminator_gradient_norm": optax.tree.norm(discriminator_gradient),
        }
        return EgbadState(state.step + 1, **players, averages=averages), metrics

    def score(state: EgbadState, images: Array, statistics: Statistics = "running") -> Scores:
        generator, encoder, discriminator = (
            lambda *inputs, module=module, name=name: apply_scoring(
                module, getattr(state, name)._replace(params=state.averages[name]), statistics, *inputs
            )
            for name, module in zip(NAMES, networks(images.shape[1:]), strict=True)
        )
        latents = encoder(images)  # [B, latent]
        reconstructed = generator(latents)  # [B, H, W, C]
        _, feature = discriminator(latents, images)
        logits, its_feature = discriminator(latents, reconstructed)
        residual = absolute_error(images, reconstructed)
        reconstruction = residual.sum(axis=(1, 2, 3))
        if config.latent_term == "features":
            latent = absolute_error(feature, its_feature).sum(axis=-1)
        else:
            latent = binary_cross_entropy(logits, 1.0)
        total = total_score(config, reconstruction, latent)
        return Scores(total, reconstruction, latent, residual.mean(axis=-1), reconstructed)

    return Detector(init, update, score)
