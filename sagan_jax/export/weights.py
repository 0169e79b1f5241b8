"""A trained model's weights as a safetensors file, and back: arrays by name, and no code.

The file has what scoring reads of the state (parameters, statistics, whatever a method keeps) under the names of the
state's own tree, the calibration's quantiles, and the model's metadata as JSON. Optimiser states stay behind.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sagan_jax.detector import State, leaf_names, read_by_scoring
from sagan_jax.errors import UserError, few, one_line, printable
from sagan_jax.judging.calibration import Calibration
from sagan_jax.methods.table import Method
from sagan_jax.runs.configuration import configuration
from sagan_jax.runs.model import Model, untrained_model
from sagan_jax.runs.scoring_weights import CALIBRATION, METADATA, scoring_tensors


def to_safetensors(model: Model, metadata: Mapping[str, Any]) -> bytes:
    """The model as a safetensors file; `load_safetensors` reads it back."""
    from safetensors.numpy import save

    tensors = scoring_tensors(model.detector, model.image_shape, model.state, model.calibration)
    return save(tensors, {METADATA: json.dumps(metadata)})


def load_safetensors(path: Path, method: Method | None = None) -> Model:
    """Reads a model back from an exported safetensors file.

    It scores as the one exported did. What scoring does not read, mainly optimiser states, is zero, so
    training cannot go on from it.

    Args:
        path: A file written by `sagan export --format=safetensors`.
        method: The model's method where `METHODS` does not have it.

    Returns:
        The model.

    Raises:
        UserError: If the file cannot be read, or is not such a file; a missing, extra or mis-shaped tensor is named.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except Exception as error:  # safetensors has an exception of its own for each of its ways to fail
        raise UserError(f"{printable(path)} cannot be read as safetensors: {one_line(str(error))}") from error
    try:
        config, epoch = metadata["config"], int(metadata["epoch"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{printable(path)} has no metadata of sagan_jax, or of another version") from error
    model = untrained_model(configuration(config, path, method), path)
    names, leaves, read = (
        leaf_names(model.state),
        jax.tree.leaves(model.state),
        read_by_scoring(model.detector, model.image_shape),
    )
    wanted = {name: leaf for name, leaf in zip(names, leaves, strict=True) if name in read}
    wanted[CALIBRATION] = model.calibration.quantiles
    check_tensors(path, tensors, wanted)
    filled = [
        jax.numpy.asarray(tensors[name]) if name in tensors else leaf
        for name, leaf in zip(names, jax.tree.leaves(_zeros(model.state)), strict=True)
    ]
    state = jax.tree.unflatten(jax.tree.structure(model.state), filled)
    return model._replace(state=state, calibration=Calibration(tensors[CALIBRATION]), epoch=epoch)


def _zeros(like: State) -> State:
    """A state of these shapes and dtypes, all zero."""
    return jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), like)


def check_tensors(path: Any, tensors: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError unless the tensors are those wanted, by name, shape and dtype; it names those that are not."""
    faults = [f"{name} is missing" for name in wanted if name not in tensors]
    faults += [f"{printable(name)} is not one of the model's" for name in tensors if name not in wanted]
    faults += [
        f"{name} is {tensors[name].dtype} {tuple(tensors[name].shape)}, not {leaf.dtype} {tuple(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in tensors and (tensors[name].shape, tensors[name].dtype) != (leaf.shape, leaf.dtype)
    ]
    if faults:
        raise UserError(f"{printable(path)} does not fit: {few(faults, '; ')}")
