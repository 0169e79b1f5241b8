"""Training: epochs that run on the device, over images that live there as uint8.

One jitted call runs an epoch, or any stretch of one, so Python is not in the loop over steps. What happens depends
on the key, the epoch and the step alone: where the calls are cut, and where a run was stopped and resumed, changes
no bit of the result.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from sagan_jax.config import TrainingConfig
from sagan_jax.detector import Detector, Metrics, State
from sagan_jax.errors import UserError

Progress = Callable[[int, int, int, dict[str, float]], None]
"""Called as `(epochs done, steps done in this one, steps in an epoch, its mean metrics)`, about once a second."""


Images = UInt8[Array | np.ndarray, "count height width channel"]


class NotFiniteError(UserError):
    """A loss or gradient became NaN or infinite; the message says which, and where."""


class Totals(NamedTuple):
    """Running sums over the steps of an epoch, kept on the device."""

    sums: Metrics
    first_bad_step: Array  # int32; -1 while all metrics are finite
    bad: Metrics  # 1.0 for each metric that was not finite at that step


def normalise(images: UInt8[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """Bytes to what the networks see: 0..255 to [-1, 1]."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1.0


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch; the remainder sits out, another one each epoch.

    Raises:
        UserError: If there are fewer images than one batch takes.
    """
    if images < batch_size:
        raise UserError(f"{images} training images do not fill one batch of {batch_size}; lower the batch size")
    return images // batch_size


def epoch_order(key: Array, epoch: int | Array, images: int, batch_size: int) -> Int[Array, "steps batch"]:
    """Which images each step of an epoch takes: a permutation of its own for every epoch."""
    steps = steps_per_epoch(images, batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), images)
    return order[: steps * batch_size].reshape(steps, batch_size)


def batch_at(
    images: Images, indices: Int[Array, " batch"], key: Array, flip: bool
) -> Float[Array, "batch height width channel"]:
    """Gathers, normalises and, if wanted, flips one batch, on the device."""
    batch = normalise(jnp.take(images, indices, axis=0))  # [B, H, W, C]
    if flip:
        mirrored = jax.random.bernoulli(key, 0.5, (len(indices), 1, 1, 1))
        batch = jnp.where(mirrored, batch[:, :, ::-1, :], batch)
    return batch


def start_totals(detector: Detector, state: State, image_shape: tuple[int, int, int]) -> Totals:
    """Sums of nothing yet, with the metrics the detector's step has."""
    batch = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    _, metrics = jax.eval_shape(detector.update, state, batch, jax.random.key(0))
    sums, bad = ({name: jnp.zeros((), jnp.float32) for name in metrics} for _ in range(2))
    return Totals(sums, jnp.full((), -1, jnp.int32), bad)


@partial(jax.jit, static_argnames=("detector", "flip"), donate_argnames=("state", "totals"))
def run_steps(
    detector: Detector,
    state: State,
    totals: Totals,
    images: Images,
    order: Int[Array, "steps batch"],
    key: Array,
    first: int | Array,
    last: int | Array,
    flip: bool = False,
) -> tuple[State, Totals]:
    """Steps `first` to `last` (not included) of an epoch as one program; `state` and `totals` are given up to it.

    Args:
        detector: The method.
        state: Its state.
        totals: Sums so far, from `start_totals` at the start of an epoch.
        images: The training images, on the device.
        order: Which images each step takes, from `epoch_order`.
        key: The epoch's key; each step folds in its number.
        first: The first step to take.
        last: The step to stop before. Both are data, not shapes: any stretch runs the same compiled program.
        flip: Whether images are mirrored at random.

    Returns:
        The state after the last step and the sums including it.
    """

    def step(i: Array, carry: tuple[State, Totals]) -> tuple[State, Totals]:
        state, totals = carry
        flip_key, update_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = detector.update(state, batch_at(images, order[i], flip_key, flip), update_key)
        bad = {name: (~jnp.isfinite(value)).astype(jnp.float32) for name, value in metrics.items()}
        is_first = (totals.first_bad_step < 0) & (sum(bad.values()) > 0)
        return state, Totals(
            sums=jax.tree.map(jnp.add, totals.sums, metrics),
            first_bad_step=jnp.where(is_first, i, totals.first_bad_step),
            bad=jax.tree.map(lambda old, new: jnp.where(is_first, new, old), totals.bad, bad),
        )

    return jax.lax.fori_loop(first, last, step, (state, totals))


def train_epoch(
    detector: Detector,
    state: State,
    images: Images,
    key: Array,
    epoch: int,
    *,
    batch_size: int,
    flip: bool = False,
    progress: Progress | None = None,
) -> tuple[State, dict[str, float]]:
    """One pass over the images, in one jitted call, or, to show progress, in calls of about a second.

    Args:
        detector: The method.
        state: Its state, given up to the call.
        images: Normal training images, uint8.
        key: The run's key.
        epoch: Number of the epoch, which with `key` decides the order and everything random.
        batch_size: Images a step.
        flip: Whether images are mirrored at random.
        progress: Called now and then; None runs the epoch in one call.

    Returns:
        The new state and the mean of each metric over the epoch.

    Raises:
        NotFiniteError: If a metric was not finite in some step.
        UserError: If the images do not fill one batch.
    """
    order_key, step_key = jax.random.split(key)
    order = epoch_order(order_key, epoch, len(images), batch_size)
    step_key = jax.random.fold_in(step_key, epoch)
    steps = len(order)
    totals = start_totals(detector, state, images.shape[1:])

    done, stride = 0, 1 if progress else steps
    if progress:
        progress(epoch, 0, steps, {})
    while done < steps:
        started = time.monotonic()
        last = min(done + stride, steps)
        state, totals = run_steps(detector, state, totals, images, order, step_key, done, last, flip=flip)
        if (bad_step := int(totals.first_bad_step)) >= 0:
            names = ", ".join(name for name, value in totals.bad.items() if value > 0)
            raise NotFiniteError(f"not finite in epoch {epoch + 1}, step {bad_step + 1} of {steps}: {names}")
        taken, done = last - done, last
        means = {name: float(value) / done for name, value in totals.sums.items()}
        if progress:
            progress(epoch, done, steps, means)
            # The first call compiles, so its time says nothing: grow gently towards a second a call.
            stride = min(max(1, int(taken / (time.monotonic() - started))), 4 * taken)
    return state, means


def fit(
    detector: Detector,
    state: State,
    images: Images,
    config: TrainingConfig,
    *,
    first_epoch: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[int, State, dict[str, float]]]:
    """Trains epoch by epoch.

    Args:
        detector: The method.
        state: Its state, given up to the training.
        images: Normal training images, uint8; put on the device once.
        config: Epochs, batch size, flips, seed.
        first_epoch: Epochs already behind `state`; a resumed run goes on as if never stopped.
        progress: See `train_epoch`.

    Yields:
        `(epochs done, state, mean metrics of the epoch)`. The state is good until the next epoch is asked for.

    Raises:
        NotFiniteError: If a metric was not finite in some step.
        UserError: If the images do not fill one batch.
    """
    images = jax.device_put(images)
    key = jax.random.key(config.seed)
    for epoch in range(first_epoch, config.epochs):
        state, metrics = train_epoch(
            detector, state, images, key, epoch, batch_size=config.batch_size, flip=config.flip, progress=progress
        )
        yield epoch + 1, state, metrics
