import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

from sagan_jax.errors import UserError
from sagan_jax.methods.dcgan import Discriminator
from sagan_jax.methods.layers import (
    CBAM,
    LAWS,
    BatchNorm,
    ChannelAttention,
    DepthwiseSeparableConv,
    SpatialAttention,
    initial,
    initialise,
)
from sagan_jax.methods.sagan import SaganGenerator


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def variables(module, x, *arguments, scale=1.0):
    """The module's own variables, their parameters larger than they start, so that they matter."""
    drawn = module.init(jax.random.key(1), x, *arguments)
    return drawn | {"params": jax.tree.map(lambda leaf: scale * leaf, drawn["params"])}


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 32)), jnp.float32)


def test_channel_attention_is_one_mlp_on_average_and_maximum(x):
    v = variables(ChannelAttention(), x, scale=20.0)
    narrow, wide = (jax.tree.map(np.asarray, v["params"][f"Dense_{i}"]) for i in (0, 1))
    assert narrow["kernel"].shape == (32, 2)  # 16 times narrower

    x = np.asarray(x)

    def mlp(pooled):
        return np.maximum(pooled @ narrow["kernel"] + narrow["bias"], 0) @ wide["kernel"] + wide["bias"]

    weights = sigmoid(mlp(np.mean(x, axis=(1, 2))) + mlp(np.max(x, axis=(1, 2))))
    np.testing.assert_allclose(
        ChannelAttention().apply(v, jnp.asarray(x)), x * weights[:, None, None, :], rtol=1e-4, atol=1e-5
    )


def test_spatial_attention_is_a_7x7_convolution_of_mean_and_maximum(x):
    v = variables(SpatialAttention(), x, False, scale=20.0)
    kernel = np.asarray(v["params"]["Conv_0"]["Conv_0"]["kernel"])  # [7, 7, 2, 1]
    scale = float(v["params"]["BatchNorm_0"]["scale"][0])
    pooled = np.stack([np.mean(x, axis=-1), np.max(x, axis=-1)], axis=-1)
    attention = np.zeros(x.shape[:3])
    for image, c in np.ndindex(2, 2):
        attention[image] += correlate(pooled[image, :, :, c], kernel[:, :, c, 0], mode="constant")
    expected = x * sigmoid(attention / np.sqrt(1 + 1e-5) * scale)[..., None]  # running statistics start at 0 and 1
    np.testing.assert_allclose(SpatialAttention().apply(v, x, False), expected, rtol=1e-4, atol=1e-4)


def test_cbam_is_channel_then_spatial_attention(x):
    v = variables(CBAM(), x, False, scale=20.0)
    part = {kind: {name: tree[kind] for name, tree in v.items() if kind in tree} for kind in ("channel", "spatial")}
    expected = SpatialAttention().apply(part["spatial"], ChannelAttention().apply(part["channel"], x), False)
    np.testing.assert_allclose(CBAM().apply(v, x, False), expected, rtol=1e-6)


def test_batch_norm_moves_its_running_statistics_by_a_tenth(x):
    module = BatchNorm()
    v = module.init(jax.random.key(0), x, False)
    _, moved = module.apply(v, x, True, mutable="batch_stats")
    np.testing.assert_allclose(moved["batch_stats"]["mean"], 0.1 * np.mean(x, axis=(0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved["batch_stats"]["var"], 0.9 + 0.1 * np.var(x, axis=(0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("module", [SaganGenerator(3, width=16), Discriminator(width=16)])
def test_the_one_draw_gives_the_structure_and_the_law_of_flaxs_own_initialisation(module):
    key = jax.random.key(0)
    images = jnp.zeros((1, 32, 32, 3))
    fast = jax.jit(lambda key: initialise(module, key, (32, 32, 3)))(key)
    slow = jax.eval_shape(lambda key: module.init(key, images, train=False), key)
    assert jax.tree.structure(dict(slow)) == jax.tree.structure(fast)
    leaves = jax.tree_util.tree_leaves_with_path(fast["params"])
    weights = np.concatenate([np.ravel(leaf) for path, leaf in leaves if path[-1].key.endswith("kernel")])
    scales = np.concatenate([np.ravel(leaf) for path, leaf in leaves if path[-1].key == "scale"])
    assert (weights.mean(), weights.std()) == pytest.approx((0, 0.02), abs=2e-4)
    assert (scales.mean(), scales.std()) == pytest.approx((1, 0.02), abs=4e-3)
    assert all((leaf == 0).all() for path, leaf in leaves if path[-1].key.endswith("bias"))
    firsts = [float(np.ravel(leaf)[0]) for path, leaf in leaves if path[-1].key.endswith("kernel")]
    assert len(set(firsts)) == len(firsts)  # no two are the same piece of the draw


class Block(nn.Module):
    """Every parameter and statistic that the methods have, once."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(2)(BatchNorm()(DepthwiseSeparableConv(3, 2)(x), train))


def test_the_one_draw_is_cut_in_flaxs_order_and_each_piece_has_its_parameters_law(key):
    found = jax.jit(lambda key: initialise(Block(), key, (4, 4, 2)))(key)
    leaves = jax.tree_util.tree_leaves_with_path(found["params"])
    sizes = [leaf.size for _, leaf in leaves]
    noise = jax.jit(lambda key: 0.02 * jax.random.normal(key, (sum(sizes),)))(key)
    for (path, leaf), piece in zip(leaves, np.split(np.asarray(noise), np.cumsum(sizes)[:-1]), strict=True):
        name = path[-1].key
        expected = 0 * piece if name.endswith("bias") else piece + np.float32(1) if name == "scale" else piece
        np.testing.assert_array_equal(np.ravel(leaf), expected)
    assert {path[-1].key for path, _ in leaves} == set(LAWS["params"])
    statistics = found["batch_stats"]["BatchNorm_0"]
    np.testing.assert_array_equal(statistics["mean"], np.zeros(3))
    np.testing.assert_array_equal(statistics["var"], np.ones(3))


def test_a_layers_own_initialiser_has_the_law_of_the_table(key):
    for name, law in LAWS["params"].items():
        drawn = np.asarray(initial(name)(key, (10_000,)))
        assert (drawn.mean(), drawn.std()) == pytest.approx((law.mean, law.deviation), abs=5e-4)


class Foreign(nn.Module):
    """Has a variable that the table does not know."""

    collection: str
    name_of_it: str

    @nn.compact
    def __call__(self, x, train):
        if self.collection == "params":
            return x * self.param(self.name_of_it, nn.initializers.ones_init(), ())
        self.param("kernel", initial("kernel"), (1,))
        return x * self.variable(self.collection, self.name_of_it, jnp.ones, ()).value


@pytest.mark.parametrize(
    "where", ["params/gamma", "params/rebias", "params/mean", "batch_stats/count", "batch_stats/scale", "cache/mean"]
)
def test_a_variable_without_a_law_is_an_error_that_names_it(where, key):
    with pytest.raises(UserError, match=f"{where} has no initial law; layers.LAWS has those of kernel, "):
        initialise(Foreign(*where.split("/")), key, (2, 2, 1))
