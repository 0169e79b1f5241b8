"""The layers of SAGAN's networks as Flax modules.

Their arithmetic is in `ops`: `convolution`, `depthwise`, `strided`, `batch_norm` and `pooling`. Where each parameter
starts is in `LAWS`: convolution and dense weights as N(0, 0.02), biases at 0, BatchNorm scales as N(1, 0.02).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sagan_jax.config import Precision
from sagan_jax.errors import UserError
from sagan_jax.ops import convolution, depthwise, pooling, strided
from sagan_jax.ops.batch_norm import activate, batch_norm, scale_and_shift

ARITHMETIC: dict[Precision, Any] = {"float32": jnp.float32, "bf16": jnp.bfloat16}
NEW_SHARE = 0.1
"""How far a training step moves BatchNorm's running statistics towards those of its batch."""


class Law(NamedTuple):
    """A normal distribution; without deviation, a constant."""

    mean: float
    deviation: float


LAWS: dict[str, dict[str, Law]] = {
    "params": {
        "kernel": Law(0.0, 0.02),
        "depthwise_kernel": Law(0.0, 0.02),
        "pointwise_kernel": Law(0.0, 0.02),
        "bias": Law(0.0, 0.0),
        "depthwise_bias": Law(0.0, 0.0),
        "pointwise_bias": Law(0.0, 0.0),
        "scale": Law(1.0, 0.02),
    },
    "batch_stats": {"mean": Law(0.0, 0.0), "var": Law(1.0, 0.0)},
}
"""Where each parameter and each running statistic starts, by Flax's collection and its name in its layer."""


