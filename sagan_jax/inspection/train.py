"""Training on a folder of photographs."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagan_jax import device, run_folder
from sagan_jax.config import FolderConfig, HardwareConfig, JudgingConfig, OutputConfig, Preset, TrainingConfig
from sagan_jax.data.folder import load_folder
from sagan_jax.data.groups import groups_by, likely_groups
from sagan_jax.data.image_file import JPEG_MARGIN
from sagan_jax.data.patches import Patches
from sagan_jax.data.split import Split, hold_out, image_count
from sagan_jax.detector import abstract_state
from sagan_jax.errors import UserError, printable
from sagan_jax.judging.evaluation import has_both
from sagan_jax.methods.table import Method
from sagan_jax.runs.prepare import prepare
from sagan_jax.runs.provenance import command
from sagan_jax.runs.run import run
from sagan_jax.runs.run_state import continued


def train_on_folder(
    data: Path,
    folder: FolderConfig,
    method: Method,
    preset: Preset,
    model: Any,
    training: TrainingConfig,
    *,
    output: OutputConfig | None = None,
    judging: JudgingConfig | None = None,
    hardware: HardwareConfig | None = None,
) -> tuple[dict[str, Any], Path]:
    """Trains a method on a folder of photographs; what is not used is named on stderr, with notes.

    Args:
        data: The folder, in a layout of `data.layout.scan`.
        folder: How it is read.
        method: How the detector is made.
        preset: Says what is a default; names the run's folder if `output` names none.
        model: The method's settings.
        training: How long and on what it is trained.
        output: Where it goes, and what of it is kept.
        judging: How it is judged; by default strictly.
        hardware: What it computes on.

    Returns:
        What `result.json` has, and the run's folder.

    Raises:
        UserError: As `load_folder` and `run`, or if the reference protocol is wanted without images to show it on.
    """
    output, judging = output or OutputConfig(), judging or JudgingConfig()
    machine = device.start_run(hardware or HardwareConfig())
    side = folder.patch or folder.size
    if side & (side - 1):  # no method is sure to take it: tell before a whole folder is decoded
        abstract_state(method.build(model, None), (side, side, folder.channels))
    patches = None if folder.patch is None else Patches(folder.patch, folder.stride or folder.patch // 2)
    name = "-".join((printable(data.resolve().name), method.name, preset))
    out = output.out or Path("runs") / re.sub(r"[^\w.-]+", "_", name)
    output = replace(output, out=out)
    split, unused = load_folder(
        data,
        size=folder.size if patches is None else None,
        patches=patches,
        channels=folder.channels,
        on_bad=folder.on_bad,
        memory=machine.image_memory,
        max_pixels=folder.max_pixels,
        white=folder.white,
        jpeg_margin=_jpeg_margin(folder, output),
    )
    split = _in_groups(split, folder.group)
    for file in unused:
        print(f"not used: {file}", file=sys.stderr)
    training, split = fitting_batch(method.training(preset).batch_size, training, split)
    for note in split.notes:
        print(f"note: {note}", file=sys.stderr)
    if judging.protocol == "both" and patches is not None:
        raise UserError("--protocol=both compares protocols on whole images; it does not work with --patch")
    if judging.protocol == "both" and not has_both(split.test_labels):
        raise UserError("--protocol=both compares protocols on normal and abnormal test images; the folder lacks them")
    prepared = prepare(split, method, model, continued(training, out, output), judging)
    return run(prepared, out, machine, command(), output=output), out


def _in_groups(split: Split, pattern: str | None) -> Split:
    """The split with its normal images in groups that are held out together; without a pattern, with a hint at most.

    Args:
        split: The images.
        pattern: A regular expression that tells the group from an image's path in the folder. None leaves the images
            on their own, with a note if their names look like those of pieces of one photograph.

    Raises:
        UserError: As `groups_by`.
    """
    groups = likely_groups(split.train_ids) if pattern is None else groups_by(pattern, split.train_ids)
    if groups is None:
        return split
    found = f"{len(split.train)} normal training images are of {groups.group_count}"
    if pattern is None:
        note = (
            f"judging by their names, the {found} things; if these are photographs that were cut up, or films, "
            f"held-out images are not new unless images of one are held out together: --group='{groups.pattern}'"
        )
        return split._replace(notes=(*split.notes, note))
    note = (
        f"the {found} groups (--group), each held out whole or not at all; images of one group tell less than as many "
        "others, so false positives may lie further from the wanted rate than the number of images suggests"
    )
    return split._replace(groups=groups, notes=(*split.notes, note))


def _jpeg_margin(folder: FolderConfig, output: OutputConfig) -> int:
    """How JPEGs are read: as asked for, or as the run that is continued has read them, or as new runs do."""
    stored = run_folder.read_json(output.out / "config.json") if output.resume and output.out is not None else None
    if folder.jpeg_margin is not None:
        return folder.jpeg_margin
    if stored is None:
        return JPEG_MARGIN
    match stored:
        case {"reading": {"jpeg_margin": int(margin)}}:
            return margin
    return 0  # before this could be chosen


def fitting_batch(default: int, training: TrainingConfig, split: Split) -> tuple[TrainingConfig, Split]:
    """A default batch size lowered to the training images there are, with a note; one that somebody chose stays.

    Args:
        default: The batch size that the method's preset has.
        training: The settings of training.
        split: The images.

    Raises:
        UserError: If there are too few images to hold any out.
    """
    kept, _ = hold_out(len(split.train), training.validation_fraction, training.seed, split.groups)
    count = image_count(split, kept)
    if training.batch_size != default or training.batch_size <= count:
        return training, split
    note = f"the batch size is {count} in place of {training.batch_size}: there are no more images to train on"
    return replace(training, batch_size=count), split._replace(notes=(*split.notes, note))
