"""Many runs as one program: the classes left out, or the seeds, of one experiment trained together over shared images.

Each run keeps a folder, checkpoints and results of its own, as if run alone.
"""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from sagan_jax import device, run_folder
from sagan_jax.config import Together
from sagan_jax.data.split import Split, image_shape
from sagan_jax.detector import State
from sagan_jax.errors import UserError
from sagan_jax.runs import checkpoint
from sagan_jax.runs.checkpoint import Checkpoint
from sagan_jax.runs.run import conclude
from sagan_jax.runs.run_state import (
    Course,
    Experiment,
    check_folder,
    choose_judged,
    detector_of,
    end_epoch,
    first_state,
    held_out_of,
    open_course,
    rate_of,
)
from sagan_jax.training.loop import fit_many
from sagan_jax.training.progress import progress_bar


def obstacle(experiments: Sequence[Experiment]) -> str | None:
    """What keeps runs from being trained as one program, in words; None if nothing does.

    Args:
        experiments: Runs of one method that differ in nothing but their split and their seed.
    """
    sizes = {len(held_out_of(experiment)[0]) for experiment in experiments}
    if len(sizes) > 1:
        return f"they have {min(sizes):,} to {max(sizes):,} training images, and one program takes as many of each"
    config = experiments[0].config
    if config.devices is not None or config.coordinator is not None:
        return "each batch is to be split over several devices"
    return None


SMALL = 2**17
"""Numbers in a batch's first maps, up to which networks are trained side by side on a CPU too: 32 images of 16 px at
width 16. At 32 px, or at a greater width, one model keeps all cores at work and a second one shares its caches."""


def chosen(together: Together, experiment: Experiment) -> Literal["vmap", "map"] | None:
    """How runs like this one are trained: as one program, or None for one after the other.

    Networks as small as a step's own overhead gain from standing side by side (`experiments/many.py` measures it): all
    on an accelerator, on a CPU those of `SMALL` first maps.
    """
    if together != "auto":
        return None if together == "no" else together
    device.start_run(experiment.config)
    if jax.default_backend() != "cpu" and experiment.config.device != "cpu":
        return "vmap"
    height, width, _ = image_shape(experiment.split)
    numbers = experiment.training.batch_size * height * width * experiment.model.width
    return "vmap" if numbers <= SMALL else None


def shared_images(
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


def run_together(
    experiments: Sequence[Experiment], argv: Sequence[str], how: Literal["vmap", "map"] = "vmap"
) -> list[dict[str, Any]]:
    """Trains many runs as one program; each leaves the folder it would leave alone (see `run.run`).

    Args:
        experiments: Runs of one method that differ in nothing but their split and their seed; images whole, in memory.
        argv: The command, for the record.
        how: "vmap" runs the models side by side, "map" one after the other within each step.

    Returns:
        What each `result.json` has.

    Raises:
        UserError: If there is an `obstacle`, and as `run.run`.
    """
    if why := obstacle(experiments):
        raise UserError(f"these runs cannot be trained together: {why}")
    where = device.start_run(experiments[0].config)
    with ExitStack() as stack:
        for experiment in experiments:
            stack.enter_context(run_folder.locked(experiment.out))
            check_folder(experiment)
            rate_of(experiment)  # refused before anything is trained
        train_together(experiments, argv, how, where)
    return [json.loads((experiment.out / "result.json").read_text()) for experiment in experiments]


def train_together(
    experiments: Sequence[Experiment], argv: Sequence[str], how: Literal["vmap", "map"], where: str
) -> None:
    """The runs, once their folders are this process's alone."""
    training, seeds = experiments[0].training, [experiment.training.seed for experiment in experiments]
    images, places = shared_images([experiment.split for experiment in experiments])
    parts = [held_out_of(experiment) for experiment in experiments]
    subsets = np.stack([place[kept] for place, (kept, _) in zip(places, parts, strict=True)])
    detector = detector_of(experiments[0])
    with ExitStack() as stack:
        opened = [
            stack.enter_context(
                open_course(
                    experiment, detector, experiment.split.train[held_out], partial(images.__getitem__, kept), len(kept)
                )
            )
            for experiment, kept, (_, held_out) in zip(experiments, subsets, parts, strict=True)
        ]
        courses = [course for course, _ in opened]
        lasts = same_epoch(opened)
        starts = [first_state(course) for course in courses] if lasts is None else [last.state for last in lasts]
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        done = lasts[0].epoch if lasts else 0
        progress = stack.enter_context(progress_bar(training.epochs, training.batch_size * len(courses)))
        started = time.monotonic()
        for epoch, states, metrics in fit_many(
            detector, start, images, subsets, seeds, training, how=how, first_epoch=done, progress=progress
        ):
            share = (time.monotonic() - started) / len(courses)
            lasts = [
                end_epoch(course, epoch, model(states, i), model(metrics, i), share) for i, course in enumerate(courses)
            ]
            started = time.monotonic()
        assert lasts is not None  # a run has at least one epoch
        trained = [choose_judged(course, last) for course, last in zip(courses, lasts, strict=True)]
    for experiment, one in zip(experiments, trained, strict=True):
        conclude(experiment, detector, one, where, argv)


def model(many: State, i: int) -> State:
    """One model's part of a tree with an axis of models in front."""
    return jax.tree.map(lambda leaf: leaf[i], many, is_leaf=lambda leaf: isinstance(leaf, list))


def same_epoch(opened: Sequence[tuple[Course, Checkpoint | None]]) -> list[Checkpoint] | None:
    """Checkpoints of one epoch to go on from, the last that all runs have; None if a run has none yet.

    A process that dies between two checkpoints leaves some runs an epoch ahead; their last epoch is trained again.

    Raises:
        UserError: If a run no longer has the checkpoint.
    """
    if any(last is None for _, last in opened):
        for course, _ in opened:
            course.history.clear()
        return None
    epoch = min(last.epoch for _, last in opened if last)
    for course, _ in opened:
        course.history[:] = [row for row in course.history if row["epoch"] <= epoch]
    return [
        last if last and last.epoch == epoch else checkpoint.restore(course.checkpoints, course.like, epoch)
        for course, last in opened
    ]
