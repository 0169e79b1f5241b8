"""How fast this machine trains and scores what a table's cell needs, measured on noise in the very loop that trains."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.timing import timed

if TYPE_CHECKING:
    from sagan_jax.config import TrainingConfig
    from sagan_jax.detector import Detector

MEMORY_SHARE = 0.85
"""How much of a device's memory the models of one program may take; scoring and the allocator have the rest."""
LEAST_SECONDS = 1.0
"""A timing is of as many steps as take so long."""
_FITTED = 128
"""Images that what is known of normal ones is fitted on, where a method needs that to score; it is not timed."""


class Kind(NamedTuple):
    """What runs of one kind have in common: they take the same programs.

    Attributes:
        detector: The method.
        image_shape: [H, W, C].
        images: Training images of a model, the held-out ones not among them.
        shared: Training images of all models of a program.
        training: Of one of them.
    """

    detector: "Detector"
    image_shape: tuple[int, int, int]
    images: int
    shared: int
    training: "TrainingConfig"


class Speed(NamedTuple):
    """What one program of a kind takes.

    Attributes:
        models: How many models train in it.
        compiling: Seconds until the first step and the first scores are there, beyond what they take later.
        training: Training images a second, all models together.
        scoring: Test images a second.
        keeping: Seconds to write a model's checkpoint.
        measured: Whether it was measured, or reckoned from another kind by its arithmetic.
    """

    models: int
    compiling: float
    training: float
    scoring: float
    keeping: float
    measured: bool = True


def device_memory() -> int | None:
    """Bytes of the device that programs may take; None where the device does not say, as a CPU does not."""
    import jax

    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def models_that_fit(bytes_limit: int, image_bytes: int, program_bytes: int, models: int) -> int:
    """How many models a device's memory takes in one program.

    Args:
        bytes_limit: Of the device.
        image_bytes: What the images take, however many models there are.
        program_bytes: What a program of that many models takes, images included.
        models: How many.

    Returns:
        At least 1.
    """
    each = max(1, program_bytes - image_bytes) / models
    return max(1, math.floor((bytes_limit * MEMORY_SHARE - image_bytes) / each))


@lru_cache
def program_memory(kind: Kind, models: int) -> int:
    """Bytes a program of that many models takes, by its compiler, which caches it on disk; 0 if it does not say."""
    import jax
    import jax.numpy as jnp

    from sagan_jax.training.loop import StepConfig, run_steps, start_totals

    detector, shape = kind.detector, jax.ShapeDtypeStruct
    config = StepConfig(kind.training.flip, many="vmap")
    images = shape((kind.shared, *kind.image_shape), jnp.uint8)

    def start(key: Any, images: Any) -> Any:
        states = jax.vmap(lambda key: detector.init(key, kind.image_shape))(jax.random.split(key, models))
        plan = _plan(kind, models)
        return states, start_totals(detector, states, images, plan, config), plan

    state, totals, plan = jax.eval_shape(start, jax.eval_shape(lambda: jax.random.key(0)), images)
    lowered = run_steps.lower(detector, state, totals, images, plan, 0, 1, config)
    memory = lowered.compile().memory_analysis()
    if memory is None:
        return 0
    taken = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return taken + memory.temp_size_in_bytes


