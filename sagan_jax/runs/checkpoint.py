"""Checkpoints: orbax folders that hold the state, its calibration and the configuration that made them. No pickle.

A checkpoint appears under its final name only when it is whole, so a run that dies while writing loses nothing. Its
fingerprint lies beside the arrays, so a bit that changed since is found on reading.
"""

import gc
import hashlib
import json
import logging
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax.detector import State
from sagan_jax.errors import UserError, one_line, printable, require
from sagan_jax.judging.calibration import QUANTILES, Calibration
from sagan_jax.run_folder import VALIDATION
from sagan_jax.runs.identity import differences, with_more_epochs

CALIBRATION_IMAGES = "calibration_images"
EXCEEDING = "held_out_exceeding"
Result = TypeVar("Result")
FORMAT = 2
"""Of run folders and their checkpoints; raised by a change that programs from before it would misread."""


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


class DamagedError(UserError):
    """A checkpoint has changed since it was written, or was not written by this program; the message says which."""


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

    Raises:
        UserError: If it cannot be opened or made.
    """
    if keep is not None and (odd := sorted(set("*?[") & set(str(folder.absolute())))):
        raise UserError(
            f"{printable(folder.absolute())}: checkpoints cannot be kept in a folder with {' '.join(odd)} in its path, "
            "which orbax takes for a pattern and writes what it cannot read; name another"
        )
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

    def cannot_open(why: str) -> UserError:
        broken = [path.parent.parent for path in sorted(folder.glob("*/metrics/metrics")) if not _is_json(path)]
        advice = f"; {broken[0]} is damaged: move it out of the folder to use the others" if broken else ""
        return UserError(f"the checkpoints in {folder} cannot be opened: {why}{advice}")

    manager = _with_plain_errors(lambda: ocp.CheckpointManager(folder.absolute(), options=options), cannot_open)
    with manager:
        yield Checkpoints(manager, config)


def save(checkpoints: Checkpoints, checkpoint: Checkpoint, validation_loss: float) -> None:
    """Writes a checkpoint, then lets go of those no longer kept. One of its epoch that is there already stays.

    Raises:
        UserError: If it cannot be written: the disk is full, say. Those before it are whole. Or if the loss is not
            finite.
    """
    import orbax.checkpoint as ocp

    manager, metrics = checkpoints.manager, {VALIDATION: validation_loss}
    integrity = {"format": FORMAT, "fingerprint": fingerprint(checkpoint, checkpoints.config, metrics)}
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave({"state": checkpoint.state, "calibration": checkpoint.calibration}),
        config=ocp.args.JsonSave(dict(checkpoints.config)),
        integrity=ocp.args.JsonSave(integrity),
    )
    require(bool(np.isfinite(validation_loss)), "the validation loss", validation_loss, "a finite number")
    _with_plain_errors(
        lambda: manager.save(checkpoint.epoch, args=arguments, metrics=metrics),
        lambda why: UserError(
            f"the checkpoint of epoch {checkpoint.epoch} cannot be written to {manager.directory}: {why}; those before "
            "it are whole, and --resume continues from the last"
        ),
    )


def fingerprint(checkpoint: Checkpoint, config: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
    """SHA-256 of all that a checkpoint says: two runs have the same one if they agree in every bit, and only then."""
    said = json.dumps([checkpoint.epoch, config, metrics], sort_keys=True)
    digest = hashlib.sha256(said.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path((checkpoint.state, checkpoint.calibration)):
        array = np.asarray(leaf)
        digest.update(f"\n{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def epochs(checkpoints: Checkpoints) -> list[int]:
    """The epochs there are checkpoints of, rising; empty for a new folder."""
    return sorted(checkpoints.manager.all_steps())


def restore(checkpoints: Checkpoints, like: State, which: str | SupportsIndex = "last") -> Checkpoint:
    """Reads a checkpoint back.

    Args:
        checkpoints: The folder.
        like: A state of the same detector (or its `jax.eval_shape`), for the structure, shapes and dtypes.
        which: The "last" epoch's, the "best", which has the lowest validation loss, or an epoch by its number.

    Returns:
        The checkpoint.

    Raises:
        UserError: If there is none (of that epoch); if it was made under another configuration (the message names the
            settings) or by a newer version; or if it is damaged (the message names one that is whole).
    """
    manager = checkpoints.manager
    there = epochs(checkpoints)
    if not there:
        raise UserError(f"there is no checkpoint in {manager.directory}")
    if isinstance(which, str):
        require(which in ("last", "best"), "the epoch", which, "'last', 'best' or a number")
        epoch = there[-1] if which == "last" else manager.best_step()
    else:
        epoch = operator.index(which)
    if epoch not in there:
        raise UserError(f"there is no checkpoint of epoch {epoch} in {manager.directory}; there is one of {there}")
    try:
        return read_epoch(checkpoints, like, epoch)
    except DamagedError as error:
        whole = next(
            (other for other in reversed(there) if other != epoch and _is_whole(checkpoints, like, other)), None
        )
        advice = (
            "no other one can be read"
            if whole is None
            else f"that of epoch {whole} is whole: move the damaged one out of its folder to use it"
        )
        raise UserError(f"{error}; {advice}") from error


def read_epoch(checkpoints: Checkpoints, like: State, epoch: int) -> Checkpoint:
    """Reads the checkpoint of an epoch; raises DamagedError for a damaged one and else as `restore`."""
    import orbax.checkpoint as ocp

    manager, place = checkpoints.manager, f"the checkpoint {checkpoints.manager.directory / str(epoch)}"
    here = jnp.zeros(()).sharding  # the default device, whatever the checkpoint was made on
    expected = {"state": like, "calibration": Calibration(np.zeros(QUANTILES, np.float32))}
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), expected)

    def item(name: str, how: Any) -> Any:
        return manager.restore(epoch, args=ocp.args.Composite(**{name: how}))[name]

    def verified() -> Checkpoint:
        integrity = {"format": 0, "fingerprint": None}  # as checkpoints were before they had fingerprints
        if (manager.directory / str(epoch) / "integrity").exists():
            integrity = item("integrity", ocp.args.JsonRestore())
        config = item("config", ocp.args.JsonRestore())
        if integrity["format"] > FORMAT:
            raise UserError(
                f"{place} is of format {integrity['format']}, which a newer version of sagan-jax wrote; this one reads "
                f"format {FORMAT} and before"
            )
        wanted = dict(checkpoints.config)
        if differing := differences(with_more_epochs(config, wanted), wanted):
            raise UserError(f"{place} is of another configuration: {'; '.join(differing)}")
        tree = item("state", ocp.args.StandardRestore(abstract))
        checkpoint = Checkpoint(epoch, tree["state"], Calibration(np.asarray(tree["calibration"].quantiles)))
        if integrity["fingerprint"] not in (None, fingerprint(checkpoint, config, manager.metrics(epoch))):
            raise DamagedError(f"{place} is damaged: it is not what was written, by its fingerprint")
        return checkpoint

    return _with_plain_errors(
        verified,
        lambda why: DamagedError(f"{place} is damaged, or was written by another version of this program: {why}"),
    )


def _with_plain_errors(action: Callable[[], Result], to_user: Callable[[str], UserError]) -> Result:
    """Runs a part of orbax and turns its errors, which are of many types and pages long, into one of one line.

    Its log messages about the error are suppressed, and so are the tracebacks of coroutines that it abandons.
    """
    log = logging.getLogger("absl")
    hook, sys.unraisablehook, log.disabled = sys.unraisablehook, lambda _: None, True
    try:
        try:
            result = action()
            log.disabled = False  # but not after a failure: its threads may log more for a while
            return result
        except UserError:
            log.disabled = False
            raise
        except Exception as error:
            why = one_line(str(error).partition(" [tensorstore_spec=")[0]) or type(error).__name__
        gc.collect()
    finally:
        sys.unraisablehook = hook
    raise to_user(why)


def _is_whole(checkpoints: Checkpoints, like: State, epoch: int) -> bool:
    """Whether the checkpoint of an epoch can be read."""
    try:
        read_epoch(checkpoints, like, epoch)
    except UserError:
        return False
    return True


def _is_json(path: Path) -> bool:
    """Whether a file can be read as JSON."""
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True
