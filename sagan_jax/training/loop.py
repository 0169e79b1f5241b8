"""Training: epochs that run on the device, over images that live there as uint8.

One jitted call runs an epoch, or any stretch of one, so Python is not in the loop over steps. What happens depends
on the key, the epoch and the step alone: where the calls are cut, and where a run was stopped and resumed, changes
no bit of the result.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Float, Int

from sagan_jax import device
from sagan_jax.config import TrainingConfig
from sagan_jax.data.image_array import check_training_images
from sagan_jax.detector import Detector, Images, Metrics, State, normalise
from sagan_jax.errors import UserError, require, require_word
from sagan_jax.training.plan import Plan, plan_configured_epoch, steps_of_epoch

Progress = Callable[[int, int, int, dict[str, Any]], None]
"""Called as `(epochs done, steps done in this one, steps in an epoch, its mean metrics)`, about once a second."""


class NotFiniteError(UserError):
    """A loss or gradient became NaN or infinite; the message says which, and where."""


class Totals(NamedTuple):
    """Running sums over the steps of an epoch, kept on the device."""

    sums: Metrics
    first_bad_step: Array  # int32; -1 while all metrics are finite
    bad: Metrics  # 1.0 for each metric that was not finite at that step


_How = Literal["vmap", "map"]
"""How many models of one program are computed: side by side, or one after the other."""


class StepConfig(NamedTuple):
    """The settings that are compiled into a step.

    Attributes:
        flip: Whether images are mirrored at random.
        sharding: How a batch is split over devices, if it is.
        many: How the models along a first axis of the state are computed, if there is one.
        apart: Whether the images that a step is given are its batch and lie on the devices that compute them; a gather
            would bring them together.
    """

    flip: bool = False
    sharding: NamedSharding | None = None
    many: _How | None = None
    apart: bool = False


PLAIN_STEP = StepConfig()


def batch_at(
    images: Images, indices: Int[Array, " batch"] | None, key: Array, flip: bool
) -> Float[Array, "batch height width channel"]:
    """Gathers, normalises and, if wanted, flips one batch, on the device; without indices, of all the images."""
    batch = normalise(images if indices is None else jnp.take(images, indices, axis=0))  # [B, H, W, C]
    if flip:
        mirrored = jax.random.bernoulli(key, 0.5, (len(batch), 1, 1, 1))
        batch = jnp.where(mirrored, batch[:, :, ::-1, :], batch)
    return batch


def take_step(
    detector: Detector, state: State, images: Images, indices: Int[Array, " batch"], key: Array, config: StepConfig
) -> tuple[State, Metrics]:
    """One step of one model, from the indices of its batch."""
    flip_key, update_key = jax.random.split(key)
    batch = batch_at(images, None if config.apart else indices, flip_key, config.flip)
    if config.sharding is not None:  # the batch is split over the devices, and with it all the step computes
        batch = jax.lax.with_sharding_constraint(batch, config.sharding)
    return detector.update(state, batch, update_key)


def _take_steps(
    detector: Detector, state: State, images: Images, plan: Plan, i: int | Array, config: StepConfig
) -> tuple[State, Metrics]:
    """Step `i` of an epoch: of one model, or of each of many."""

    def one(state: State, order: Array, key: Array) -> tuple[State, Metrics]:
        return take_step(detector, state, images, order[i], jax.random.fold_in(key, i), config)

    if config.many == "vmap":
        return jax.vmap(one)(state, *plan)
    if config.many == "map":
        return jax.lax.map(lambda model: one(*model), (state, *plan))
    return one(state, *plan)


_traced_steps = jax.jit(_take_steps, static_argnames=("detector", "config"))
"""A step that is traced only once: for its metrics' shapes, and for every program that contains it."""


def start_totals(detector: Detector, state: State, images: Images, plan: Plan, config: StepConfig) -> Totals:
    """Sums of zero, with the metrics that the detector's step has."""
    _, metrics = _traced_steps.eval_shape(detector, state, images, plan, 0, config)
    sums, bad = ({name: jnp.zeros(metric.shape, jnp.float32) for name, metric in metrics.items()} for _ in range(2))
    return Totals(sums, jnp.full((), -1, jnp.int32), bad)


