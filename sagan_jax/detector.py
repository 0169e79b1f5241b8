"""A detector is a NamedTuple of pure functions, as an optimiser is in optax.

Every method (SAGAN and each baseline) is a value of `Detector`. Training, scoring, checkpoints and reports
know nothing else about a method, so a new one is a new function that returns a `Detector`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, UInt8

from sagan_jax.errors import require, require_word

State = Any
"""A method's state: any pytree of arrays (parameters, statistics, optimiser states, step), nothing hidden."""

Images = UInt8[Array | np.ndarray, "count height width channel"]
"""Images as they are kept: bytes."""

Metrics = dict[str, Array]
"""Float32 scalars of one step, the same keys every step; the losses are checked for being finite."""

Statistics = Literal["running", "batch"]
"""What BatchNorm normalises by when scoring: running statistics (strict) or those of the very batch (reference)."""


class Scores(NamedTuple):
    """How abnormal each image of a batch is, and where; higher is more abnormal.

    A detector gives every field; what scores many images (`score_images`) gives the pictures only if they are wanted.

    Attributes:
        total: The anomaly score, `float32 [B]`.
        reconstruction: Its reconstruction term R, `float32 [B]`.
        latent: Its latent term L, `float32 [B]`; zeros for a method without one.
        map: Per-pixel anomaly, `float32 [B, H, W]`; None if it is not wanted.
        reconstructed: The image as the model sees it, `float32 [B, H, W, C]` in about [-1, 1]; None if not wanted.
    """

    total: Any
    reconstruction: Any
    latent: Any
    map: Any = None
    reconstructed: Any = None


Picture = Literal["map", "reconstructed"]
"""A field of `Scores` that has a number or more a pixel."""
PICTURES: tuple[Picture, ...] = get_args(Picture)
"""Judging a run asks for both of whole images: one compiled program then serves all."""


class ScoreFunction(Protocol):
    """Scores a batch: `(state, images float32 [B, H, W, C] in [-1, 1], statistics) -> Scores`."""

    def __call__(self, state: State, images: Array, statistics: Statistics = "running") -> Scores: ...


Init = Callable[[Array, tuple[int, ...]], State]
Update = Callable[[State, Array, Array], tuple[State, Metrics]]
FitNormal = Callable[[State, Array | np.ndarray, Array], State]


class Detector(NamedTuple):
    """A method of anomaly detection as pure functions, each fit for `jax.jit`, `vmap` and sharding.

    Attributes:
        init: `(key, image_shape [H, W, C]) -> state`. Raises `UserError` for a shape the networks cannot take.
        update: `(state, batch, key) -> (state, metrics)`, one training step on a batch of normal images,
            float32 `[B, H, W, C]` in [-1, 1]. All randomness comes from `key`. Metrics whose name is or ends in "loss"
            stand on the progress bar; `generator_...`, `discriminator_...` and all others are drawn.
        score: `(state, images, statistics="running") -> Scores`. With running statistics an image's score
            depends on that image alone. A method that searches at test time does it in here.
        fit_normal: `(state, images uint8 [N, H, W, C], key) -> state`, statistics of normal training images that the
            score needs and no step makes; called after an epoch, before anything is scored: the total and the map that
            need them are not a number until then. None if there are none.
        crossed: Whether `fit_normal` works on half of the images too, so that the other half is scored as new ones
            are, and a threshold rests on all of them.
        latent: Whether the scores have a latent term L.
    """

    init: Init
    update: Update
    score: ScoreFunction
    fit_normal: FitNormal | None = None
    crossed: bool = False
    latent: bool = True


def normalise(images: UInt8[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """Bytes to what the networks see: 0..255 to [-1, 1]. Raises UserError for anything else than bytes."""
    require(images.dtype == np.uint8, "the images' dtype", str(images.dtype), "uint8, 0 (black) to 255 (white)")
    return jnp.asarray(images, jnp.float32) / 127.5 - 1.0


def check_floats(images: Array) -> None:
    """Raises UserError for images that are not floats, such as bytes that nobody normalised."""
    allowed = "floats, the images from -1 (black) to 1 (white): see normalise"
    require(jnp.issubdtype(images.dtype, jnp.floating), "the images' dtype", str(images.dtype), allowed)


def check_scored(statistics: str, *inputs: Array) -> None:
    """Raises UserError for statistics there are none of, and for what is not floats."""
    require_word("statistics", statistics, get_args(Statistics))
    for values in inputs:
        check_floats(values)


@lru_cache(maxsize=32)
def abstract_state(detector: Detector, image_shape: tuple[int, ...]) -> State:
    """The state's structure, shapes and dtypes for images [H, W, C], without making it.

    Raises:
        UserError: If the networks cannot take the shape.
    """
    return jax.eval_shape(lambda key: detector.init(key, image_shape), jax.random.key(0))


def leaf_names(state: State) -> list[str]:
    """The names of a state's leaves, such as `state.generator.params.out.Conv_0.bias`, in the order of `jax.tree`."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return ["state." + jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]


@lru_cache(maxsize=32)
def read_by_scoring(detector: Detector, image_shape: tuple[int, ...]) -> frozenset[str]:
    """The names of the leaves of the state that any operation of the detector's `score` takes."""
    state = abstract_state(detector, image_shape)
    images = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    program = jax.make_jaxpr(detector.score)(state, images).jaxpr
    taken = {id(value) for step in program.eqns for value in step.invars} | {id(value) for value in program.outvars}
    names = leaf_names(state)
    return frozenset(name for name, value in zip(names, program.invars, strict=False) if id(value) in taken)


def worst_share(
    maps: Float[Array | np.ndarray, "image height width"], share: float = 0.01
) -> Float[Array | np.ndarray, " image"]:
    """The mean of the worst pixels of each map: a score that a small defect moves as much as a large one.

    The mean of all pixels hardly answers to a defect of a hundredth of the image; the maximum answers to one noisy
    pixel. NumPy arrays are computed by NumPy, JAX arrays and what is traced by JAX.

    Args:
        maps: Per-pixel anomaly, higher is more abnormal.
        share: Which part of the pixels counts, over 0 and at most 1; at least one pixel.

    Raises:
        UserError: If the share is out of range.
    """
    require(0 < share <= 1, "the share of the worst pixels", share, "over 0 and at most 1")
    flat = maps.reshape(maps.shape[0], -1)  # [B, H * W]
    count = max(1, round(share * flat.shape[1]))
    if isinstance(flat, np.ndarray):
        return np.partition(flat, -count, axis=1)[:, -count:].mean(axis=1)
    return lax.top_k(flat, count)[0].mean(axis=1)
