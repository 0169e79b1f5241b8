"""Checkpoints: orbax folders that hold the state, its calibration and the configuration that made them. No pickle.

A checkpoint appears under its final name only when it is whole, so a run that dies while writing loses nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from sagan_jax.detector import State
from sagan_jax.errors import UserError
from sagan_jax.scoring import QUANTILES, Calibration

VALIDATION = "validation_reconstruction"


class Checkpoint(NamedTuple):
    """What is kept of an epoch: how many are done, the detector's state, and what normal images score under it."""

    epoch: int
    state: State
    calibration: Calibration


class Checkpoints(NamedTuple):
    """An open folder of checkpoints.

    Attributes:
        manager: orbax's manager of the folder.
        config: The configuration of the run, as JSON values; written with every checkpoint, demanded of each read.
    """

    manager: Any
    config: Mapping[str, Any]


@contextmanager
def open_checkpoints(folder: Path, config: Mapping[str, Any], keep: int | None = 2) -> Iterator[Checkpoints]:
    """Opens, or makes, a folder of checkpoints.

    Args:
        folder: Where they are.
        config: What identifies the run, as JSON values.
        keep: How many of the last are kept; the best by validation loss is kept beside them. None opens the folder to
            read only, which does no harm to a process that is writing to it.

    Yields:
        The folder, to `save` to and `restore` from; it is flushed and closed at the end.
    """
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy.AnyPreservationPolicy(
            [
                policy.LatestN(keep or 1),
                policy.BestN(get_metric_fn=lambda metrics: -metrics[VALIDATION], n=1),  # the lowest loss
            ]
        ),
        best_fn=lambda metrics: metrics[VALIDATION],
        best_mode="min",
        enable_async_checkpointing=False,  # the state's buffers are given up to the next epoch at once
        cleanup_tmp_directories=keep is not None,
        create=keep is not None,
    )
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        yield Checkpoints(manager, config)


def save(checkpoints: Checkpoints, checkpoint: Checkpoint, validation_loss: float) -> None:
    """Writes a checkpoint, then lets go of those no longer kept."""
    import orbax.checkpoint as ocp

    checkpoints.manager.save(
        checkpoint.epoch,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave({"state": checkpoint.state, "calibration": checkpoint.calibration}),
            config=ocp.args.JsonSave(dict(checkpoints.config)),
        ),
        metrics={VALIDATION: validation_loss},
    )


def epochs(checkpoints: Checkpoints) -> list[int]:
    """The epochs there are checkpoints of, rising; empty for a new folder."""
    return sorted(checkpoints.manager.all_steps())


def restore(checkpoints: Checkpoints, like: State, which: Literal["last", "best"] | int = "last") -> Checkpoint:
    """Reads a checkpoint back.

    Args:
        checkpoints: The folder.
        like: A state of the same detector (or its `jax.eval_shape`), for the structure, shapes and dtypes.
        which: The last epoch's, that with the lowest validation loss, or an epoch by its number.

    Returns:
        The checkpoint.

    Raises:
        UserError: If there is none (of that epoch), or if it was made under another configuration; the message names
            the settings.
    """
    import orbax.checkpoint as ocp

    manager = checkpoints.manager
    there = epochs(checkpoints)
    if not there:
        raise UserError(f"there is no checkpoint in {manager.directory}")
    if isinstance(which, int) and which not in there:
        raise UserError(f"there is no checkpoint of epoch {which} in {manager.directory}; there is one of {there}")
    epoch = which if isinstance(which, int) else there[-1] if which == "last" else manager.best_step()
    stored = manager.restore(epoch, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
    if differing := differences(stored, dict(checkpoints.config)):
        raise UserError(f"the checkpoint in {manager.directory} is of another configuration: {'; '.join(differing)}")
    calibration = Calibration(np.zeros(QUANTILES, np.float32))
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, {"state": like, "calibration": calibration})
    tree = manager.restore(epoch, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
    return Checkpoint(epoch, tree["state"], Calibration(np.asarray(tree["calibration"].quantiles)))


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The settings in which two configurations differ, each as "name is stored, not wanted"."""
    stored, wanted = flatten(stored), flatten(wanted)

    def said(settings: Mapping[str, Any], name: str) -> str:
        return repr(settings[name]) if name in settings else "absent"

    return [
        f"{name} is {said(stored, name)}, not {said(wanted, name)}"
        for name in sorted(stored.keys() | wanted.keys())
        if said(stored, name) != said(wanted, name)
    ]


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as one level, by their own names."""
    flat = {}
    for name, value in tree.items():
        flat |= flatten(value) if isinstance(value, Mapping) else {name: value}
    return flat