@partial(jax.jit, static_argnames=("detector", "config"), donate_argnames=("state", "totals"))
def run_steps(
    detector: Detector,
    state: State,
    totals: Totals,
    images: Images,
    plan: Plan,
    first: int | Array,
    last: int | Array,
    config: StepConfig = PLAIN_STEP,
) -> tuple[State, Totals]:
    """Steps `first` to `last` (not included) of an epoch as one program; `state` and `totals` are given up to it.

    Args:
        detector: The method.
        state: Its state.
        totals: Sums so far, from `start_totals` at the start of an epoch.
        images: The training images, on the device.
        plan: Which images each step takes, from `plan_epoch`.
        first: The first step to take.
        last: The step to stop before. Both are data, not shapes: any stretch runs the same compiled program.
        config: What is compiled into the step.

    Returns:
        The state after the last step and the sums including it.
    """

    def step(i: Array, carry: tuple[State, Totals]) -> tuple[State, Totals]:
        state, totals = carry
        state, metrics = _traced_steps(detector, state, images, plan, i, config)
        bad = {name: (~jnp.isfinite(value)).astype(jnp.float32) for name, value in metrics.items()}
        is_first = (totals.first_bad_step < 0) & jnp.stack([value.any() for value in bad.values()]).any()
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
    plan: Plan,
    config: StepConfig = PLAIN_STEP,
    *,
    epoch: int = 0,
    steps: int | None = None,
    progress: Progress | None = None,
) -> tuple[State, dict[str, Any]]:
    """An epoch in one jitted call, or, to show progress, in calls of about a second.

    Args:
        detector: The method.
        state: Its state, given up to the call.
        images: Normal training images, uint8, on the device.
        plan: Which images each step takes, from `plan_epoch`.
        config: What is compiled into the step.
        epoch: The epoch's number from 0, for progress and errors.
        steps: How many of the plan's steps are taken; None takes all.
        progress: Called now and then; None runs the epoch in one call.

    Returns:
        The new state and the mean of each metric over the epoch: a float, or a list over the models.

    Raises:
        NotFiniteError: If a metric was not finite in some step.
    """
    steps = plan.order.shape[-2] if steps is None else steps
    images = jnp.asarray(images)
    totals = start_totals(detector, state, images, plan, config)
    # A program's outputs are bound to a device. Inputs that are not yet would have the second call compiled again.
    state, totals, plan = device.put((state, totals, plan), images.sharding)
    means: dict[str, Any] = {}
    done, stride = 0, 1 if progress else steps
    if progress:
        progress(epoch, 0, steps, {})
    while done < steps:
        started = time.monotonic()
        last = min(done + stride, steps)
        state, totals = run_steps(detector, state, totals, images, plan, done, last, config)
        check_finite(totals, epoch, steps)
        taken, done = last - done, last
        means = mean_metrics(totals, done)
        if progress:
            progress(epoch, done, steps, means)
            # The first call compiles, so its time tells nothing about a step: grow gently towards a second a call.
            stride = device.same_on_all_hosts(min(max(1, int(taken / (time.monotonic() - started))), 4 * taken))
    return state, means


def check_finite(totals: Totals, epoch: int, steps: int) -> None:
    """Waits for the steps asked for; raises NotFiniteError, naming epoch and step, if a metric was not finite."""
    if (bad_step := int(totals.first_bad_step)) >= 0:
        names = ", ".join(name for name, value in totals.bad.items() if value.any())
        raise NotFiniteError(f"not finite in epoch {epoch + 1}, step {bad_step + 1} of {steps}: {names}")


def mean_metrics(totals: Totals, steps: int) -> dict[str, Any]:
    """The mean of each metric over that many steps: a float, or a list over many models."""
    return {name: (np.asarray(value) / steps).tolist() for name, value in totals.sums.items()}


def shardings(mesh: Mesh | None, batch_size: int) -> tuple[NamedSharding | None, Sharding]:
    """How a batch lies on a mesh's devices, and how what is whole on each does; without a mesh, None and one device.

    Raises:
        UserError: If the mesh does not divide the batch.
    """
    if mesh is None:
        return None, jnp.zeros(()).sharding  # the default device
    if batch_size % mesh.size:
        raise UserError(f"a batch of {batch_size} cannot be split evenly over {mesh.size} devices")
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())


