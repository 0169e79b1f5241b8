"""Many runs as one program: the classes left out, or the seeds, of one experiment trained together over shared images.

Each run keeps a folder, checkpoints and results of its own, as if run alone.
"""

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from sagan_jax import run_folder
from sagan_jax.config import OutputConfig, Together
from sagan_jax.data.split import Split
from sagan_jax.detector import State
from sagan_jax.device import Machine
from sagan_jax.errors import UserError
from sagan_jax.ops import native
from sagan_jax.runs import checkpoint
from sagan_jax.runs.evaluate import evaluate
from sagan_jax.runs.prepare import Prepared
from sagan_jax.runs.run_state import (
    RunState,
    Trained,
    check_folder,
    end_epoch,
    finish,
    first_state,
    open_run,
)
from sagan_jax.runs.write import write
from sagan_jax.training.loop import fit_many
from sagan_jax.training.progress import progress_bar

SMALL = 2**23
"""Up to which size networks are trained side by side on a CPU too: pixels of a batch times the root of the numbers in a
model's state, which grows as the width. 32 images of 16 px at width 16 are just under it. At 32 px, or at a greater
width, one model keeps all cores at work and a second one shares its caches."""


def obstacle(runs: Sequence[Prepared], machine: Machine) -> str | None:
    """Why runs cannot be trained as one program, in words; None if they can.

    Args:
        runs: Runs of one method that differ only in their split and their seed.
        machine: What they compute on.
    """
    sizes = {len(prepared.kept) for prepared in runs}
    if len(sizes) > 1:
        return f"they have {min(sizes):,} to {max(sizes):,} training images, and one program takes as many of each"
    if machine.config.devices is not None or machine.config.coordinator is not None:
        return "each batch would be split over several devices"
    return None


def choose_program(together: Together, prepared: Prepared) -> Literal["vmap", "map"] | None:
    """How runs like this one are trained: as one program, or None for one after the other.

    Networks as small as a step's own overhead gain from standing side by side (`experiments/many.py` measures it): all
    on an accelerator, on a CPU those up to `SMALL`.
    """
    if together != "auto":
        return None if together == "no" else together
    if not native.for_cpu():
        return "vmap"
    height, width, _ = prepared.image_shape
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(prepared.like))
    return "vmap" if prepared.training.batch_size * height * width * math.sqrt(numbers) <= SMALL else None


def run_many(
    runs: Sequence[Prepared],
    folders: Sequence[Path],
    machine: Machine,
    argv: Sequence[str],
    *,
    how: Literal["vmap", "map"] = "vmap",
    output: OutputConfig | None = None,
) -> list[dict[str, Any]]:
    """Trains many runs as one program; each leaves the folder it would leave alone (see `run.run`).

    Args:
        runs: Runs of one method that differ only in their split and their seed; images whole, in memory.
        folders: Where each goes.
        machine: What they compute on, from `device.start_run`.
        argv: The command, for the record.
        how: "vmap" runs the models side by side, "map" one after the other within each step.
        output: What is kept of each.

    Returns:
        What each `result.json` has.

    Raises:
        UserError: If there is an `obstacle`, and as `run.run`.
    """
    output = output or OutputConfig()
    if why := obstacle(runs, machine):
        raise UserError(f"these runs cannot be trained together: {why}")
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(run_folder.locked(folder))
            check_folder(folder, output)
        everything = _train_many(runs, folders, machine, how, output)
        for prepared, folder, trained in zip(runs, folders, everything, strict=True):
            write(folder, prepared, trained, evaluate(prepared, trained), machine, argv)
    return [json.loads((folder / "result.json").read_text()) for folder in folders]


def _train_many(
    runs: Sequence[Prepared],
    folders: Sequence[Path],
    machine: Machine,
    how: Literal["vmap", "map"],
    output: OutputConfig,
) -> list[Trained]:
    """The epochs still to do of all runs at once."""
    training, detector = runs[0].training, runs[0].detector
    images, places = _shared_images([prepared.split for prepared in runs])
    subsets = np.stack([place[prepared.kept] for place, prepared in zip(places, runs, strict=True)])
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_run(prepared, folder, machine, output))
            for prepared, folder in zip(runs, folders, strict=True)
        ]
        states = _at_same_epoch(opened)
        starts = [state.last.state if state.last else first_state(state.prepared) for state in states]
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        done = states[0].last.epoch if states[0].last else 0
        progress = stack.enter_context(progress_bar(training.epochs, training.batch_size * len(runs)))
        started = time.monotonic()
        seeds = [prepared.training.seed for prepared in runs]
        for epoch, learned, metrics in fit_many(
            detector, start, images, subsets, seeds, training, how=how, first_epoch=done, progress=progress
        ):
            share = (time.monotonic() - started) / len(runs)
            states = [
                end_epoch(
                    state,
                    partial(images.__getitem__, subsets[i]),
                    epoch,
                    _one_of(learned, i),
                    _one_of(metrics, i),
                    share,
                )
                for i, state in enumerate(states)
            ]
            started = time.monotonic()
        return [finish(state) for state in states]


def _shared_images(
    splits: Sequence[Split],
) -> tuple[UInt8[np.ndarray, "n height width channel"], list[Int[np.ndarray, " m"]]]:
    """The training images of several splits of one set, each of them once.

    Args:
        splits: The splits; their images are told apart by their ids.

    Returns:
        The images, and where those of each split are among them.
    """
    places: dict[str, int] = {}
    parts: list[np.ndarray] = []
    for split in splits:
        new = np.array([name not in places for name in split.train_ids])
        places |= {name: len(places) + i for i, name in enumerate(split.train_ids[new])}
        parts.append(split.train[new])
    return np.concatenate(parts), [np.array([places[name] for name in split.train_ids]) for split in splits]


def _one_of(many: State, i: int) -> State:
    """One model's part of a tree with an axis of models in front."""
    return jax.tree.map(lambda leaf: leaf[i], many, is_leaf=lambda leaf: isinstance(leaf, list))


def _at_same_epoch(states: Sequence[RunState]) -> list[RunState]:
    """The runs at the last epoch of which all have a checkpoint; at the start if one of them has none yet.

    A process that dies between two checkpoints leaves some runs an epoch ahead; their last epoch is trained again.

    Raises:
        UserError: If a run no longer has the checkpoint.
    """
    lasts = [state.last for state in states if state.last]
    if len(lasts) < len(states):
        return [state._replace(last=None, history=()) for state in states]
    epoch = min(last.epoch for last in lasts)
    return [
        state._replace(
            last=last if last.epoch == epoch else checkpoint.restore(state.checkpoints, state.prepared.like, epoch),
            history=tuple(row for row in state.history if row["epoch"] <= epoch),
        )
        for state, last in zip(states, lasts, strict=True)
    ]
