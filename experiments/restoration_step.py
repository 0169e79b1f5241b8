"""What a training step of the restoration preset takes, and how much of it the damage does."""

import statistics
from dataclasses import replace
from functools import partial
from typing import Any


def restoration_step(rounds: int, *, size: int = 64, width: int | None = None) -> dict[str, Any]:
    """Times a step, in the very loop that trains, and in turn what is drawn for it: another light, and damage.

    Args:
        rounds: How often each is timed.
        size: Side in pixels of the images.
        width: Of the networks; by default the preset's.

    Returns:
        `size`, `batch`, `images_per_second`, and `damage_share` of the step's time, the median over rounds with the
        lowest and the highest.
    """
    import jax
    import numpy as np

    from experiments.timing import in_turn
    from sagan_jax.config import INSPECTION, sagan_preset
    from sagan_jax.detector import normalise
    from sagan_jax.methods.restoration import damaged_example
    from sagan_jax.methods.sagan import sagan
    from sagan_jax.training.loop import StepConfig, run_steps, start_totals
    from sagan_jax.training.plan import plan_epoch

    settings = sagan_preset("inspection")
    settings = settings if width is None else replace(settings, width=width)
    steps, batch, key = 8, INSPECTION.batch_size, jax.random.key(0)
    pixels = np.random.default_rng(0).integers(0, 256, (steps * batch, size, size, 3), np.uint8)
    detector, config = sagan(settings, INSPECTION.steps), StepConfig(INSPECTION.flip)
    images, plan = jax.device_put(pixels), plan_epoch(key, 0, len(pixels), batch)
    state = detector.init(key, images.shape[1:])
    held = {"state": state, "totals": start_totals(detector, state, images, plan, config)}

    draw = jax.jit(partial(damaged_example, settings.repair))

    def train() -> None:
        held["state"], held["totals"] = run_steps(
            detector, held["state"], held["totals"], images, plan, 0, steps, config
        )
        jax.block_until_ready(held)

    def draw_alone() -> None:
        for i in range(steps):
            jax.block_until_ready(draw(batches[i], jax.random.fold_in(key, i)))

    batches = list(jax.jit(normalise)(images).reshape(steps, batch, *images.shape[1:]))
    seconds = in_turn({"step": train, "damage": draw_alone}, rounds)
    shares = [drawn / whole for drawn, whole in zip(seconds["damage"], seconds["step"], strict=True)]
    return {
        "size": size,
        "batch": batch,
        "images_per_second": round(steps * batch / statistics.median(seconds["step"]), 2),
        "damage_share": {"median": statistics.median(shares), "low": min(shares), "high": max(shares)},
    }