def fit(
    detector: Detector,
    state: State,
    images: Images,
    config: TrainingConfig,
    *,
    first_epoch: int = 0,
    progress: Progress | None = None,
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, State, dict[str, Any]]]:
    """Trains epoch by epoch.

    Args:
        detector: The method.
        state: Its state, given up to the training.
        images: Normal training images; put on the device, or on each of the mesh's, once.
        config: Epochs, batch size, flips, seed.
        first_epoch: Epochs that `state` has been trained for; a resumed run continues as if never stopped.
        progress: See `train_epoch`.
        mesh: Devices along one axis to split each batch over. Losses, gradients and BatchNorm statistics are those of
            the whole batch, as on one device.

    Yields:
        `(epochs done, state, mean metrics of the epoch)`. The state is good until the next epoch is asked for.

    Raises:
        NotFiniteError: If a metric was not finite in some step.
        UserError: If the images are not what the state was made for or do not fill one batch, or the mesh does not
            divide it.
    """
    check_training_images(detector, state, images)
    sharding, everywhere = shardings(mesh, config.batch_size)
    # A new state and one read from a checkpoint are placed alike, so that both run the same compiled program.
    state, images = device.put((state, images), everywhere)
    key, step = jax.random.key(config.seed), StepConfig(config.flip, sharding)
    for epoch in range(first_epoch, config.epochs):
        plan = plan_configured_epoch(key, epoch, len(images), config)
        steps = steps_of_epoch(epoch, len(images), config)
        state, metrics = train_epoch(detector, state, images, plan, step, epoch=epoch, steps=steps, progress=progress)
        yield epoch + 1, state, metrics


def fit_many(
    detector: Detector,
    states: State,
    images: Images,
    subsets: Int[np.ndarray, "models subset"],
    seeds: Sequence[int],
    config: TrainingConfig,
    *,
    how: _How = "vmap",
    first_epoch: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[int, State, dict[str, Any]]]:
    """Trains many models of one detector in one program over shared images; each comes out as if trained alone.

    Args:
        detector: The method.
        states: The models' states, stacked along a first axis; given up to the training.
        images: Images that the models share; put on the device once.
        subsets: Which of them each model trains on: the normal ones of its class left out, say.
        seeds: Each model's seed; the configuration's own is not used.
        config: Epochs, batch size, flips.
        how: "vmap" runs the models side by side, "map" one after the other within the step.
        first_epoch: Epochs that all `states` have been trained for.
        progress: See `train_epoch`; its metrics are lists over the models.

    Yields:
        `(epochs done, states, mean metrics of the epoch)`, each metric a list over the models.

    Raises:
        NotFiniteError: If a metric of any model was not finite in some step.
        UserError: If the images are not what the states were made for, a model's do not fill one batch, a subset has
            something else than their indices, or the states, subsets and seeds are not as many.
    """
    check_training_images(detector, jax.tree.map(lambda leaf: leaf[0], states), images)
    subsets = np.asarray(subsets)
    indices = subsets.ndim == 2 and subsets.size and np.issubdtype(subsets.dtype, np.integer)
    if not indices or subsets.min() < 0 or subsets.max() >= len(images):
        raise UserError(f"subsets must be indices of the {len(images)} images, integers [models, images of each]")
    models = {len(seeds), len(subsets), *(len(leaf) for leaf in jax.tree.leaves(states))}
    require(len(models) == 1, "the number of states, subsets and seeds", sorted(models), "the same")
    require_word("how", how, get_args(_How))
    images = jax.device_put(images)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    step = StepConfig(config.flip, many=how)
    for epoch in range(first_epoch, config.epochs):
        plan = jax.vmap(plan_configured_epoch, in_axes=(0, None, None, None))(keys, epoch, subsets.shape[1], config)
        chosen = jax.vmap(jnp.take)(jnp.asarray(subsets), plan.order)
        steps, plan = steps_of_epoch(epoch, subsets.shape[1], config), plan._replace(order=chosen)
        states, metrics = train_epoch(detector, states, images, plan, step, epoch=epoch, steps=steps, progress=progress)
        yield epoch + 1, states, metrics
