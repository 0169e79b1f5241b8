"""Training on a folder of photographs."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagan_jax import device
from sagan_jax.config import SETTINGS, FolderConfig, MethodName, RunConfig, TrainingConfig
from sagan_jax.data.folder import load_folder
from sagan_jax.data.patches import Patches
from sagan_jax.data.split import Split, hold_out, take
from sagan_jax.errors import UserError
from sagan_jax.evaluation import has_both
from sagan_jax.methods import METHODS
from sagan_jax.model import abstract_state
from sagan_jax.provenance import command
from sagan_jax.run import Experiment, run


def train_on_folder(
    data: Path,
    folder: FolderConfig,
    method: MethodName,
    preset: str,
    model: Any,
    training: TrainingConfig,
    config: RunConfig,
) -> tuple[dict[str, Any], Path]:
    """Trains a method on a folder of photographs; what is not used is named on stderr, with notes.

    Args:
        data: The folder, in a layout of `data.layout.scan`.
        folder: How it is read.
        method: A name in `methods.METHODS`.
        preset: Names the run's folder if `config` names none.
        model: The method's configuration.
        training: How long and on what it is trained.
        config: How it is judged and where it goes.

    Returns:
        What `result.json` has, and the run's folder.

    Raises:
        UserError: As `load_folder` and `run`, or if the reference protocol is wanted without images to show it on.
    """
    device.start(config.device)
    side = folder.patch or folder.size
    if side & (side - 1):  # no method is sure to take it: tell before a whole folder is decoded
        abstract_state(METHODS[method].build(model, 1), (side, side, folder.channels))
    patches = None if folder.patch is None else Patches(folder.patch, folder.stride or folder.patch // 2)
    split, unused = load_folder(
        data,
        size=folder.size if patches is None else None,
        patches=patches,
        channels=folder.channels,
        on_bad=folder.on_bad,
        memory=device.image_memory(config.streaming),
        max_pixels=folder.max_pixels,
        white=folder.white,
    )
    for file in unused:
        print(f"not used: {file.reason}", file=sys.stderr)
    training, split = fitting_batch(method, training, split)
    for note in split.notes:
        print(f"note: {note}", file=sys.stderr)
    if config.protocol == "both" and patches is not None:
        raise UserError("--protocol=both compares protocols on whole images; it cannot be had with --patch")
    if config.protocol == "both" and not has_both(split.test_labels):
        raise UserError("--protocol=both compares protocols on normal and abnormal test images; the folder lacks them")
    name = re.sub(r"[^\w.-]+", "_", "-".join((split.name, method, preset)))
    out = config.out or Path("runs") / name
    return run(Experiment(split, method, model, training, config, out), command()), out


def fitting_batch(method: MethodName, training: TrainingConfig, split: Split) -> tuple[TrainingConfig, Split]:
    """A default batch size lowered to the training images there are, with a note; one that somebody chose stays.

    Args:
        method: A name in `config.SETTINGS`, where the default is.
        training: The settings of training.
        split: The images.

    Raises:
        UserError: If there are too few images to hold any out.
    """
    kept, _ = hold_out(len(split.train), training.validation_fraction, training.seed)
    count = len(kept)
    if split.patches is not None:
        count = take(split.train, kept).count_patches(split.patches)
    if training.batch_size != SETTINGS[method].batch_size or training.batch_size <= count:
        return training, split
    note = f"the batch size is {count} in place of {training.batch_size}: there are no more images to train on"
    return replace(training, batch_size=count), split._replace(notes=(*split.notes, note))
