"""One run, from a prepared split to its folder: trained, checkpointed, judged, written."""

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax import device, run_folder
from sagan_jax.config import OutputConfig
from sagan_jax.data.split import take
from sagan_jax.device import Machine
from sagan_jax.runs.evaluate import evaluate
from sagan_jax.runs.prepare import Prepared
from sagan_jax.runs.run_state import Trained, check_folder, end_epoch, finish, first_state, open_run
from sagan_jax.runs.write import write
from sagan_jax.training.loop import fit
from sagan_jax.training.progress import progress_bar
from sagan_jax.training.streaming import Stream, fit_stream, fitted_images, training_images


def run(
    prepared: Prepared,
    folder: Path,
    machine: Machine,
    argv: Sequence[str],
    *,
    output: OutputConfig | None = None,
) -> dict[str, Any]:
    """Trains a method on a split and writes a folder with all about it.

    The folder has `config.json`, `metrics.jsonl` (a line an epoch), `checkpoints/`, `scores.csv`, `result.json` and
    pictures: `scores.png`, `roc.png`, `losses.png`, `images.png`; `report.html` has all of it in one page, with
    thumbnails that are kept in `gallery.json`.

    Args:
        prepared: What is run, from `prepare`.
        folder: Where it goes; new, or continued if `output.resume`.
        machine: What it computes on, from `device.start_run`.
        argv: The command, for the record.
        output: What is kept of it.

    Returns:
        What `result.json` has.

    Raises:
        UserError: If the folder has a run already, is in use by another process or cannot be written to, its checkpoint
            is of another configuration, or the training diverged. Nothing on disk is lost by any of them.
    """
    output = output or OutputConfig()
    with run_folder.locked(folder) if device.is_first_host() else nullcontext():
        check_folder(folder, output)
        trained = train(prepared, folder, machine, output)
        if device.is_first_host():
            write(folder, prepared, trained, evaluate(prepared, trained), machine, argv)
        device.wait_for_all_hosts()
    return json.loads((folder / "result.json").read_text())


def train(prepared: Prepared, folder: Path, machine: Machine, output: OutputConfig) -> Trained:
    """The epochs still to do, each ended with a line of metrics and a checkpoint in the folder."""
    training, split = prepared.training, prepared.split
    images = training_images(take(split.train, prepared.kept), split.patches, machine.image_memory)

    def normal() -> np.ndarray:
        return fitted_images(images, training)

    with (
        open_run(prepared, folder, machine, output, streams=isinstance(images, Stream)) as state,
        progress_bar(training.epochs, training.batch_size) as progress,
    ):
        start, done = (state.last.state, state.last.epoch) if state.last else (first_state(prepared), 0)
        started = time.monotonic()
        options: Any = {"first_epoch": done, "progress": progress, "mesh": machine.mesh}
        if isinstance(images, Stream):
            epochs = fit_stream(prepared.detector, start, images, training, **options)
        else:
            epochs = fit(prepared.detector, start, images, training, **options)
        for epoch, learned, metrics in epochs:
            state = end_epoch(state, normal, epoch, learned, metrics, time.monotonic() - started)
            started = time.monotonic()
        return finish(state)