def measure_speed(kind: Kind, models: int, scratch: Path) -> Speed:
    """Trains and scores for about a second each, after compiling.

    Args:
        kind: What is trained.
        models: How many in one program, side by side.
        scratch: A folder for a checkpoint, whose writing is timed.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from sagan_jax import device
    from sagan_jax.judging.calibration import calibrate
    from sagan_jax.judging.scoring import reference_protocol_scores
    from sagan_jax.runs import checkpoint
    from sagan_jax.training.loop import StepConfig, run_steps, start_totals

    detector, batch = kind.detector, kind.training.batch_size
    pixels = np.random.default_rng(0).integers(0, 256, (kind.shared, *kind.image_shape), np.uint8)
    images = jax.device_put(pixels)
    config = StepConfig(kind.training.flip, many="vmap" if models > 1 else None)
    one = detector.init(jax.random.key(0), kind.image_shape)
    if detector.fit_normal:
        one = detector.fit_normal(one, pixels[:_FITTED], jax.random.key(0))
    state = jax.tree.map((lambda leaf: jnp.stack([leaf] * models)) if models > 1 else jnp.copy, one)
    plan = _plan(kind, models if models > 1 else None)
    steps = plan.order.shape[-2]
    held = device.put((state, start_totals(detector, state, images, plan, config), plan), images.sharding)
    held, plan = held[:2], held[2]

    def train(count: int) -> None:
        nonlocal held
        held = run_steps(detector, *held, images, plan, 0, min(count, steps), config)
        jax.block_until_ready(held)

    def score(count: int) -> None:
        reference_protocol_scores(detector, one, pixels[: count * batch], batch_size=batch)

    first = timed(lambda: train(1)) + timed(lambda: score(1))
    step, taken = steps_in_time(train, steps)
    scored, score_taken = steps_in_time(score, max(1, len(pixels) // batch))
    with checkpoint.open_checkpoints(scratch, {}, 1) as checkpoints:
        kept = checkpoint.Checkpoint(1, one, calibrate(np.arange(100, dtype=np.float32)))
        keeping = timed(lambda: checkpoint.save(checkpoints, kept, 0.0))
    return Speed(
        models=models,
        compiling=max(0.0, first - taken / step - score_taken / scored),
        training=models * batch * step / taken,
        scoring=batch * scored / score_taken,
        keeping=keeping,
    )


def _plan(kind: Kind, models: int | None) -> Any:
    """The plan of an epoch, of one model or of many."""
    import jax

    from sagan_jax.training.plan import plan_configured_epoch

    if models is None:
        return plan_configured_epoch(jax.random.key(0), 0, kind.images, kind.training)
    keys = jax.random.split(jax.random.key(0), models)
    return jax.vmap(plan_configured_epoch, in_axes=(0, None, None, None))(keys, 0, kind.images, kind.training)


def steps_in_time(call: Callable[[int], None], most: int) -> tuple[int, float]:
    """How many steps of a call, twice as many each time, take `LEAST_SECONDS` or are the most there are; and seconds.

    Args:
        call: Takes that many steps.
        most: Steps there are.
    """
    steps = 1
    while True:
        taken = timed(partial(call, steps))
        if taken >= LEAST_SECONDS or steps >= most:
            return steps, taken
        steps = min(most, steps * max(2, min(8, int(LEAST_SECONDS / max(taken, 1e-3)))))


def arithmetic(kind: Kind) -> float:
    """Floating-point operations of a training step an image, counted by XLA in the program for a GPU (none is needed).

    It is traced and not compiled, which takes seconds.
    """
    import jax
    import jax.numpy as jnp

    from sagan_jax.detector import abstract_state
    from sagan_jax.training.loop import PLAIN_STEP, take_step

    batch = kind.training.batch_size
    images = jax.ShapeDtypeStruct((batch, *kind.image_shape), jnp.uint8)
    indices, key = jax.ShapeDtypeStruct((batch,), jnp.int32), jax.eval_shape(lambda: jax.random.key(0))
    state = abstract_state(kind.detector, kind.image_shape)
    traced = jax.jit(take_step, static_argnames=("detector", "config")).trace(
        kind.detector, state, images, indices, key, PLAIN_STEP
    )
    found: Any = traced.lower(lowering_platforms=("cuda",)).cost_analysis()
    return (found[0] if isinstance(found, list) else found)["flops"] / batch


def reckoned(known: Speed, times: float) -> Speed:
    """The speed of a kind that takes that many times the arithmetic of one that was measured."""
    return known._replace(training=known.training / times, scoring=known.scoring / times, measured=False)