def initial(name: str) -> nn.initializers.Initializer:
    """Flax's initialiser of a parameter, by its law in `LAWS`."""
    law = LAWS["params"][name]

    def draw(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        if not law.deviation:
            return jnp.full(shape, law.mean, dtype)
        return law.mean + law.deviation * jax.random.normal(key, shape, dtype)

    return draw


def _statistic(name: str, channels: int) -> Array:
    """Where a running statistic starts."""
    return jnp.full((channels,), LAWS["batch_stats"][name].mean, jnp.float32)


weight_init = initial("kernel")
"""That of Flax's own layers."""


def initialise(module: nn.Module, key: Array, *shapes: tuple[int, ...]) -> dict[str, Any]:
    """Parameters and statistics as `module.init` draws them, by law, for inputs of these shapes ([H, W, C], say).

    All weights are cut from one draw. A draw of its own for each takes XLA half a minute to compile.

    Raises:
        UserError: If the module has a parameter or a statistic whose law is not in `LAWS`.
    """
    inputs = [jnp.zeros((1, *shape)) for shape in shapes]
    variables: Any = dict(jax.eval_shape(lambda key: module.init(key, *inputs, train=False), key))
    laws = jax.tree_util.tree_map_with_path(_law_of, variables)
    leaves, structure = jax.tree.flatten(variables["params"])
    draw = jax.random.normal(key, (sum(leaf.size for leaf in leaves),))
    cuts = np.cumsum([leaf.size for leaf in leaves])[:-1]
    # Scaled whole, then cut: XLA rounds a scaled piece otherwise.
    deviations = {law.deviation for law in LAWS["params"].values() if law.deviation}
    noise = {deviation: jnp.split(deviation * draw, cuts) for deviation in deviations}

    def parameter(law: Law, leaf: Any, index: int) -> Array:
        if not law.deviation:
            return jnp.full(leaf.shape, law.mean, leaf.dtype)  # a weak type would have the second step compiled again
        piece = noise[law.deviation][index].reshape(leaf.shape)
        return law.mean + piece if law.mean else piece

    def statistic(law: Law, leaf: Any) -> Array:
        return jnp.full(leaf.shape, law.mean, leaf.dtype)  # a weak type would have the second step compiled again

    return {
        "params": jax.tree.map(
            parameter, laws["params"], variables["params"], structure.unflatten(range(len(leaves))), is_leaf=_is_law
        ),
        "batch_stats": jax.tree.map(
            statistic, laws.get("batch_stats", {}), variables.get("batch_stats", {}), is_leaf=_is_law
        ),
    }


def _law_of(path: tuple[Any, ...], _: Any) -> Law:
    """The law of one of a module's variables."""
    collection, name = str(path[0].key), str(path[-1].key)
    if name not in LAWS.get(collection, {}):
        where = "/".join(key.key for key in path)
        known = ", ".join(name for laws in LAWS.values() for name in laws)
        raise UserError(f"{where} has no initial law; layers.LAWS has those of {known}: add it there")
    return LAWS[collection][name]


def _is_law(node: Any) -> bool:
    return isinstance(node, Law)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, and the activation after it.

    Epsilon is 1e-5; a training step moves the running statistics by `NEW_SHARE` of the way to the batch's.

    Attributes:
        slope: Of the leaky ReLU that follows: 0 is ReLU, 1 is none.
    """

    slope: float = 1.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels = x.shape[-1]
        scale = self.param("scale", initial("scale"), (channels,))
        bias = self.param("bias", initial("bias"), (channels,))
        mean, variance = (self.variable("batch_stats", name, _statistic, name, channels) for name in ("mean", "var"))
        if not train:
            return activate(scale_and_shift(x, scale, bias, mean.value, variance.value), self.slope)
        normalised: Any = batch_norm(x, scale, bias, self.slope)
        x, batch_mean, batch_variance = normalised
        mean.value = (1 - NEW_SHARE) * mean.value + NEW_SHARE * batch_mean
        variance.value = (1 - NEW_SHARE) * variance.value + NEW_SHARE * batch_variance
        return x


class Conv(nn.Module):
    """A plain convolution (NHWC) with this project's initialisation.

    Attributes:
        features: Output channels.
        size: Side of the kernel.
        padding: Zeros added on each side.
        use_bias: Whether a bias is added.
        dtype: Arithmetic of the convolution.
    """

    features: int
    size: int
    padding: int = 0
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Conv(
            self.features,
            (self.size, self.size),
            padding=((self.padding, self.padding),) * 2,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=weight_init,
            conv_general_dilated=convolution.conv,
        )(x)


class DepthwiseSeparableConv(nn.Module):
    """Depthwise 3x3 (padding 1, bias), then pointwise 1x1 (bias) (paper section 2.3).

    The intermediate channel `j * C + c` is copy j of input channel c.

    Attributes:
        features: Output channels.
        multiplier: Outputs of the depthwise convolution per input channel.
        dtype: Arithmetic of the convolutions.
    """

    features: int
    multiplier: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        parameters = (
            self.param("depthwise_kernel", initial("depthwise_kernel"), (3, 3, self.multiplier, channels)),
            self.param("depthwise_bias", initial("depthwise_bias"), (self.multiplier, channels)),
            self.param("pointwise_kernel", initial("pointwise_kernel"), (self.multiplier, channels, self.features)),
            self.param("pointwise_bias", initial("pointwise_bias"), (self.features,)),
        )
        x, *parameters = (a.astype(self.dtype) for a in (x, *parameters))
        return depthwise.depthwise_separable_conv(x, *parameters)


class StridedConv(nn.Module):
    """DCGAN's convolution: 4x4, stride 2, padding 1, no bias.

    Attributes:
        features: Output channels.
        dtype: Arithmetic of the convolution.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", initial("kernel"), (4, 4, x.shape[-1], self.features))
        return strided.strided_conv(x.astype(self.dtype), kernel.astype(self.dtype))


class TransposedConv(nn.Module):
    """DCGAN's transposed convolution: 4x4, stride 2, padding 1; it doubles the map.

    Attributes:
        features: Output channels.
        use_bias: Whether a bias is added.
        dtype: Arithmetic of the convolution.
    """

    features: int
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", initial("kernel"), (4, 4, x.shape[-1], self.features))
        x = strided.transposed_conv(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            x = x + self.param("bias", initial("bias"), (self.features,)).astype(self.dtype)[None, None, None, :]
        return x


class ChannelAttention(nn.Module):
    """CBAM's channel attention: one MLP on the average-pooled and the max-pooled vector, summed, sigmoid.

    Attributes:
        reduction: The MLP's hidden layer is this many times narrower than the map.
        dtype: Arithmetic of the attention.
    """

    reduction: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = jax.lax.optimization_barrier(
            x
        )  # the maximum's gradient looks for it by equality: x must not be rounded again
        channels = x.shape[-1]
        narrow = nn.Dense(max(1, channels // self.reduction), dtype=self.dtype, kernel_init=weight_init)
        wide = nn.Dense(channels, dtype=self.dtype, kernel_init=weight_init)
        average, maximum = (wide(nn.relu(narrow(pool(x, axis=(1, 2))))) for pool in (jnp.mean, jnp.max))  # [B, C]
        return x * nn.sigmoid(average + maximum)[:, None, None, :]


class SpatialAttention(nn.Module):
    """CBAM's spatial attention: mean and max over channels, conv 7x7 to 1, BatchNorm, sigmoid.

    Attributes:
        dtype: Arithmetic of the attention.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        pooled = pooling.channel_summaries(x)  # [B, H, W, 2]
        attention = Conv(1, 7, padding=3, use_bias=False, dtype=self.dtype)(pooled)  # [B, H, W, 1]
        return x * nn.sigmoid(BatchNorm()(attention, train))


class CBAM(nn.Module):
    """Convolutional block attention: channel attention, then spatial attention (paper section 2.2).

    Attributes:
        dtype: Arithmetic of the attention.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = ChannelAttention(dtype=self.dtype, name="channel")(x)
        return SpatialAttention(dtype=self.dtype, name="spatial")(x, train)
