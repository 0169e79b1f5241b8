"""What scoring reads of a checkpoint, beside it in one plain file: weights, statistics, calibration, no optimiser.

orbax takes seconds to be imported and to read a state of a thousand arrays. This file takes a hundredth. It is
a copy, of use only while it is that of the very checkpoint beside it: whatever does not agree, the checkpoint is read.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sagan_jax.atomic_file import replacing
from sagan_jax.detector import Detector, State, leaf_names, read_by_scoring
from sagan_jax.judging.calibration import QUANTILES, Calibration
from sagan_jax.run_folder import VALIDATION
from sagan_jax.runs.checkpoint import FORMAT, Checkpoint, Checkpoints

NAME = "scoring.safetensors"
_INTEGRITY = Path("integrity") / "metadata"  # as orbax has it
METADATA, CALIBRATION = "sagan_jax", "calibration.quantiles"


class ScoringWeights(NamedTuple):
    """What scoring reads of a checkpoint: its epoch, leaves of the state by name, the calibration."""

    epoch: int
    leaves: dict[str, np.ndarray]
    calibration: Calibration


def scoring_tensors(
    detector: Detector, image_shape: tuple[int, ...], state: State, calibration: Calibration
) -> dict[str, np.ndarray]:
    """What scoring reads of a state, by the names of its tree, and the quantiles: the tensors of a safetensors file."""
    read = read_by_scoring(detector, image_shape)
    named = zip(leaf_names(state), jax.tree.leaves(state), strict=True)
    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in named if name in read}
    return tensors | {CALIBRATION: np.ascontiguousarray(calibration.quantiles)}


def keep_weights(
    checkpoints: Checkpoints, checkpoint: Checkpoint, detector: Detector, image_shape: tuple[int, ...]
) -> None:
    """Writes the weights of a checkpoint that was just saved; the file appears whole or not at all.

    Without it all works as with it, so a disk that has no room for it is no error.
    """
    from safetensors.numpy import save

    folder = Path(checkpoints.manager.directory) / str(checkpoint.epoch)
    integrity = json.loads((folder / _INTEGRITY).read_bytes())
    tensors = scoring_tensors(detector, image_shape, checkpoint.state, checkpoint.calibration)
    about = {
        "format": FORMAT,
        "epoch": checkpoint.epoch,
        "config": checkpoints.config,
        "fingerprint": integrity["fingerprint"],
        "digest": _digest(tensors),
    }
    with suppress(OSError), replacing(folder / NAME) as file:
        file.write(save(tensors, {METADATA: json.dumps(about)}))


def read_weights(checkpoints: Path, select: str, config: Mapping[str, Any]) -> ScoringWeights | None:
    """The weights of the epoch that a run is judged by.

    Args:
        checkpoints: The folder of a run's checkpoints.
        select: "last" or "best".
        config: What the checkpoint must agree on, as JSON values.

    Returns:
        The weights; None if there are none or they are not whole, not of this version, or not of the checkpoint beside
        them: then the checkpoint itself is to be read, and says what is wrong with it if anything is.
    """
    from safetensors import safe_open

    try:
        epoch = _judged_epoch(checkpoints, select)
        folder = checkpoints / str(epoch)
        integrity = json.loads((folder / _INTEGRITY).read_bytes())
        with safe_open(folder / NAME, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        agreed = (FORMAT, epoch, json.loads(json.dumps(config)), integrity["fingerprint"], _digest(tensors))
        if integrity["format"] != FORMAT or agreed != tuple(
            about[name] for name in ("format", "epoch", "config", "fingerprint", "digest")
        ):
            return None
        quantiles = tensors.pop(CALIBRATION)
        if (quantiles.shape, quantiles.dtype) != ((QUANTILES,), np.float32):
            return None
        return ScoringWeights(epoch, tensors, Calibration(quantiles))
    except Exception:  # safetensors has an exception of its own for each of its ways to fail
        return None


def _judged_epoch(checkpoints: Path, select: str) -> int:
    """The epoch of the last checkpoint, or of that with the lowest validation loss; ValueError if it is not clear."""
    there = [int(path.name) for path in checkpoints.iterdir() if path.name.isdecimal()]
    if select == "last":
        return max(there)
    losses = {
        epoch: json.loads((checkpoints / str(epoch) / "metrics" / "metrics").read_bytes())[VALIDATION]
        for epoch in there
    }
    best = [epoch for epoch, loss in losses.items() if loss == min(losses.values())]
    if select != "best" or len(best) != 1:
        raise ValueError(select)
    return best[0]


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
