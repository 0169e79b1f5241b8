"""Training on photographs that do not fit in memory: decoded, cut and put on the device while the step runs.

The step is `training.loop.run_steps`, one batch at a time. Whole photographs come in the same order, and with the same
keys, as from memory, so streaming changes no bit of the result. Patches are taken from a group of photographs at a
time, each decoded once an epoch; their order depends on the seed and the epoch alone.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import UInt8

from sagan_jax.config import DensityConfig, TrainingConfig
from sagan_jax.data.patches import Patches, extract, windows
from sagan_jax.data.photographs import Photographs
from sagan_jax.detector import Detector, State
from sagan_jax.training.loop import (
    Progress,
    StepConfig,
    check_finite,
    mean_metrics,
    run_steps,
    start_totals,
)
from sagan_jax.training.plan import Plan, epoch_plan, steps_of_epoch

GROUP_BYTES = 2**29  # of decoded photographs whose patches are shuffled together; two groups are in memory at a time
THREADS = 8  # that decode
WAITING = "waiting_for_images"
"""The metric's name: the share of an epoch's time in which no step ran because its batch was not there, at most."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Training images that are decoded when needed: whole photographs of one size, or patches of photographs.

    Attributes:
        photographs: Where they come from.
        patches: How they are cut, if they are.
    """

    photographs: Photographs
    patches: Patches | None

    def __len__(self) -> int:
        return len(self.photographs) if self.patches is None else self.photographs.count_patches(self.patches)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """[H, W, C] of each image."""
        if self.patches is None:
            return self.photographs.shape[1:]
        return (self.patches.size, self.patches.size, self.photographs.channels)


def training_images(
    images: UInt8[np.ndarray, "count height width channel"] | Photographs, patches: Patches | None, memory: float
) -> UInt8[np.ndarray, "count height width channel"] | Stream:
    """What a detector is trained on: an array if it is one already or its patches fit in memory, else a stream.

    Args:
        images: Images in memory, or photographs on disk.
        patches: How photographs are cut; None for whole ones, which are on disk because they do not fit.
        memory: How many bytes the patches may take.
    """
    if not isinstance(images, Photographs):
        return images
    if patches is None or images.count_patches(patches) * patches.size**2 * images.channels > memory:
        return Stream(images, patches)
    return np.concatenate(
        [extract(image, windows(image.shape[0], image.shape[1], *patches), patches.size) for image in images]
    )


def normal_images(
    images: UInt8[np.ndarray, "count height width channel"] | Stream,
    config: TrainingConfig,
    most: int | None = None,
) -> UInt8[np.ndarray, "count height width channel"]:
    """Training images in memory: all of an array; of a stream at random that many, or as many as a density keeps."""
    if not isinstance(images, Stream):
        return images
    most = DensityConfig().kept_of(images.image_shape) if most is None else most
    plan = epoch_plan(jax.random.key(config.seed), 0, len(images), config)
    batches = open_epoch(images, plan, config.seed, 0)
    try:
        parts = [np.asarray(next(batches)) for _ in range(min(len(plan.order), -(-most // config.batch_size)))]
    finally:
        batches.close()
    return np.concatenate(parts)


def fit_stream(
    detector: Detector,
    state: State,
    stream: Stream,
    config: TrainingConfig,
    *,
    first_epoch: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[int, State, dict[str, Any]]]:
    """As `training.loop.fit`, from a stream; its metrics have `WAITING` beside the detector's.

    Raises:
        NotFiniteError: If a metric was not finite in some step.
        UserError: If the images do not fill one batch, or a file can no longer be read.
    """
    count, key = len(stream), jax.random.key(config.seed)
    state = jax.device_put(state, jnp.zeros(()).sharding)
    plan = epoch_plan(key, first_epoch, count, config)
    batches = open_epoch(stream, plan, config.seed, first_epoch)
    try:
        for epoch in range(first_epoch, config.epochs):
            steps = steps_of_epoch(epoch, count, config)
            state, metrics = stream_epoch(
                detector, state, batches, plan, StepConfig(config.flip), epoch, progress, steps=steps
            )
            batches.close()
            if epoch + 1 < config.epochs:  # decoding begins while the caller still scores and saves this epoch
                plan = epoch_plan(key, epoch + 1, count, config)
                batches = open_epoch(stream, plan, config.seed, epoch + 1)
            yield epoch + 1, state, metrics
    finally:
        batches.close()


def stream_epoch(
    detector: Detector,
    state: State,
    batches: Iterator[Array],
    plan: Plan,
    config: StepConfig,
    epoch: int,
    progress: Progress | None,
    *,
    steps: int,
) -> tuple[State, dict[str, Any]]:
    """An epoch of so many steps, a call a step; the next batch is fetched while a step runs."""
    size = plan.order.shape[1]
    started = shown = time.monotonic()
    waited = 0.0
    totals = None
    own = plan._replace(order=jnp.broadcast_to(jnp.arange(size), (steps, size)))  # a batch is all the images there are
    if progress:
        progress(epoch, 0, steps, {})
    for i in range(steps):
        asked = time.monotonic()
        batch = next(batches)
        arrived = time.monotonic()
        if totals is None:
            totals = start_totals(detector, state, batch, own, config)
            state, totals, own = jax.device_put((state, totals, own), batch.sharding)
        if totals.first_bad_step.is_ready():  # the step before has ended since, or before: all of it counts as waiting
            waited += arrived - asked
        check_finite(totals, epoch, steps)
        state, totals = run_steps(detector, state, totals, batch, own, i, i + 1, config)
        if progress and time.monotonic() - shown > 1:
            shown = time.monotonic()
            progress(epoch, i + 1, steps, mean_metrics(totals, i + 1))
    assert totals is not None  # an epoch has at least one step
    check_finite(totals, epoch, steps)
    metrics = mean_metrics(totals, steps)
    if progress:
        progress(epoch, steps, steps, metrics)
    return state, metrics | {WAITING: round(waited / (time.monotonic() - started), 4)}


def open_epoch(stream: Stream, plan: Plan, seed: int, epoch: int) -> Any:
    """An epoch's batches, uint8 on the device, as grain's iterator; decoding begins at once.

    Args:
        stream: The images.
        plan: Their order, if they are whole photographs, and the batch size.
        seed: With `epoch`, all that the order of patches depends on.
        epoch: The epoch's number from 0.
    """
    batch_size, photographs, threads = plan.order.shape[1], stream.photographs, min(THREADS, os.cpu_count() or 1)
    if stream.patches is None:
        order = np.asarray(plan.order).ravel()
        images = grain.MapDataset.source(photographs.take(order)).to_iter_dataset(
            grain.ReadOptions(threads, 2 * batch_size)
        )
    else:
        rng = np.random.default_rng((seed, epoch))
        passes = -(-plan.order.size // len(stream))  # as `plan_epoch` counts them
        order = np.concatenate([rng.permutation(len(photographs)) for _ in range(passes)])
        group = max(2, GROUP_BYTES // (int(photographs.sizes.prod(axis=1).max()) * photographs.channels))
        decoded = grain.MapDataset.source(photographs.take(order)).to_iter_dataset(grain.ReadOptions(threads, group))
        groups = decoded.batch(group, drop_remainder=False, batch_fn=list)
        images = grain.experimental.FlatMapIterDataset(groups, Deal(stream.patches, rng))
    batches = grain.experimental.device_put(
        images.batch(batch_size, drop_remainder=True), jnp.zeros(()).sharding, cpu_buffer_size=2, device_buffer_size=2
    )
    iterator = iter(batches)
    iterator.start_prefetch()
    return iterator


class Dealt:
    """The patches of a group of photographs, shuffled together, each cut when it is asked for."""

    def __init__(self, photographs: Sequence[np.ndarray], patches: Patches, rng: np.random.Generator) -> None:
        self.photographs, self.size = photographs, patches.size
        corners = [windows(image.shape[0], image.shape[1], *patches) for image in photographs]
        owners = np.repeat(np.arange(len(corners)), [len(places) for places in corners])
        self.places = rng.permutation(np.column_stack([owners, np.concatenate(corners)]))  # photograph, row, column

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> np.ndarray:
        photograph, row, column = self.places[index]
        return self.photographs[photograph][row : row + self.size, column : column + self.size]


class Deal(grain.experimental.FlatMapTransform):
    """grain's name for turning one element into many: a group of photographs into its patches."""

    max_fan_out = 2**31

    def __init__(self, patches: Patches, rng: np.random.Generator) -> None:
        self.patches, self.rng = patches, rng

    def flat_map(self, element: Sequence[np.ndarray]) -> Any:
        """Shuffles the group's patches; called in the order of the groups, by one thread."""
        return Dealt(element, self.patches, self.rng)
