"""Training on photographs that do not fit in memory: a step a batch, from the batches of `training.stream_batches`."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import UInt8

from sagan_jax import device
from sagan_jax.config import DensityConfig, TrainingConfig
from sagan_jax.data.patches import Patches, extract, windows
from sagan_jax.data.photographs import Photographs
from sagan_jax.data.split import even_part
from sagan_jax.detector import Detector, State
from sagan_jax.training.loop import (
    Progress,
    StepConfig,
    check_finite,
    mean_metrics,
    run_steps,
    shardings,
    start_totals,
)
from sagan_jax.training.plan import Plan, plan_configured_epoch, plan_epoch, steps_of_epoch
from sagan_jax.training.stream_batches import Stream, open_epoch

WAITING = "waiting_for_images"
"""The metric's name: the share of an epoch's time in which no step ran because its batch was not there, at most."""


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


def fitted_images(
    images: UInt8[np.ndarray, "count height width channel"] | Stream, config: TrainingConfig
) -> UInt8[np.ndarray, "count height width channel"]:
    """Training images in memory, each once, for what is fitted on them: of a stream, as many as any method looks at.

    They are all of an array; of streamed photographs the same ones, or an even part where they are too many; of
    streamed patches those that a pass over the photographs begins with.
    """
    if not isinstance(images, Stream):
        return images
    most = DensityConfig().kept_of(images.image_shape)
    if images.patches is None:
        return images.photographs.take(even_part(np.arange(len(images)), most))[:]
    plan = plan_epoch(jax.random.key(config.seed), 0, len(images), config.batch_size)
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
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, State, dict[str, Any]]]:
    """As `training.loop.fit`, from a stream; its metrics have `WAITING` beside the detector's.

    Of a mesh over several hosts, each host reads and decodes its own part of every batch.

    Raises:
        NotFiniteError: If a metric was not finite in some step.
        UserError: If the images do not fill one batch, the mesh does not divide it, there are fewer photographs to cut
            than hosts, or a file can no longer be read.
    """
    count, key = len(stream), jax.random.key(config.seed)
    sharding, everywhere = shardings(mesh, config.batch_size)
    step = StepConfig(config.flip, sharding, apart=sharding is not None)
    state = device.put(state, everywhere)
    plan = plan_configured_epoch(key, first_epoch, count, config)
    batches = open_epoch(stream, plan, config.seed, first_epoch, sharding)
    try:
        for epoch in range(first_epoch, config.epochs):
            steps = steps_of_epoch(epoch, count, config)
            # A batch is all the images there are, taken in order. On one device they are gathered all the same: only
            # so does the step compile to the program that it is from memory, which gives the same bits.
            own = jnp.broadcast_to(jnp.arange(config.batch_size), (steps, config.batch_size))
            placed = device.put(plan._replace(order=own), everywhere)
            state, metrics = _stream_epoch(detector, state, batches, placed, step, epoch, progress)
            batches.close()
            if epoch + 1 < config.epochs:  # decoding begins while the caller still scores and saves this epoch
                plan = plan_configured_epoch(key, epoch + 1, count, config)
                batches = open_epoch(stream, plan, config.seed, epoch + 1, sharding)
            yield epoch + 1, state, metrics
    finally:
        batches.close()


def _stream_epoch(
    detector: Detector,
    state: State,
    batches: Iterator[Array],
    plan: Plan,
    config: StepConfig,
    epoch: int,
    progress: Progress | None,
) -> tuple[State, dict[str, Any]]:
    """An epoch of the plan's steps, a call a step; the next batch is fetched while a step runs.

    The plan's order is that within each batch. It lies on the devices that the state does.
    """
    steps = len(plan.order)
    started = shown = time.monotonic()
    waited = 0.0
    totals = None
    if progress:
        progress(epoch, 0, steps, {})
    for i in range(steps):
        asked = time.monotonic()
        batch = next(batches)
        arrived = time.monotonic()
        if totals is None:
            totals = start_totals(detector, state, batch, plan, config)
            totals = device.put(totals, plan.order.sharding)
        if totals.first_bad_step.is_ready():  # the step before has ended since, or before: all of it counts as waiting
            waited += arrived - asked
        check_finite(totals, epoch, steps)
        state, totals = run_steps(detector, state, totals, batch, plan, i, i + 1, config)
        if progress and time.monotonic() - shown > 1:
            shown = time.monotonic()
            progress(epoch, i + 1, steps, mean_metrics(totals, i + 1))
    assert totals is not None  # an epoch has at least one step
    check_finite(totals, epoch, steps)
    metrics = mean_metrics(totals, steps)
    if progress:
        progress(epoch, steps, steps, metrics)
    return state, metrics | {WAITING: round(waited / (time.monotonic() - started), 4)}
